"""What the rest of the program knows of language models: ask, and get an answer or be told to wait."""

from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.records import Completion, Prompt
from pipeline.text import split_reasoning, writable


@dataclass(frozen=True)
class Trouble:
    """Why no model can be asked for now. It is nobody's idea's fault."""

    reason: str
    """One line for a person: what was seen, what to do."""
    until: float | None
    """Seconds since 1970 when it is tried again; none when a person has to act."""


class Unanswered(Exception):
    """Raised instead of an answer. Whoever meets it leaves its work as it was, to go on when the pause is over."""


class Model(Protocol):
    """Answers prompts. The same prompt and sample are answered, and paid for, only once in a run."""

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing is answered for now, if so."""

    @property
    def delay(self) -> Trouble | None:
        """Why an answer that is asked for is late, if so."""

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        """The answer, without reasoning in its text; `sample` counts several to one prompt. Raises `Unanswered`."""


class AnswerStore(Protocol):
    """Where answers are kept."""

    def find(self, prompt: Prompt, sample: int, settings: str | None = None) -> Completion | None:
        """A usable answer, whatever the settings were, or what came with these settings in its place; without settings,
        with any."""

    def keep(self, prompt: Prompt, sample: int, completion: Completion, settings: str = "") -> None:
        """Write down what came with these settings."""

    def prompts(self, purpose: str) -> list[Prompt]: ...


def without_reasoning(completion: Completion) -> Completion:
    """What is handed to those that read ideas or code: only the answer is left of the text."""
    split = split_reasoning(completion.text)
    only_reasoning = split.reasoning and not split.answer.strip() and completion.finish == "stop"
    finish = "reasoning" if only_reasoning else completion.finish
    return replace(completion, text=split.answer, finish=finish)


def tokens(text: str) -> int:
    """About how many tokens a text has, rather too many: one for every three bytes of code or prose.

    An estimate that depends on nothing else, so that prompts are packed alike with any model, version and without
    network: a run that goes on must find its prompts again.
    """
    return len(text.encode(errors="replace")) // 3 + 1


def encodable(text: str) -> str:
    """A text that can be written as UTF-8: JSON may name halves of characters, which no file can hold."""
    return writable(text)
