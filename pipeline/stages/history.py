"""What was tried, in words for the ideator: titles, outcomes with error bars, failures with their reasons.

A generation knows what the selection before it had seen, and nothing that came in later: its prompts can be made again,
word for word, by a run that goes on.
"""

import json
import math
import random
from collections.abc import Iterable, Sequence

from pipeline.llm.base import tokens
from pipeline.metric import Metric
from pipeline.records import Selection
from pipeline.stages.prompting import shown_diff, without_places
from pipeline.store.archive import Archive, Candidate
from pipeline.store.paths import short

_TEXT = 600
_REASON = 300
_OF_THE_MACHINE = ("second", "time", "per_s", "mfu")
"""Parts of the names of metrics that tell how fast a machine was."""


def seen(archive: Archive, generation: int) -> tuple[tuple[Candidate, ...], Selection | None]:
    """The candidates that a generation may know of, and the selection that opened it."""
    if generation == 0:
        return (), None
    selection = archive.generations[generation - 1].selection
    assert selection is not None
    known = set(selection.seen)
    return tuple(candidate for candidate in archive.candidates if candidate.id in known), selection


def entry(archive: Archive, candidate: Candidate, selection: Selection, metric: Metric) -> str:
    """One candidate in a few lines."""
    idea = candidate.idea
    builds = f", builds on {' and '.join(map(short, idea.parents))}" if idea.parents else ""
    head = f"{short(candidate.id)}{builds}: {idea.title}"
    return "\n  ".join([head, _cut(idea.text, _TEXT), outcome(archive, candidate, selection, metric)])


def outcome(archive: Archive, candidate: Candidate, selection: Selection, metric: Metric) -> str:
    """How it ended, in a line, as far as the selection had seen."""
    if candidate.id in selection.banned:
        return f"Banned by a person: {_cut(selection.banned[candidate.id], _REASON)}"
    failure, words, name = candidate.failure, "", candidate.id
    twin = archive.twin(candidate)
    if twin is not None:
        name = twin.paths.folder.parent.relative_to(archive.paths.folder).as_posix()
        words = f"The same code as {short(name)}, and not trained again. "
        failure = twin.failure if name in selection.seen else failure
    if failure is not None:
        reason = without_places(failure.reason.splitlines()[0])
        return f"{words}Failed in {failure.stage} ({failure.kind}): {_cut(reason, _REASON)}"
    standing = next(one for one in selection.standings if one.candidate == name)
    gain, error = metric.text_gain(standing.gain), metric.text_gain(standing.gain_error).lstrip("+")
    better = "better" if standing.gain > 0 else "worse"
    value = metric.text_error(standing.value, standing.standard_error)
    return f"{words}Scored {value}: {gain} ± {error} against the codebase ({better})"


def sample(
    archive: Archive,
    candidates: Iterable[Candidate],
    selection: Selection,
    metric: Metric,
    seed: str,
    most_tokens: int,
) -> str:
    """A random part of the history that fits, in order of generations."""
    mixed = list(candidates)
    random.Random(seed).shuffle(mixed)
    texts = {candidate.id: entry(archive, candidate, selection, metric) for candidate in mixed}
    kept = pack([texts[candidate.id] for candidate in mixed], most_tokens)
    chosen = sorted(candidate.id for candidate in mixed[: len(kept)])
    left = len(mixed) - len(chosen)
    return "\n\n".join([*(texts[name] for name in chosen), *([f"({left} others are not shown)"] if left else [])])


def parent(archive: Archive, candidate: Candidate, selection: Selection, metric: Metric, most_tokens: int) -> str:
    """A candidate to build on: its idea in full, its score, its code as a change of the codebase, its training."""
    assert candidate.attempt is not None
    patch = candidate.attempt.paths.patch.read_text(errors="replace")
    idea = candidate.idea
    fitting = shown_diff(patch) if tokens(patch) <= most_tokens else "(its code is too long to show)"
    training = metrics_summary(_metrics(candidate))
    parts = [
        f"{short(candidate.id)}: {idea.title}",
        idea.text,
        outcome(archive, candidate, selection, metric),
        "Its code, as a change of the codebase:\n" + fitting,
        f"Its training (first, middle, last): {training}" if training else "",
    ]
    return "\n".join(part for part in parts if part)


def pack(texts: Sequence[str], most_tokens: int) -> list[str]:
    """As many of the first texts as fit."""
    kept: list[str] = []
    for text in texts:
        most_tokens -= tokens(text)
        if most_tokens < 0:
            break
        kept.append(text)
    return kept


def metrics_summary(lines: Sequence[str]) -> str:
    """First, middle and last value of each number in metrics.jsonl, but of those that tell how fast the machine was: they
    repeat with no run."""
    rows = [row for line in lines if isinstance(row := _row(line), dict)]
    names = sorted({name for row in rows for name, value in row.items() if isinstance(value, int | float)})
    parts = []
    for name in names:
        values = [value for row in rows if isinstance(value := row.get(name), int | float) and math.isfinite(value)]
        if values and not any(part in name for part in _OF_THE_MACHINE):
            parts.append(
                f"{name} " + " → ".join(f"{values[at]:.4g}" for at in sorted({0, len(values) // 2, len(values) - 1}))
            )
    return "; ".join(parts)


def _row(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None  # a torn last line


def _metrics(candidate: Candidate) -> list[str]:
    score, attempt = candidate.score, candidate.attempt
    assert score is not None and attempt is not None
    try:
        return attempt.paths.trial(0).named(score.try_).metrics.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"
