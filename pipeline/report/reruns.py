"""Results of a rerun, a transfer or an ablation of a candidate: comparisons of its trials in two runs, or of codes in
one."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.metric import Metric
from pipeline.records import Purpose, Score
from pipeline.report.statistics import Comparison, compare
from pipeline.store.views import Attempt

_TRAINED = (Purpose.BASELINE, Purpose.SEARCH, Purpose.CONFIRM)


@dataclass(frozen=True)
class Measured:
    """The value of one code in one run."""

    value: float
    """Mean of its trials."""
    seeds: int
    """Number of trials."""


@dataclass(frozen=True)
class Side:
    """A candidate compared with the baseline in one run."""

    split: str
    """Split on which all values were scored."""
    baseline: Measured
    """The unmodified code."""
    candidate: Measured
    """The candidate's code."""
    gain: Comparison
    """Gain of the candidate over the baseline."""
    chose: bool
    """Whether the search trial that chose the candidate is among its trials, so that the gain is partly luck."""


@dataclass(frozen=True)
class Pair:
    """The scores of candidate and baseline in one run, on one split."""

    candidate: Sequence[Score]
    baseline: Sequence[Score]
    chose: bool = False

    @property
    def complete(self) -> bool:
        """Whether both have scores."""
        return bool(self.candidate and self.baseline)


def on_test_split(candidate: Attempt, baseline: Attempt) -> Pair:
    """The scores of a candidate and the baseline on the test split."""
    return Pair(candidate.scores(Purpose.TEST), baseline.scores(Purpose.TEST))


def on_search_split(candidate: Attempt, baseline: Attempt, final_seeds: Sequence[int] | None = None) -> Pair:
    """The scores of a candidate and the baseline on the split that selection uses. With `final_seeds`, only those
    trials of the candidate that chose nothing, or all of its trials if there are no such trials."""
    ours = candidate.scores(*_TRAINED)
    if final_seeds is None:
        return Pair(ours, baseline.scores(*_TRAINED))
    final = [score for score in ours if score.seed in final_seeds]
    return Pair(final or ours, baseline.scores(*_TRAINED), chose=not final)


def side(metric: Metric, scores: Pair) -> Side:
    """A candidate against the baseline of the same run."""
    return Side(
        scores.candidate[0].split,
        _measured(scores.baseline),
        _measured(scores.candidate),
        compare(metric, scores.candidate, scores.baseline),
        scores.chose,
    )


def repeated(before: Sequence[Score], now: Sequence[Score]) -> tuple[int, int]:
    """Number of common seeds with exactly the same value, and number of common seeds."""
    known = {score.seed: score.value for score in before}
    common = [score.value == known[score.seed] for score in now if score.seed in known]
    return sum(common), len(common)


def _measured(scores: Sequence[Score]) -> Measured:
    return Measured(sum(score.value for score in scores) / len(scores), len(scores))
