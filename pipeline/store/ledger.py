"""Prompts to language models and their answers, each answer in a file. An answer on disk is never paid for again."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.records import Completion, Prompt, Usage
from pipeline.store import files
from pipeline.store.paths import PromptPaths, RunPaths


@dataclass(frozen=True)
class Spending:
    """Cost of the answers of a run."""

    answers: int = 0
    """Number of answers."""
    unpriced: int = 0
    """Number of answers without a known price; they are not included in the dollars."""
    usage: Usage = field(default_factory=Usage)
    """Tokens of all answers, dollars of those with a known price."""
    models: Mapping[str, "Spending"] = field(default_factory=dict)
    """The same per model, by the name that the provider reports."""


class Ledger:
    """The `llm/` folder of a run. A usable answer is stored by its prompt alone, whatever the settings; an unusable one
    by prompt and settings, so that a call with other settings asks the model again."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths

    def find(self, prompt: Prompt, sample: int, settings: str | None = None) -> Completion | None:
        """A stored answer: a usable one, else the unusable one for these settings; without settings, the latest
        unusable one. None if there is none."""
        paths = self._paths.prompt(prompt.key)
        usable = files.read_if_there(paths.sample(sample), Completion)
        if usable is not None:
            return usable
        if settings is not None:
            return files.read_if_there(paths.sample(sample, settings), Completion)
        others = [
            files.read(path, Completion) for path in sorted(paths.folder.glob(f"{paths.sample(sample).stem}-*.json"))
        ]
        return max(others, key=lambda one: one.at, default=None)

    def keep(self, prompt: Prompt, sample: int, completion: Completion, settings: str = "") -> None:
        """Store an answer, usable or not."""
        paths = self._paths.prompt(prompt.key)
        paths.folder.mkdir(parents=True, exist_ok=True)
        files.create(paths.prompt, prompt)
        files.create(paths.sample(sample, "" if completion.usable else settings), completion)

    def prompts(self, purpose: str) -> list[Prompt]:
        """All prompts sent for one purpose."""
        return [
            prompt
            for paths in self._folders()
            if paths.folder.name.startswith(f"{purpose}-")
            and (prompt := files.read_if_there(paths.prompt, Prompt)) is not None
        ]

    def spending(self) -> Spending:
        """Totals over all answers, and per model."""
        found = [
            files.read(path, Completion) for paths in self._folders() for path in paths.folder.glob("sample_*.json")
        ]
        names = sorted({one.model for one in found if one.usage != Usage()})
        models = {name: _sum([one for one in found if one.model == name]) for name in names}
        return replace(_sum(found), models=models)

    def _folders(self) -> Iterator[PromptPaths]:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._paths.llm)):
                yield self._paths.prompt(name)


def _sum(found: Sequence[Completion]) -> Spending:
    unpriced = [one.usage for one in found if one.usage.usd is None]
    priced = [one.usage for one in found if one.usage.usd is not None]
    usages = [*priced, *(replace(usage, usd=0.0) for usage in unpriced)]
    return Spending(len(found), len(unpriced), sum(usages, Usage()))
