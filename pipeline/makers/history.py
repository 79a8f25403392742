"""What was tried, as text for the ideator: titles, outcomes with error bars, failures with their reasons.

A generation uses what was known when it opened (`parents.seen`), and nothing that came in later: a resumed run makes its
prompts again, word for word.
"""

import json
import math
import random
from collections.abc import Collection, Sequence

from pipeline.llm.base import tokens
from pipeline.makers.prompting import shown_diff, without_places
from pipeline.metric import Metric
from pipeline.records import Knowledge
from pipeline.report.standings import as_known
from pipeline.store.archive import Archive, run_relative
from pipeline.store.paths import short
from pipeline.store.views import Candidate

_TEXT = 600
_REASON = 300
_LEAST_TOKENS = 40
"""No entry is shorter: bounds how many are drawn."""
_OF_THE_MACHINE = ("second", "time", "per_s", "mfu")
"""Parts of the names of metrics that tell how fast a machine was."""


def describe(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric) -> str:
    """One candidate in a few lines."""
    idea = candidate.idea
    builds = f", builds on {' and '.join(map(short, idea.parents))}" if idea.parents else ""
    head = f"{short(candidate.id)}{builds}: {idea.title}"
    return "\n  ".join([head, _cut(idea.text, _TEXT), ending(archive, candidate, known, metric)])


def ending(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric) -> str:
    """How it ended, in a line, as far as it was known."""
    if candidate.id in known.banned:
        return f"Banned by a person: {_cut(known.banned[candidate.id], _REASON)}"
    failure, note, scored = candidate.failure, "", candidate
    twin = archive.twin(candidate)
    if twin is not None:
        scored = archive.candidate(run_relative(archive, twin.paths.folder.parent))
        note = f"The same code as {short(scored.id)}, and not trained again. "
        if scored.closed and scored.order <= known.outcomes:
            failure = twin.failure
    if failure is not None:
        reason = without_places(failure.reason.splitlines()[0])
        return f"{note}Failed in {failure.stage} ({failure.kind}): {_cut(reason, _REASON)}"
    assert scored.score is not None
    standing = as_known(metric, scored.id, scored.score, known)
    gain, error = metric.text_gain(standing.gain), metric.text_gain(standing.gain_error).lstrip("+")
    better = "better" if standing.gain > 0 else "worse"
    value = metric.text_error(standing.value, standing.standard_error)
    return f"{note}Scored {value}: {gain} ± {error} against the codebase ({better})"


def sample(
    archive: Archive, known: Knowledge, without: Collection[str], metric: Metric, seed: str, most_tokens: int
) -> str:
    """A random part of the known outcomes that fits, in order of generations. Draws no more than can fit, so that it takes
    the same time in any archive."""
    rng = random.Random(seed)
    count = min(known.outcomes, most_tokens // _LEAST_TOKENS + len(without) + 1)
    drawn = [archive.outcome(order) for order in rng.sample(range(1, known.outcomes + 1), count)]
    mixed = [candidate for candidate in drawn if candidate is not None and candidate.id not in without]
    texts = {candidate.id: describe(archive, candidate, known, metric) for candidate in mixed}
    kept = pack(list(texts.values()), most_tokens)
    chosen = sorted(list(texts)[: len(kept)])
    left = known.outcomes - len(without) - len(chosen)
    return "\n\n".join([*(texts[name] for name in chosen), *([f"({left} others are not shown)"] if left > 0 else [])])


def parent(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric, most_tokens: int) -> str:
    """A candidate to build on: its idea in full, its score, its code as a change of the codebase, its training."""
    assert candidate.attempt is not None
    patch = candidate.attempt.paths.patch.read_text(errors="replace")
    idea = candidate.idea
    fitting = shown_diff(patch) if tokens(patch) <= most_tokens else "(its code is too long to show)"
    training = metrics_summary(_metrics(candidate))
    parts = [
        f"{short(candidate.id)}: {idea.title}",
        idea.text,
        ending(archive, candidate, known, metric),
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
    """First, middle and last value of each number in metrics.jsonl, without those that tell how fast the machine was: they
    differ from run to run."""
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
    trial = candidate.attempt.search if candidate.attempt is not None else None
    assert trial is not None and trial.score is not None
    try:
        return trial.paths.named(trial.score.try_).metrics.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"
