"""The interface to language models for the rest of the program: send a prompt, get an answer or a reason to wait."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Completion, Prompt
from pipeline.text import split_reasoning

Vector = NDArray[np.float32]
"""Embedding of a text, of length 1: the product of two is their cosine."""


@dataclass(frozen=True)
class Trouble:
    """Why a model cannot be used for now. No idea is to blame."""

    reason: str
    """One line for the user: what happened, what to do."""
    until: float | None
    """Time of the next try, seconds since 1970; none if a user has to act."""


class Unanswered(Exception):
    """Raised instead of an answer. Callers stop without changing any state, and retry after the pause."""


class Model(Protocol):
    """A language model. The same prompt and sample are answered, and paid for, only once in a run."""

    @property
    def trouble(self) -> Trouble | None:
        """Why no prompt is answered for now; none if prompts are answered."""

    @property
    def delay(self) -> Trouble | None:
        """Why a requested answer is late; none if no answer is late."""

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        """The answer, without reasoning in its text; `sample` numbers several answers to one prompt. Raises
        `Unanswered`."""


class Embedder(Protocol):
    """An embedding model. Each text is paid for only once in a run."""

    @property
    def trouble(self) -> Trouble | None:
        """As of a `Model`."""

    @property
    def delay(self) -> Trouble | None:
        """As of a `Model`."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """A vector for each text; none for a text that the model rejects. Raises `Unanswered`."""


class AnswerStore(Protocol):
    """Storage of answers."""

    def find(self, prompt: Prompt, sample: int, settings: str | None = None) -> Completion | None:
        """A usable answer, whatever the settings were, else the unusable one for these settings; without settings, the
        unusable one for any settings."""

    def keep(self, prompt: Prompt, sample: int, completion: Completion, settings: str = "") -> None:
        """Store an answer that was received with these settings."""

    def prompts(self, purpose: str) -> list[Prompt]: ...


def without_reasoning(completion: Completion) -> Completion:
    """The completion with only the answer in its text, for parsers of ideas and code."""
    split = split_reasoning(completion.text)
    only_reasoning = split.reasoning and not split.answer.strip() and completion.finish == "stop"
    finish = "reasoning" if only_reasoning else completion.finish
    return replace(completion, text=split.answer, finish=finish)


def tokens(text: str) -> int:
    """Estimated number of tokens in a text, a little too high: one for every three bytes.

    The estimate depends on nothing but the text. So prompts are packed the same way for any model or version and
    without network, and a resumed run finds its prompts again.
    """
    return len(text.encode(errors="replace")) // 3 + 1
