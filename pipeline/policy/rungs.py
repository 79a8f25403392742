"""Successive halving: every candidate is first trained with part of the budget, and only the better ones get more.

In generational mode all candidates of a generation are compared once each has its score of a rung (Karnin, Koren and Somekh,
ICML 2013; Jamieson and Talwalkar, AISTATS 2016). In steady mode a candidate is compared at once with all scores of that rung
so far: asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020), in
the variant that stops a candidate at once if it is not among the best. Each rung is a separate training from the start,
because learning rate schedules decay at the end of each budget.
"""

import bisect
import math
from collections.abc import Iterator

from pipeline.config import Clock, Config, Mode
from pipeline.metric import Metric
from pipeline.policy.trials import Wanted, wanted
from pipeline.records import Failure, FailureKind, Purpose, Score, Stage
from pipeline.store.archive import Archive
from pipeline.store.paths import number_of
from pipeline.store.views import Attempt, Candidate


def rung_budgets(config: Config) -> list[float]:
    """The budgets of the rungs in the unit of the clock, steps or minutes, smallest first."""
    budgets = [share * config.train.budget for share in config.search.rungs]
    return [float(math.ceil(one)) for one in budgets] if config.train.clock is Clock.steps else budgets


def next_training(
    config: Config, metric: Metric, archive: Archive, candidate: Candidate, seed: int
) -> Iterator[Wanted]:
    """The next training of a candidate without an outcome: its next rung, or its search trial. Empty while it waits for the
    scores of others."""
    attempt = candidate.attempt
    assert attempt is not None
    for number, budget in enumerate(rung_budgets(config)):
        missing = list(wanted(attempt, Purpose.RUNG, seed, budget))
        if missing or not _passed(config, metric, archive, candidate, number):
            yield from missing
            return
    yield from wanted(attempt, Purpose.SEARCH, seed)


def stopped_early(config: Config, metric: Metric, archive: Archive, candidate: Candidate) -> Failure | None:
    """A failure if the candidate is not among the best of its last rung; none if it is, or cannot be compared yet."""
    attempt = candidate.attempt
    if candidate.closed or attempt is None or attempt.failure is not None or attempt.search is not None:
        return None
    found = [
        (number, score) for number in range(len(config.search.rungs)) if (score := _score(config, attempt, number))
    ]
    if not found:
        return None
    number, score = found[-1]
    others = _others(config, archive, candidate, number)
    if others is None or _kept(config, metric, score.value, others):
        return None
    better = sum(metric.gain(one, score.value) > 0 for one in others)
    reason = (
        f"{metric.text(score.value)} after {config.search.rungs[number]:.0%} of the budget, where {better} of {len(others)} "
        f"were better (search.rungs)"
    )
    return Failure(Stage.TRAIN, FailureKind.STOPPED_EARLY, reason, score.try_)


def _passed(config: Config, metric: Metric, archive: Archive, candidate: Candidate, number: int) -> bool:
    """Whether a candidate is among the best of a rung, or has already begun a later training."""
    attempt = candidate.attempt
    assert attempt is not None
    later = rung_budgets(config)[number + 1 :]
    begun = attempt.search is not None or any(one.newest.job.budget in later for one in attempt.of(Purpose.RUNG))
    score, others = _score(config, attempt, number), _others(config, archive, candidate, number)
    return begun or (score is not None and others is not None and _kept(config, metric, score.value, others))


def _kept(config: Config, metric: Metric, value: float, values: list[float]) -> bool:
    """Whether a value is in the best share `search.keep` of `values`, which are sorted ascending and contain it."""
    room = max(1, math.ceil(config.search.keep * len(values)))
    if metric.goodness(1.0) > 0:
        return len(values) - bisect.bisect_right(values, value) < room
    return bisect.bisect_left(values, value) < room


def _others(config: Config, archive: Archive, candidate: Candidate, number: int) -> list[float] | None:
    """The scores of a rung to compare with, ascending, including the candidate's own; none while some are missing."""
    budget = rung_budgets(config)[number]
    if config.search.mode is Mode.steady:
        return archive.index.rungs.get(budget, [])
    generation = archive.generations[number_of(candidate.paths.folder.parent.name)]
    if not generation.complete:
        return None
    values = []
    for one in generation.candidates:
        score = _score(config, one.attempt, number) if one.attempt is not None else None
        if score is not None:
            values.append(score.value)
        elif not one.closed:
            return None
    return sorted(values)


def _score(config: Config, attempt: Attempt, number: int) -> Score | None:
    budget = rung_budgets(config)[number]
    return next((one.score for one in attempt.of(Purpose.RUNG) if one.newest.job.budget == budget), None)
