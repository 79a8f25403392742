"""What the stages decide by, read off the archive: is the search over, who was best, which trials are wanted."""

import datetime
import heapq
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config import ClusterKind, Config
from pipeline.config import Search as Method
from pipeline.errors import BadInput
from pipeline.records import Kind
from pipeline.stages.account import committed_h, trial_h
from pipeline.stages.base import Plan
from pipeline.stages.looks import looks, next_budget
from pipeline.store.archive import Archive, Attempt, Candidate, Generation, Trial
from pipeline.store.paths import TrialPaths, number_of

VALIDATION, TEST = "validation", "test"
_UNCOUNTED = frozenset({Kind.INTERRUPTED, Kind.SPOILED})
"""Faults that do not use up a retry."""


def stop_reason(plan: Plan, archive: Archive) -> str | None:
    """The first stop rule that holds, in words; none while the search may go on. Raises `BadInput` for a bad date."""
    stop, metric = plan.config.stop, plan.metric
    decided = [generation for generation in archive.generations if generation.selection is not None]
    if decided and plan.config.select.method is Method.time_to_target:
        return f"the time to select.target={plan.config.select.target:g} is looked for"
    if len(decided) >= stop.generations:
        return f"stop.generations={stop.generations} are done"
    if stop.candidates and sum(len(one.candidates) for one in archive.generations) >= stop.candidates:
        return f"stop.candidates={stop.candidates} are tried"
    if stop.date and plan.clock() >= moment(stop.date):
        return f"stop.date={stop.date} has come"
    seen = [max(map(metric.goodness, generation.values)) for generation in decided if generation.values is not None]
    if stop.target is not None and seen and max(seen) >= metric.goodness(stop.target):
        return f"stop.target={stop.target:g} is reached"
    if broke(plan, archive, final=False):
        return f"budget.gpu_hours={plan.config.budget.gpu_hours:g} leaves no room for another trial"
    if stop.patience and len(seen) > stop.patience and max(seen[-stop.patience :]) <= max(seen[: -stop.patience]):
        return f"no better candidate in stop.patience={stop.patience} generations"
    return None


def finishing(plan: Plan, archive: Archive) -> bool:
    """Whether the search is over and only the elites are left to confirm."""
    newest = archive.newest
    if newest is None or stop_reason(plan, archive) is None:
        return False
    decided = newest.selection is not None and archive.all_closed
    return decided or broke(plan, archive, final=False)


def affordable(plan: Plan, archive: Archive, final: bool) -> int:
    """How many more trials `budget.gpu_hours` has room for; in the search a reserve is left for the `final` ones."""
    budget, needs = plan.config.budget, plan.config.train.resources
    if not budget.gpu_hours or not needs.gpus_per_node:
        return sys.maxsize
    allowed_h = budget.gpu_hours * (1.0 if final else 1.0 - budget.reserve)
    return max(0, int((allowed_h - committed_h(plan.config, archive, plan.clock())) / trial_h(plan.config)))


def broke(plan: Plan, archive: Archive, final: bool) -> bool:
    """Whether `budget.gpu_hours` has no room for another trial, and nothing is left to decide on."""
    return not affordable(plan, archive, final) and not undecided(plan, archive)


def in_flight(archive: Archive) -> int:
    """How many jobs wait or run."""
    return len(archive.flying())


def undecided(plan: Plan, archive: Archive) -> int:
    """How many trials have a job that waits or runs, or a result that is still to be decided on: one may come at any
    moment between two looks.

    That of a candidate waits for ever when the baseline's first trial, with which it is compared, never gets a score."""
    compared = any(trial.score is not None for trial in archive.baseline.trials[:1])
    return sum(
        trial.newest is not None
        and not to_retry(plan, trial)
        and (trial.flying is not None or compared or holder is archive.baseline)
        for holder, trial in archive.open_trials()
    )


def elites(plan: Plan, archive: Archive) -> tuple[Candidate, ...]:
    """The best candidates by the score of their first trial, best first. Not by later trials: who is trained again must
    not depend on how that went. Those that a person pinned come first, and those banned not at all."""
    scored = [pair for generation in archive.generations for pair in generation.scored if not pair[0].banned]
    most = max(plan.config.select.elites, sum(candidate.pinned for candidate, _ in scored))
    if plan.config.select.method is Method.time_to_target:
        most = len(scored)
    best = heapq.nsmallest(
        most, scored, key=lambda pair: (not pair[0].pinned, -plan.metric.goodness(pair[1].value), pair[0].id)
    )
    return tuple(candidate for candidate, _ in best)


def asked(config: Config) -> int:
    """How many ideas a generation asks the ideator for."""
    return 0 if config.select.method is Method.time_to_target else config.ideate.candidates


def wave(plan: Plan, generation: Generation) -> int:
    """How many candidates a generation has when it is full: those asked for, and what people brought in."""
    return asked(plan.config) + len(generation.parents.proposals)


def confirmed(plan: Plan, archive: Archive) -> tuple[Attempt, ...]:
    """The code of the elites."""
    return tuple(elite.attempt for elite in elites(plan, archive) if elite.attempt is not None)


@dataclass(frozen=True)
class Wanted:
    """A trial that should come to a score."""

    paths: TrialPaths
    trial: Trial | None
    """What is on disk of it."""
    seed: int
    checkpoint: str | None = None
    """For a scoring on the test split: the checkpoint, relative to the run folder."""
    budget: float | None = None
    """For a look: its budget in the unit of the clock."""

    @property
    def tries(self) -> int:
        """Tries so far."""
        return len(self.trial.tries) if self.trial is not None else 0


