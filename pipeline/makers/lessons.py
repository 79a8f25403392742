"""A note that a language model writes from the archive every few generations: what worked, what failed, what to try. Later
prompts include it.

The note of a generation depends only on what was known when that generation opened. So a resumed run repeats the prompt word
for word, and finds the answer that it has paid for. The note is written to the generation's folder when it is first needed.
"""

import bisect
import threading

from pipeline.config import Config
from pipeline.llm.base import Model, tokens
from pipeline.makers import history
from pipeline.makers.base import Brief
from pipeline.makers.conversation import Conversation
from pipeline.makers.prompting import render
from pipeline.metric import Metric
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.views import Generation

LESSONS = "lessons"
"""Purpose of the prompts for notes."""
_ANSWERS = 3
_MOST_TOKENS = 1000


class Lessons:
    """The notes of one run."""

    def __init__(self, config: Config, metric: Metric, model: Model, shared: str) -> None:
        self._config = config
        self._metric = metric
        self._model = model
        self._shared = shared
        self._alone = threading.Lock()
        self._kept: dict[int, str] = {}

    def text(self, brief: Brief, most_tokens: int) -> str:
        """The note as text for prompts of a generation; empty if there is none. `most_tokens` bounds the history from which
        the note is written. Raises `Unanswered` if the note is not written yet and the model is unavailable."""
        generation = self._due(brief.archive, brief.generation)
        if generation is None:
            return ""
        with self._alone:  # generations that are open together need the same note
            note = self._note(brief.archive, generation, most_tokens)
        return (
            f"\nA note on what was learned, written before generation {generation.number}:\n\n{note}\n" if note else ""
        )

    def _due(self, archive: Archive, generation: Generation) -> Generation | None:
        """The generation with the newest note for this one: the first that opened with the required number of outcomes.
        Outcomes are counted instead of generations, which are small in steady mode."""
        span = self._config.ideate.lessons_every * max(1, self._config.ideate.candidates)
        if not span or generation.parents.seen.baseline is None:
            return None
        due = generation.parents.seen.outcomes // span * span
        if not due:
            return None
        number = generation.number
        at = bisect.bisect_left(archive.generations, due, hi=number, key=lambda one: one.parents.seen.outcomes)
        return archive.generations[at] if at < number else generation

    def _note(self, archive: Archive, generation: Generation, most_tokens: int) -> str:
        if generation.number not in self._kept:
            path = generation.paths.lessons
            text = (
                path.read_text(errors="replace") if path.is_file() else self._written(archive, generation, most_tokens)
            )
            self._kept[generation.number] = text.strip()
        return self._kept[generation.number]

    def _written(self, archive: Archive, generation: Generation, most_tokens: int) -> str:
        earlier = self._before(archive, generation, most_tokens)
        known = generation.parents.seen
        question = render(
            "lessons",
            self._config.prompts,
            measured=history.measured(archive, known, self._config, self._metric),
            history=history.tried(archive, known, self._metric, f"{self._config.seed}/lessons", most_tokens),
            lessons=f"\nThe note so far:\n\n{earlier}\n" if earlier else "",
        )
        talk = Conversation(self._model, self._shared, LESSONS, question)
        note = ""
        for _ in range(_ANSWERS):
            (answer,) = talk.answers()
            note = _cut(answer.text.strip())
            if note:
                break
            talk.reply(answer, "")
        if not self._config.dry_run:
            files.create_bytes(generation.paths.lessons, f"{note}\n".encode())
        return note

    def _before(self, archive: Archive, generation: Generation, most_tokens: int) -> str:
        """The note before that of a generation."""
        if generation.number == 0:
            return ""
        earlier = self._due(archive, archive.generations[generation.number - 1])
        return self._note(archive, earlier, most_tokens) if earlier is not None else ""


def _cut(text: str) -> str:
    """The first lines of a note, up to a maximum length."""
    lines, room = list[str](), _MOST_TOKENS
    for line in text.splitlines():
        room -= tokens(line)
        if room < 0 and lines:
            break
        lines.append(line[: 3 * _MOST_TOKENS])
    return "\n".join(lines)
