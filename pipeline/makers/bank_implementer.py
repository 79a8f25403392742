"""Implements ideas of a bank, whose changes are given as data."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.makers.bank import load_bank
from pipeline.makers.base import Crash, Implemented, Tools
from pipeline.patching import Refusal, edit_settings
from pipeline.patching.encoding import bytes_of
from pipeline.patching.trees import Entry, Tree, apply, merge
from pipeline.records import Idea


class BankImplementer:
    """Applies the changes of a bank's ideas to the code of their parents; git does the merging."""

    needs_model = False
    reads_text = False

    def __init__(self, tools: Tools) -> None:
        self._bank = load_bank(tools.ideas, tools.config, patches=True)

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        change = idea.change
        if change is None:
            return Refusal("unreadable", "the idea is only text, which the idea bank cannot implement")
        if change.join and len(parents) != 2:
            return Refusal("unreadable", f"a join requires two parents, and the idea has {len(parents)}")
        names = [*([change.patch] if change.patch else []), *change.more]
        for name in names:
            if name not in self._bank.published:
                return Refusal("unreadable", f"the idea bank has no patch {name!r}")
        code: Tree | Refusal = merge(baseline, *parents) if change.join else dict(parents[0] if parents else baseline)
        for name in names:
            if not isinstance(code, Refusal):
                patched = apply(baseline, self._bank.published[name].patch)
                code = patched if isinstance(patched, Refusal) else merge(baseline, code, patched)
        if change.settings and not isinstance(code, Refusal):
            code = self._set(code, change.settings)
        return code if isinstance(code, Refusal) else Implemented(code, "bank")

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Refusal:
        return Refusal("unreadable", f"the idea bank cannot repair code ({crash.failure.reason.splitlines()[0]})")

    def _set(self, code: Tree, settings: Mapping[str, Any]) -> Tree | Refusal:
        before = self._bank.settings_text(code)
        file = self._bank.settings_file
        text = edit_settings(before, self._bank.settings_class, settings, file) if isinstance(before, str) else before
        if isinstance(text, Refusal):
            return text
        data = bytes_of(file, text, code[file].data)
        return data if isinstance(data, Refusal) else {**code, file: Entry(data, code[file].mode)}
