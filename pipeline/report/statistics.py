"""Tests behind the claims of a report: whether an elite beats the baseline, and whether two measurements of a code
agree.

A search reports its luckiest candidates: the scores that chose them are biased (the winner's curse), and a test on the
same trials is invalid. A claim rests on seeds that chose nothing, scored on the test split. The variance of a gain has
two parts:

* seeds: s²/n for each code, where s² is the larger of the variance pooled over all codes and the code's own variance.
  The pooled variance is too small for a code that is noisier than the others, and search prefers noisy codes; a code's
  own variance, from a few seeds, is often too small by chance;
* items: all trials are scored on the same problems or rows, so this part does not shrink with more seeds.

The test is Welch's, one-sided, with the degrees of freedom of Satterthwaite (Welch, Biometrika 34, 1947; Satterthwaite,
Biometrics Bulletin 2, 1946), corrected for the number of elites by Holm (Scandinavian Journal of Statistics 6, 1979).
`python -m tests.benchmarks claims` measures how often it claims a gain that does not exist.

The functions work on arrays whose last axis is the codes, so that a simulation can test many searches at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from pipeline.metric import Metric
from pipeline.records import Score

ALPHA = 0.05
"""Highest allowed probability that a run in which nothing is better claims a gain; also one minus the confidence of
`Comparison`."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trials:
    """Statistics of each code's trials: arrays of equal shape, with the codes along the last axis."""

    mean: Array
    """Mean over a code's trials."""
    variance: Array
    """Variance between a code's trials; 0 if it has only one."""
    n: Array
    """Number of a code's trials."""


def trials(values: Array) -> Trials:
    """Statistics of codes with equal numbers of trials; the trials are the last axis of `values`."""
    n = values.shape[-1]
    variance = values.var(axis=-1, ddof=1) if n > 1 else np.zeros(values.shape[:-1])
    return Trials(values.mean(axis=-1), variance, np.full(values.shape[:-1], float(n)))


def trials_of(codes: Sequence[Sequence[float]]) -> Trials:
    """Statistics of codes from the values of their trials, at least one per code."""
    each = [trials(np.asarray(values, dtype=float)) for values in codes]
    return Trials(*(np.array([getattr(one, part) for one in each]) for part in ("mean", "variance", "n")))


@dataclass(frozen=True)
class _Noise:
    """Seed variance of each code's mean."""

    variance: Array
    own: npt.NDArray[np.bool_]
    """Whether the variance comes from the code's own trials, not from those of all codes."""
    freedom: Array
    """Degrees of freedom; 0 if the seed noise is unknown."""

    def part(self, codes: slice) -> "_Noise":
        """The noise of some of the codes."""
        return _Noise(self.variance[..., codes], self.own[..., codes], self.freedom[..., codes])


def _noise(codes: Trials) -> _Noise:
    """Uses the larger of the variance pooled over all codes and a code's own variance."""
    freedom = codes.n - 1
    known = freedom.sum(axis=-1, keepdims=True)
    pooled = (freedom * codes.variance).sum(axis=-1, keepdims=True) / np.maximum(known, 1)
    own = codes.variance > pooled
    return _Noise(np.where(own, codes.variance, pooled) / codes.n, own, np.where(own, freedom, known))


