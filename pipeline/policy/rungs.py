"""Successive halving: every candidate is first trained with part of the budget, and only the better ones get more.

In generational mode all candidates of a generation are compared once each has its score of a rung (Karnin, Koren and Somekh,
ICML 2013; Jamieson and Talwalkar, AISTATS 2016). In steady mode a candidate is compared at once with all scores of that rung
so far: asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020), in
the variant that stops a candidate at once if it is not among the best.

If the baseline can stop a training part-way (`baseline.continues`), a rung is the beginning of the whole training, and what
follows continues it. Otherwise each rung is a separate training from the start, because learning rate schedules decay at the
end of each budget.
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
from pipeline.store.views import Attempt, Candidate, Trial, Try


def rung_budgets(config: Config) -> list[float]:
    """The budgets of the rungs in the unit of the clock, steps or minutes, smallest first."""
    budgets = [share * config.train.budget for share in config.search.rungs]
    return [float(math.ceil(one)) for one in budgets] if config.train.clock is Clock.steps else budgets


def expected_trainings(config: Config, candidates: int) -> list[tuple[int, float]]:
    """If the best `search.keep` pass each rung: the number of trainings of each rung and last of search trials, and the
    share of a whole training that each takes."""
    found, before = [], 0.0
    for share in (*config.search.rungs, 1.0):
        found.append((candidates, share - before))
        candidates = math.ceil(config.search.keep * candidates)
        before = share if config.baseline.continues else 0.0
    return found


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


def try_to_continue(config: Config, wanted: Wanted) -> Try | None:
    """The job of an earlier rung that a rung or search trial continues; none where it starts anew."""
    if not config.baseline.continues or wanted.purpose not in (Purpose.RUNG, Purpose.SEARCH):
        return None
    whole = wanted.budget or config.train.budget
    rungs = [(one.newest.job.budget or whole, one) for one in wanted.holder.of(Purpose.RUNG) if one.score is not None]
    rungs = sorted((pair for pair in rungs if pair[0] < whole), key=lambda pair: pair[0])
    return next((one for _, rung in reversed(rungs) for one in reversed(rung.tries) if one.paths.resume.is_dir()), None)


def may_continue(config: Config, holder: Attempt, trial: Trial) -> bool:
    """Whether the state of a closed trial is kept, because a longer training may continue it."""
    undecided = holder.failure is None and (holder.search is None or not holder.search.closed)
    return config.baseline.continues and trial.purpose is Purpose.RUNG and trial.score is not None and undecided


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
    if others is None or passes(config, metric, score.value, others):
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
    return begun or (score is not None and others is not None and passes(config, metric, score.value, others))


def passes(config: Config, metric: Metric, value: float, values: list[float]) -> bool:
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
