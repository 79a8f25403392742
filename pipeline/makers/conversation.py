"""A conversation with a language model in which an answer that cannot be used is returned to it with the reason."""

from concurrent.futures import ThreadPoolExecutor

from pipeline.llm.base import Model
from pipeline.records import Completion, Message, Prompt


class Conversation:
    """Starts with the part that all prompts of a run share, and one question."""

    def __init__(self, model: Model, shared: str, purpose: str, question: str, samples: int = 1) -> None:
        """`samples` answers are asked for side by side."""
        self._model = model
        self._purpose = purpose
        self._samples = samples
        self._messages: tuple[Message, ...] = (Message("system", shared), Message("user", question))
        self._first = 0

    @property
    def key(self) -> str:
        """Name of the folder with the answers to the present question."""
        return self._prompt.key

    def answers(self) -> list[Completion]:
        """What the model says now. Raises `Unanswered` when it cannot be asked."""
        prompt, numbers = self._prompt, range(self._first, self._first + self._samples)
        if self._samples == 1:
            return [self._model.ask(prompt, self._first)]
        with ThreadPoolExecutor(self._samples, "sample") as pool:
            return list(pool.map(lambda number: self._model.ask(prompt, number), numbers))

    def reply(self, answer: Completion, text: str, purpose: str | None = None) -> None:
        """Return an answer with what is wrong with it. To an empty one there is nothing to say: the same question is asked
        once more."""
        if not answer.text.strip():
            self._first += self._samples
            return
        self._messages = (*self._messages, Message("assistant", answer.text), Message("user", text))
        self._purpose, self._first = purpose or self._purpose, 0

    @property
    def _prompt(self) -> Prompt:
        return Prompt(self._purpose, self._messages)