def wanted_trials(plan: Plan, archive: Archive) -> Iterator[Wanted]:
    """Every trial that the run still wants, the most urgent first: the baseline's, the first of each variant, and when
    the search is over the elites' other seeds and the scorings on the test split."""
    select = plan.config.select
    yield from _seeds(plan, archive.baseline, wanted_baselines(plan, archive))
    if archive.alarm is not None:
        return
    over = finishing(plan, archive)  # where the budget ended the search, its reserve is not for candidates left over
    for candidate in archive.unsettled if not over else ():
        if candidate.failure is None and candidate.attempt is not None and candidate.attempt.smoke is not None:
            yield from _seeds(plan, candidate.attempt, 1)
    if not over:
        return
    holders = [archive.baseline, *confirmed(plan, archive)]
    if plan.config.select.method is Method.time_to_target:
        for attempt in holders:
            yield from _look(plan, attempt)
        return
    for attempt in holders[1:]:
        yield from _seeds(plan, attempt, 1 + select.elite_seeds)
    for attempt in holders:
        for trial in attempt.trials:
            scored_on_test = trial.test is not None and trial.test.closed
            if (
                trial.score is not None
                and not scored_on_test
                and (attempt is archive.baseline or number_of(trial.paths.folder.name) > 0)
            ):
                checkpoint = trial.paths.named(trial.score.try_).checkpoint
                inside = checkpoint.relative_to(archive.paths.folder).as_posix()
                yield Wanted(trial.paths.test, trial.test, trial.score.seed, inside)


def wanted_baselines(plan: Plan, archive: Archive) -> int:
    """How many trials of the unmodified baseline are wanted by now.

    Where jobs run on machines that nobody watches, one more rides in the first wave of each later generation (the
    canary): it tells a machine that has changed from bad ideas, and sharpens the estimate of the noise. One in each wave
    would be one beside each trial, as a wave is what became ready since the last tick. An alarm asks for one, too."""
    select = plan.config.select
    canaries = len(archive.generations) - 1 if plan.config.cluster.kind is ClusterKind.slurm and select.canary else 0
    alarms = [number_of(raised.alarm.trial) + 1 for raised in archive.alarms]
    return max(select.baseline_seeds + max(0, canaries), *alarms, 0)


def _seeds(plan: Plan, attempt: Attempt, count: int) -> Iterator[Wanted]:
    """Those of the first `count` trials of one code that are not closed. Trial k of every code has the same seed."""
    known = {trial.paths.folder.name: trial for trial in attempt.trials}
    for number in range(count):
        paths = attempt.paths.trial(number)
        trial = known.get(paths.folder.name)
        if trial is None or not trial.closed:
            yield Wanted(paths, trial, 1000 * plan.config.seed + number)


def _look(plan: Plan, attempt: Attempt) -> Iterator[Wanted]:
    """The next look at the time that a code takes to the target, if one is wanted."""
    open_ = next((look for look in attempt.looks if not look.closed), None)
    number = number_of(open_.paths.folder.name) if open_ is not None else len(attempt.looks)
    if open_ is not None and open_.tries:
        budget = open_.tries[0].job.budget
    else:
        budget = next_budget(plan.config.train, looks(plan, attempt), plan.config.select.looks)
    if budget is not None:
        yield Wanted(attempt.paths.look(number), open_, 1000 * plan.config.seed + number, budget=budget)


def moment(date: str) -> float:
    """Seconds since 1970 of a date as `stop.date` takes it. Raises `BadInput`."""
    try:
        return datetime.datetime.fromisoformat(date).astimezone().timestamp()
    except ValueError:
        raise BadInput(f"stop.date={date} is no date; write one as 2026-12-31T18:00") from None


def ready(plan: Plan, wanted: Wanted) -> bool:
    """Whether a job may be submitted for a trial: none was yet, or a machine spoiled the last and another is allowed.

    A trial whose last try has ended otherwise is only waiting to be closed."""
    if wanted.trial is None or wanted.trial.newest is None:
        return True
    return to_retry(plan, wanted.trial)


def to_retry(plan: Plan, trial: Trial) -> bool:
    """Whether the newest try was spoiled by a machine and `train.retries` allows another. A try that ended together with
    its controller does not count, nor does one that an unmodified baseline would have failed, too."""
    kinds = [one.failure.kind if one.failure is not None else None for one in trial.tries]
    if kinds[-1] is None or not kinds[-1].infrastructure:
        return False
    spoiled = [kind for kind in kinds if kind is not None and kind.infrastructure and kind not in _UNCOUNTED]
    return kinds[-1] in _UNCOUNTED or len(spoiled) <= plan.config.train.retries


def trials_left(plan: Plan, archive: Archive) -> int:
    """How many trials are still to come until the end, as far as can be told: for an estimate of the time left."""
    config = plan.config
    if finishing(plan, archive):
        return sum(1 for _ in wanted_trials(plan, archive))
    ideas = config.stop.generations * asked(config)
    if config.stop.candidates:
        ideas = min(ideas, config.stop.candidates)
    first = max(0, config.select.baseline_seeds - sum(trial.closed for trial in archive.baseline.trials))
    last = config.select.elites * config.select.elite_seeds
    ideas += sum(len(generation.parents.proposals) for generation in archive.generations)
    made = sum(len(generation.candidates) for generation in archive.generations)
    closed = made - sum(not candidate.closed for candidate in archive.unsettled)
    return max(0, ideas - closed) + first + last
