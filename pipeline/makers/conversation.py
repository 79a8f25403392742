"""A conversation with a language model: an unusable answer is returned to the model with the reason."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.llm.base import Model
from pipeline.records import Completion, Message, Prompt
from pipeline.text import writable


class Conversation:
    """A conversation that starts with the text shared by all prompts of a run, and one question."""

    def __init__(
        self,
        model: Model,
        shared: str,
        purpose: str,
        question: str,
        samples: int = 1,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        """`samples` answers are requested in parallel; `schema` is the JSON schema of an answer."""
        self._model = model
        self._purpose = purpose
        self._samples = samples
        self._schema = schema
        self._messages: tuple[Message, ...] = (
            Message("system", writable(shared)),
            Message("user", writable(question)),
        )
        self._first = 0

    @property
    def key(self) -> str:
        """Name of the folder with the answers to the current question."""
        return self._prompt.key

    def answers(self) -> list[Completion]:
        """The model's answers to the current question. Raises `Unanswered` if the model is unavailable."""
        prompt, numbers = self._prompt, range(self._first, self._first + self._samples)
        if self._samples == 1:
            return [self._model.ask(prompt, self._first)]
        with ThreadPoolExecutor(self._samples, "sample") as pool:
            return list(pool.map(lambda number: self._model.ask(prompt, number), numbers))

    def reply(self, answer: Completion, text: str, purpose: str | None = None) -> None:
        """Reply to an unusable answer with `text`. After an empty answer the same question is asked again instead."""
        if not answer.text.strip():
            self._first += self._samples
            return
        self._messages = (*self._messages, Message("assistant", answer.text), Message("user", writable(text)))
        self._purpose, self._first = purpose or self._purpose, 0

    @property
    def _prompt(self) -> Prompt:
        return Prompt(self._purpose, self._messages, self._schema)


def lacking(answer: Completion, most: int) -> str:
    """Why an answer is empty or incomplete, and the setting to change; `most` is its maximum length in tokens. Empty for a
    complete answer."""
    used = answer.usage.tokens_out
    said = f"; the server said: {answer.message}" if answer.message else ""
    if answer.finish == "length" and answer.text.strip():
        return f"the answer was cut off after {used} tokens (llm.max_tokens={most}): write less"
    if answer.text.strip():
        return ""
    if answer.finish == "length":
        return f"the answer is empty: hidden reasoning used up llm.max_tokens={most} ({used} tokens){said}"
    if answer.finish == "reasoning":
        return f"the answer is empty: all of its {used} tokens are reasoning{said}"
    if answer.finish == "context":
        return f"the prompt is too long for the model: set a lower llm.context{said}"
    return f"the answer is empty ({answer.finish}){said}"
