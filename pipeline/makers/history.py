"""The history of a search as text for the ideator: titles, outcomes with error bars, failures with their reasons.

A generation uses only the outcomes that were known when it opened (`parents.seen`), so that a resumed run reproduces its
prompts word for word.
"""

import json
import math
import random
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipeline.config import Clock, Config
from pipeline.llm.base import tokens
from pipeline.makers.prompting import shown_diff, without_places
from pipeline.metric import Metric
from pipeline.records import Failure, Knowledge, Purpose, Result
from pipeline.report.posterior import beliefs, ranked
from pipeline.report.standings import Verdict, as_known, over_parent, verdict
from pipeline.store import files
from pipeline.store.archive import Archive, run_relative
from pipeline.store.paths import short
from pipeline.store.views import Candidate, Trial
from pipeline.text import counted, inert, plain_line

_TEXT = 600
_REASON = 300
_SUMMARY = 2000
"""Maximum length of the summary of a metrics.jsonl, in characters; variants write these files."""
_MOST_METRICS = 64_000_000
"""Maximum number of bytes read from a metrics.jsonl."""
_LEAST_TOKENS = 40
"""Lower bound on the tokens of a description, which bounds the number of candidates drawn."""
_LEAST_CODE = 100
"""Tokens of a parent's code that are shown even if there is no room."""
_BEST = 5
"""Number of best candidates that are always described."""
_OF_SPEED, _OF_MEMORY = ("second", "time", "per_s", "mfu"), "memory"
"""Substrings of the names of metrics that depend on the machine."""


def describe(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric) -> str:
    """One candidate in a few lines."""
    idea = candidate.idea
    builds = f", builds on {' and '.join(map(short, idea.parents))}" if idea.parents else ""
    head = f"{short(candidate.id)}{builds}: {idea.title}"
    return "\n  ".join([head, _cut(idea.text, _TEXT), ending(archive, candidate, known, metric)])


def ending(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric) -> str:
    """The outcome of a candidate in one line, as far as it was known."""
    if candidate.id in known.banned:
        return f"Banned by a person: {_cut(known.banned[candidate.id], _REASON)}"
    scored, failure = _outcome(archive, candidate, known)
    note = f"The same code as {short(scored.id)}, and not trained again. " if scored is not candidate else ""
    if failure is not None:
        reason = inert(without_places(failure.reason.splitlines()[0]))
        return f"{note}Failed in {failure.stage} ({failure.kind}): {_cut(reason, _REASON)}"
    assert scored.score is not None
    standing = as_known(metric, scored.id, scored.score, known)
    value = metric.text_error(standing.value, standing.standard_error)
    gains = [_against(metric, standing.gain, standing.gain_error, "the codebase")]
    for name in candidate.idea.parents:
        parent = archive.candidate(name)
        if parent.score is not None and parent.order <= known.outcomes:
            gains.append(_against(metric, *over_parent(metric, scored.score, parent.score, known), short(name)))
    (believed,) = beliefs(archive, [scored.id], known)
    estimate = metric.text_error(believed.mean, believed.deviation)
    return f"{note}Scored {value}: {'; '.join(gains)}. Estimated from all scores: {estimate}"


def _against(metric: Metric, gain: float, error: float, what: str) -> str:
    return f"{metric.text_gain(gain, error)} against {what} ({verdict(gain, error)})"


def _in_short(archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric) -> str:
    """The outcome of a candidate in a few words."""
    if candidate.id in known.banned:
        return "banned"
    scored, failure = _outcome(archive, candidate, known)
    if failure is not None:
        return f"failed: {failure.kind}"
    assert scored.score is not None
    standing = as_known(metric, scored.id, scored.score, known)
    return verdict(standing.gain, standing.gain_error)


def _outcome(archive: Archive, candidate: Candidate, known: Knowledge) -> tuple[Candidate, Failure | None]:
    """The candidate whose code was trained (for a duplicate its twin), and why it has no score, as far as known."""
    twin = archive.twin(candidate)
    if twin is None:
        return candidate, candidate.failure
    scored = archive.candidate(run_relative(archive, twin.paths.folder.parent))
    return scored, twin.failure if scored.closed and scored.order <= known.outcomes else candidate.failure


