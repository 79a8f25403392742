"""Answers from a recorded run: no key, no network, no cost."""

from itertools import zip_longest

from pipeline.errors import BadInput
from pipeline.llm.base import AnswerStore, Trouble, without_reasoning
from pipeline.records import Completion, Prompt


class Replay:
    """A model that returns recorded answers only."""

    trouble: Trouble | None = None
    delay: Trouble | None = None

    def __init__(self, ledger: AnswerStore, source: str) -> None:
        self._ledger = ledger
        self._source = source

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        """The recorded answer. Raises `BadInput`, with the first line that differs, for a prompt that was never
        recorded."""
        known = self._ledger.find(prompt, sample)
        if known is None:
            raise BadInput(f"{self._source} has no answer to {prompt.key}, sample {sample}: {self._difference(prompt)}")
        return without_reasoning(known)

    def _difference(self, prompt: Prompt) -> str:
        recorded = self._ledger.prompts(prompt.purpose)
        if not recorded:
            return f"it has no prompt with the purpose {prompt.purpose}"
        ours = _lines(prompt)
        shared, theirs = max(((_same(ours, _lines(one)), _lines(one)) for one in recorded), key=lambda pair: pair[0])
        if shared == len(ours) == len(theirs):
            return "the prompt was recorded fewer times"
        one, other = (lines[shared] if shared < len(lines) else "(its end)" for lines in (ours, theirs))
        return f"the nearest prompt differs first in line {shared + 1}: recorded {other[:200]!r}, now {one[:200]!r}"


def _lines(prompt: Prompt) -> list[str]:
    return [line for message in prompt.messages for line in (f"[{message.role}]", *message.text.splitlines())]


def _same(one: list[str], other: list[str]) -> int:
    """Number of leading lines that are equal."""
    return next((at for at, (a, b) in enumerate(zip_longest(one, other)) if a != b), len(one))
