"""The single definition of "better than": estimates of codes from their trials, and their differences from the
baseline."""

from collections.abc import Sequence
from enum import StrEnum

from pipeline.metric import Estimate, Metric, difference, estimate
from pipeline.records import Knowledge, Purpose, Score, Standing
from pipeline.store.archive import Archive

BASELINE = "baseline"
"""Name of the unmodified code in standings."""
REFERENCE = (Purpose.BASELINE, Purpose.CANARY)
"""Purposes of the trials that form the reference."""
CLEAR = 2.0
"""A difference of at least this many of its standard errors is clear; about one in twenty exceeds it by chance."""


class Verdict(StrEnum):
    """Interpretation of a difference between two codes."""

    GAIN = "clear gain"
    NOISE = "within noise"
    LOSS = "clear loss"


def verdict(gain: float, error: float) -> Verdict:
    """Whether a gain is clearly larger than its noise; `error` is its standard error."""
    if gain and abs(gain) >= CLEAR * error:
        return Verdict.GAIN if gain > 0 else Verdict.LOSS
    return Verdict.NOISE


def estimate_of(scores: Sequence[Score], seed_sd: float | None = None) -> Estimate:
    """Mean and noise of one code from at least one score; `seed_sd` is used if there are fewer than three."""
    return estimate([score.value for score in scores], [score.standard_error for score in scores], seed_sd)


def baseline_estimate(archive: Archive) -> Estimate | None:
    """The reference so far; none while the baseline has no score."""
    scores = archive.baseline.scores(*REFERENCE)
    return estimate_of(scores) if scores else None


def baseline_standing(reference: Estimate) -> Standing:
    """The reference as a row beside the codes compared with it."""
    return Standing(BASELINE, reference.mean, reference.standard_error, reference.n)


def standing(metric: Metric, name: str, scores: Sequence[Score], reference: Estimate) -> Standing:
    """One code compared with the reference."""
    ours = estimate_of(scores, reference.seed_sd)
    gain, error = difference(metric, ours, reference)
    return Standing(name, ours.mean, ours.standard_error, ours.n, gain, error)


def knowledge(archive: Archive) -> Knowledge:
    """What a decision taken now has seen."""
    reference = baseline_estimate(archive)
    return Knowledge(
        archive.index.outcomes,
        archive.complete,
        baseline_standing(reference) if reference is not None else None,
        reference.seed_sd if reference is not None else 0.0,
        archive.banned,
    )


def as_known(metric: Metric, name: str, score: Score, known: Knowledge) -> Standing:
    """One code compared with the reference at the time of a decision. Raises ValueError if there was none."""
    if known.baseline is None:
        raise ValueError("the baseline had no score yet")
    reference = known.baseline
    return standing(
        metric, name, [score], Estimate(reference.value, reference.standard_error, known.seed_sd, reference.trials)
    )


def over_parent(metric: Metric, ours: Score, parent: Score, known: Knowledge) -> tuple[float, float]:
    """Gain of one code over its parent, from one trial each, and its standard error with the seed noise known at the
    time of a decision."""
    return difference(metric, estimate_of([ours], known.seed_sd), estimate_of([parent], known.seed_sd))