def tried(
    archive: Archive, known: Knowledge, metric: Metric, seed: str, most_tokens: int, described: Collection[str] = ()
) -> str:
    """The history: the best few in detail, then others drawn at random, then the titles of the rest, as far as they fit.
    `described` are ids of candidates described elsewhere. Reads no more candidates than can fit, so that the time does not
    grow with the archive."""
    best = [one for one in _best(archive, known, metric, _BEST) if one.id not in described]
    best_texts = pack([describe(archive, one, known, metric) for one in best], most_tokens // 3)
    best = best[: len(best_texts)]
    room = most_tokens - sum(map(tokens, best_texts))
    without = {*described, *(one.id for one in best)}
    titles = _titles(archive, known, without, metric, room // 2)
    drawn = _sample(archive, known, without, metric, seed, room - sum(map(tokens, titles.values())))
    titles = {name: line for name, line in titles.items() if name not in drawn}
    left = known.outcomes - len(without) - len(drawn) - len(titles)
    parts = [
        f"The best {'of the others' if described else 'so far'}, best first:\n\n" + "\n\n".join(best_texts)
        if best_texts
        else "",
        "Others that were tried:\n\n" + "\n\n".join(drawn[name] for name in sorted(drawn)) if drawn else "",
        "The titles of others:\n\n" + "\n".join(titles[name] for name in sorted(titles)) if titles else "",
        f"({left} others are not shown)" if left > 0 else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _best(archive: Archive, known: Knowledge, metric: Metric, most: int) -> list[Candidate]:
    """The best candidates by posterior mean, except banned ones and clear losses."""
    best: list[Candidate] = []
    for one, _ in ranked(archive, metric, known):
        if one.id in known.banned or one.score is None:
            continue
        standing = as_known(metric, one.id, one.score, known)
        if len(best) == most or verdict(standing.gain, standing.gain_error) is Verdict.LOSS:
            break
        best.append(one)
    return best


def _titles(
    archive: Archive, known: Knowledge, without: Collection[str], metric: Metric, most_tokens: int
) -> dict[str, str]:
    """One line for each known outcome by candidate id, newest first, as many as fit."""
    found: dict[str, str] = {}
    for order in range(known.outcomes, 0, -1):
        candidate = archive.outcome(order)
        if candidate is None or candidate.id in without:
            continue
        line = f"- {short(candidate.id)} ({_in_short(archive, candidate, known, metric)}): {candidate.idea.title}"
        most_tokens -= tokens(line)
        if most_tokens < 0:
            break
        found[candidate.id] = line
    return found


def _sample(
    archive: Archive, known: Knowledge, without: Collection[str], metric: Metric, seed: str, most_tokens: int
) -> dict[str, str]:
    """Descriptions by candidate id of a random sample of the known outcomes, as many as fit. Draws no more than can fit."""
    rng = random.Random(seed)
    count = min(known.outcomes, most_tokens // _LEAST_TOKENS + len(without) + 1)
    drawn = [archive.outcome(order) for order in rng.sample(range(1, known.outcomes + 1), count)]
    mixed = [candidate for candidate in drawn if candidate is not None and candidate.id not in without]
    kept = pack((describe(archive, candidate, known, metric) for candidate in mixed), most_tokens)
    return {candidate.id: text for candidate, text in zip(mixed, kept, strict=False)}


def parent(
    archive: Archive, candidate: Candidate, known: Knowledge, metric: Metric, clock: Clock, patch: str, most_tokens: int
) -> str:
    """A candidate to build on: its full idea, its score, a summary of its training, and as much of `patch`, its change of
    the codebase, as fits."""
    idea = candidate.idea
    trial = candidate.attempt.search if candidate.attempt is not None else None
    parts = [
        f"{short(candidate.id)}: {idea.title}",
        idea.text,
        ending(archive, candidate, known, metric),
        f"{_training(trial, clock, 3)}." if trial is not None and trial.score is not None else "",
        "Its code, as a change of the codebase:",
    ]
    head = "\n".join(part for part in parts if part)
    return f"{head}\n{shown_diff(patch, max(_LEAST_CODE, most_tokens - tokens(head)))}"


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """The share of `room` for each of several texts: short texts leave the rest of their share to long ones."""
    given, left = [0] * len(sizes), room
    for place, number in enumerate(sorted(range(len(sizes)), key=lambda one: sizes[one])):
        given[number] = min(sizes[number], left // (len(sizes) - place))
        left -= given[number]
    return given


def measured(archive: Archive, known: Knowledge, config: Config, metric: Metric) -> str:
    """What was known about the unmodified codebase: score, noise, and a summary of its first training. Empty while it has no
    score.

    The training is described only once all baseline trials are known: before that, which one has ended first depends on
    timing, and a resumed run could not reproduce the prompt."""
    if known.baseline is None:
        return ""
    reference = known.baseline
    trials = f"{reference.trials} seeds" if reference.trials > 1 else "one seed"
    text = (
        f"The unmodified codebase scores {metric.text_error(reference.value, reference.standard_error)} with {trials}"
    )
    if known.seed_sd:
        text += f"; between seeds the standard deviation is {metric.text_size(known.seed_sd)}"
    first = next((one for one in archive.baseline.of(Purpose.BASELINE) if one.score is not None), None)
    if first is not None and reference.trials >= config.select.baseline_seeds:
        text += f".\n{_training(first, config.train.clock, 5)}"
    return f"\n{text.rstrip('.')}.\n"


def _training(trial: Trial, clock: Clock, points: int) -> str:
    """A summary of a training with its GPU. Machine-dependent values are left out if the clock counts steps, so that a run
    can be repeated on another machine."""
    lines = _metrics(trial)
    rows = _rows(lines)
    steps = int(next((step for row in reversed(rows) if (step := _number(row.get("step"))) is not None), len(rows)))
    tried = next(one for one in trial.tries if trial.score is not None and one.paths.folder.name == trial.score.try_)
    text, result = f"Its training took {counted(steps, 'step')}" if rows else "It wrote no metrics", tried.result
    if clock is Clock.wall and result is not None:
        seconds = tried.job.used_s + result.seconds.train
        text += f" in {seconds:.0f} s" + (f", {seconds / steps:.4g} s a step" if steps else "")
    if result is not None:
        text += _machine(result, clock)
    curve = metrics_summary(lines, clock, points)
    return text + (f". From the first step to the last: {curve}" if curve else "")


def _machine(result: Result, clock: Clock) -> str:
    """The GPU, its memory, and peak memory use. Host memory is named as such, since it would be mistaken for GPU memory."""
    memory, text = result.memory, f", on {result.gpu}" if result.gpu else ""
    if memory.gpu_gb is not None:
        text += f" with {memory.gpu_gb:.3g} GB of GPU memory"
    if clock is Clock.steps:
        return text
    peaks = (("GPU memory", memory.gpu_peak_gb), ("host memory", memory.host_peak_gb))
    known = [f"{peak:.3g} GB of {what}" for what, peak in peaks if peak is not None]
    return text + (f"; at most {' and '.join(known)} were in use" if known else "")


def pack(texts: Iterable[str], most_tokens: int) -> list[str]:
    """The longest prefix of the texts that fits. Reads no more than one text beyond it."""
    kept: list[str] = []
    for text in texts:
        most_tokens -= tokens(text)
        if most_tokens < 0:
            break
        kept.append(text)
    return kept


def metrics_summary(lines: Sequence[str], clock: Clock, points: int = 3) -> str:
    """Each number in metrics.jsonl at `points` points from first to last; of memory, the peak. Speed and memory are shown
    only if the budget is wall time, where they affect the score; with steps they would only vary from run to run."""
    rows = _rows(lines)
    parts = []
    for name in sorted({name for row in rows for name in row}):
        values = [value for row in rows if (value := _number(row.get(name))) is not None]
        if not values or (clock is Clock.steps and any(part in name for part in (*_OF_SPEED, _OF_MEMORY))):
            continue
        last = len(values) - 1
        places = sorted({round(last * point / (points - 1)) for point in range(points)})
        text = f"at most {max(values):.4g}" if _OF_MEMORY in name else " → ".join(f"{values[at]:.4g}" for at in places)
        parts.append(f"{name} {text}")
    return _cut(inert(plain_line("; ".join(parts))), _SUMMARY)


def _rows(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [row for line in lines if isinstance(row := _row(line), dict)]


def _number(value: object) -> float | None:
    """The value as a finite number; none if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer too large for a float
        return None


def _row(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None  # an incomplete last line


def _metrics(trial: Trial | None) -> list[str]:
    if trial is None or trial.score is None:
        return []
    try:
        metrics = trial.paths.named(trial.score.try_).metrics
        return files.head(metrics, _MOST_METRICS).decode(errors="replace").splitlines()
    except OSError:
        return []


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"
