"""The final report of a run as a record."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.metric import Metric
from pipeline.records import EliteTest, Purpose, Report, Score, TimeToTarget
from pipeline.report.isolation import kinds
from pipeline.report.standings import baseline_estimate, baseline_standing, estimate_of, standing
from pipeline.report.statistics import ALPHA, Array, gain_tests, paired_items, trials_of, unpaired_items
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.views import Attempt, Candidate


def final_report(
    archive: Archive,
    metric: Metric,
    elites: Sequence[Candidate],
    stopped: str,
    times: Sequence[TimeToTarget],
    seeds: Collection[int] | None = None,
) -> Report:
    """The content of `report.json`; the baseline must have a score. If other trials of an elite are scored, its numbers
    exclude the trials that chose it: only trials with one of `seeds` count, or without `seeds` all with other seeds
    than the search."""
    reference = baseline_estimate(archive)
    assert reference is not None
    tests = archive.baseline.scores(Purpose.TEST)
    test = estimate_of(tests) if tests else None
    standings, test_standings = [], []
    for elite in elites:
        assert elite.attempt is not None
        confirmed = elite.attempt.scores(Purpose.CONFIRM)
        scores = [score for score in confirmed if seeds is None or score.seed in seeds]
        standings.append(
            standing(metric, elite.id, scores or confirmed or elite.attempt.scores(Purpose.SEARCH), reference)
        )
        if test is not None and (on_test := elite.attempt.scores(Purpose.TEST)):
            test_standings.append(standing(metric, elite.id, on_test, test))
    standings.sort(key=lambda one: -metric.goodness(one.value))
    order = [one.candidate for one in standings]
    test_standings.sort(key=lambda one: order.index(one.candidate))
    return Report(
        stopped=stopped,
        candidates=archive.count,
        failures={kind: count for kind, count in sorted(archive.index.failures.items()) if count},
        baseline=baseline_standing(reference),
        elites=tuple(standings),
        baseline_test=baseline_standing(test) if test is not None else None,
        elites_test=tuple(test_standings),
        seed_sd=reference.seed_sd,
        times=tuple(times),
        tests=tuple(elite_tests(archive, metric, order, seeds)),
        touches=sum(map(touches, archive.holders())),
    )


def elite_tests(
    archive: Archive, metric: Metric, order: Sequence[str], seeds: Collection[int] | None = None
) -> Iterator[EliteTest]:
    """A test of each code that was scored on the test split, those in `order` first. The correction for the number of
    tests includes elites of an earlier end of the run."""
    baseline = archive.baseline.scores(Purpose.TEST)
    everyone = {one.id: one for one in archive.candidates if one.attempt is not None}
    tested = [
        (everyone[name], attempt)
        for name in dict.fromkeys([*order, *everyone])
        if (attempt := everyone[name].attempt) is not None and attempt.scores(Purpose.TEST)
    ]
    if not baseline or not tested:
        return
    items = [_items(archive.baseline, attempt) for _, attempt in tested]
    failed = [_failed(attempt, seeds) for _, attempt in tested]
    found = gain_tests(
        trials_of([_goodness(metric, baseline)]),
        trials_of([_goodness(metric, attempt.scores(Purpose.TEST)) for _, attempt in tested]),
        np.array([one.variance for one in items]),
        np.array(failed) > 0,
    )
    for number, (candidate, attempt) in enumerate(tested):
        scores, search = attempt.scores(Purpose.TEST), candidate.score
        value = math.fsum(score.value for score in scores) / len(scores)
        low, high = float(found.low[number]), float(found.high[number])
        yield EliteTest(
            candidate=candidate.id,
            value=value,
            seeds=len(scores),
            failed=failed[number],
            gain=float(found.gain[number]),
            gain_error=float(found.error[number]),
            low=low if math.isfinite(low) else None,
            high=high if math.isfinite(high) else None,
            p_value=float(found.p_value[number]),
            corrected=float(found.corrected[number]),
            significant=bool(found.corrected[number] < ALPHA),
            paired=items[number].paired,
            search=search.value if search is not None else None,
            excess=metric.gain(search.value, value) if search is not None else None,
            touches=touches(attempt),
            sandbox=_sandboxes(attempt),
        )


def touches(code: Attempt) -> int:
    """Number of times that a code was scored on the test split: all jobs that started, whatever their result."""
    return sum(one.claim is not None and not one.void for trial in code.of(Purpose.TEST) for one in trial.tries)


@dataclass(frozen=True)
class _Evaluation:
    """Optional output of an evaluator besides its score (evaluation.json)."""

    items: tuple[float, ...] = ()
    """The score of each item, in the order of the split."""


@dataclass(frozen=True)
class _Items:
    """Contribution of the test items to the noise of a gain."""

    variance: float
    paired: bool


def _items(baseline: Attempt, elite: Attempt) -> _Items:
    """From the scores of single items if all evaluations of both codes wrote them, else from their standard errors."""
    ours, theirs = _item_scores(elite), _item_scores(baseline)
    if ours is not None and theirs is not None and ours.shape[1] == theirs.shape[1]:
        return _Items(paired_items(ours, theirs), True)
    return _Items(unpaired_items(elite.scores(Purpose.TEST), baseline.scores(Purpose.TEST)), False)


def _item_scores(code: Attempt) -> Array | None:
    """Item scores, trials × items; none if an evaluation wrote none, or a number of them other than its `n`."""
    found = []
    for trial in code.of(Purpose.TEST):
        if trial.score is None:
            continue
        written = files.read_if_there(trial.paths.named(trial.score.try_).evaluation, _Evaluation)
        if written is None or len(written.items) != trial.score.n:
            return None
        found.append(written.items)
    if len({len(row) for row in found}) != 1:
        return None
    table: Array = np.array(found)
    return table if np.isfinite(table).all() else None


def _failed(code: Attempt, seeds: Collection[int] | None) -> int:
    """Number of final trials without a score because of the code itself."""
    return sum(
        trial.failure is not None and not trial.failure.kind.infrastructure
        for trial in code.of(Purpose.CONFIRM, Purpose.TEST)
        if seeds is None or trial.seed in seeds
    )


def _goodness(metric: Metric, scores: Sequence[Score]) -> list[float]:
    return [metric.goodness(score.value) for score in scores]


def _sandboxes(code: Attempt) -> str:
    """Kinds of sandbox recorded in the scores of a code."""
    return kinds(score.sandbox for score in code.scores(*Purpose))