def _joint(first: _Noise, second: _Noise, items: Array) -> tuple[Array, Array]:
    """Standard error of a difference and its degrees of freedom; the item variance counts as known exactly."""
    error = np.sqrt(first.variance + second.variance + items)
    pooled, known, terms = np.zeros_like(error), np.zeros_like(error), np.zeros_like(error)
    for one in (first, second):
        terms = terms + np.where(one.own, one.variance**2 / np.maximum(one.freedom, 1), 0.0)
        pooled = pooled + np.where(one.own, 0.0, one.variance)  # one estimate, so its error is shared by both codes
        known = np.maximum(known, np.where(one.own, 0.0, one.freedom))
    terms = terms + pooled**2 / np.maximum(known, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(terms > 0, error**4 / terms, np.inf)
    return error, np.where(np.minimum(first.freedom, second.freedom) > 0, freedom, 0.0)


def _upper_tail(gain: Array, error: Array, freedom: Array) -> Array:
    """Probability of at least this gain by chance; 1 where the seed noise is unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(gain == 0, 0.0, gain / error)
    return np.where(freedom > 0, stdtr(np.where(freedom > 0, freedom, 1.0), -t), 1.0)


def holm(p_values: Array) -> Array:
    """P-values corrected for the number of tests along the last axis. Rejecting those below a level has at most that
    family-wise error rate, whatever the dependence between the tests (Holm 1979)."""
    order = np.argsort(p_values, axis=-1)
    left = p_values.shape[-1] - np.arange(p_values.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, -1) * left, axis=-1)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1.0), -1)
    return corrected


@dataclass(frozen=True)
class GainTests:
    """Tests of a run's elites, which are along the last axis."""

    gain: Array
    """Gain over the baseline; positive means better."""
    error: Array
    """Standard error of the gain."""
    p_value: Array
    """Probability of at least this gain if there is no true gain; one-sided."""
    corrected: Array
    """The p-value corrected for the number of elites (Holm)."""
    low: Array
    """Lower limit of the gain; minus infinity where the seed noise is unknown. All lower limits of a run hold with
    probability 1 - `ALPHA`, all lower and upper limits with 1 - 2 `ALPHA` (Bonferroni). A single elite is significant
    if its lower limit is above 0."""
    high: Array
    """Upper limit of the gain."""


def gain_tests(
    baseline: Trials, elites: Trials, items: Array, excluded: npt.NDArray[np.bool_] | None = None
) -> GainTests:
    """Test every elite against the baseline.

    `baseline` is one code (its last axis has length 1), and higher values are better. `items` is the variance of each
    gain due to the choice of test items. Elites in `excluded`, which failed with one of the seeds, count as tests with
    p-value 1.
    """
    parts = ("mean", "variance", "n")
    codes = Trials(*(np.concatenate([getattr(one, part) for one in (baseline, elites)], axis=-1) for part in parts))
    noise = _noise(codes)
    error, freedom = _joint(noise.part(slice(1, None)), noise.part(slice(1)), items)
    gain = elites.mean - baseline.mean
    p_value = _upper_tail(gain, error, freedom)
    if excluded is not None:
        p_value = np.where(excluded, 1.0, p_value)
    quantile = stdtrit(np.where(freedom > 0, freedom, 1.0), 1 - ALPHA / max(1, gain.shape[-1]))
    half = np.where(freedom > 0, quantile * error, np.inf)
    return GainTests(gain, error, p_value, holm(p_value), gain - half, gain + half)


def paired_items(ours: Array, theirs: Array) -> float:
    """Variance of the difference of two codes due to the choice of items, from scores of the same items.

    Takes arrays of trials × items. Difficulty common to both codes cancels. The seed noise that remains in the mean of
    a few trials is counted both here and between the trials, so the total is not too small.
    """
    difference = ours.mean(axis=0) - theirs.mean(axis=0)
    return float(difference.var(ddof=1) / difference.size) if difference.size > 1 else 0.0


def unpaired_items(ours: Sequence[Score], theirs: Sequence[Score]) -> float:
    """An upper limit of the same variance, from standard errors alone: it assumes that item difficulty is independent
    between the codes."""
    return sum(float(np.mean([score.standard_error**2 for score in scores])) for scores in (ours, theirs))


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sets of scores."""

    gain: float
    """Gain of the first set's mean over the second's; positive means better."""
    error: float
    """Standard error of the gain."""
    low: float
    """Lower limit of the confidence interval of the gain, with confidence 1 - `ALPHA`."""
    high: float
    """Upper limit of the gain."""
    p_value: float
    """Probability of at least this difference, in either direction, if there is no true difference."""

    @property
    def agrees(self) -> bool:
        """Whether the difference may be due to chance."""
        return self.p_value >= ALPHA


def compare(
    metric: Metric,
    ours: Sequence[Score],
    theirs: Sequence[Score],
    others: Sequence[Sequence[Score]] = (),
    *,
    same_code: bool = False,
) -> Comparison:
    """Compare two non-empty sets of scores, from trials that did not choose the code.

    `others` are scores of other codes, such as the baseline, which help to estimate the seed noise. With `same_code`,
    for a rerun, the items cause no difference if both sets are on one split. If no code has two trials, the standard
    errors of the evaluations are used in place of the seed noise.
    """
    codes = trials_of([[score.value for score in scores] for scores in (ours, theirs, *others) if scores])
    noise = _noise(codes)
    known = bool(noise.freedom.max() > 0)
    one_split = {score.split for score in (*ours, *theirs)}
    items = 0.0 if same_code and known and len(one_split) == 1 else unpaired_items(ours, theirs)
    error, freedom = _joint(noise.part(slice(1)), noise.part(slice(1, 2)), np.array([items]))
    freedom = freedom if known else np.array([np.inf])
    gain = np.array([metric.gain(codes.mean[0], codes.mean[1])])
    p_value = min(1.0, 2 * _number(_upper_tail(np.abs(gain), error, freedom)))
    half = _number(stdtrit(freedom, 1 - ALPHA / 2) * error)
    return Comparison(_number(gain), _number(error), _number(gain) - half, _number(gain) + half, p_value)


def _number(one: Any) -> float:
    """The only entry of an array."""
    return float(one[0])
