"""Wanted trials, and whether a job may be submitted for a trial."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.records import FailureKind, Purpose
from pipeline.store.paths import TrialPaths, number_of
from pipeline.store.views import Attempt, Trial

UNCOUNTED = frozenset({FailureKind.INTERRUPTED, FailureKind.SPOILED})
"""Faults that do not use up a retry."""


@dataclass(frozen=True)
class Wanted:
    """A trial that is not closed or not begun yet."""

    holder: Attempt
    """The code to train: an attempt of a candidate, or the baseline."""
    purpose: Purpose
    """What the trial is for."""
    seed: int
    """Seed of training."""
    budget: float | None = None
    """Budget in the unit of the clock, steps or minutes; none means the run's budget."""
    of: Trial | None = None
    """For purpose `test`: the trial whose checkpoint is scored."""

    @property
    def found(self) -> Trial | None:
        """The trial on disk; none if it has not begun."""
        of = self.of.paths.folder.name if self.of is not None else None
        for trial in self.holder.of(self.purpose):
            job = trial.tries[0].job
            if (job.seed, job.budget, job.of) == (self.seed, self.budget, of):
                return trial
        return None

    def new_paths(self, taken: int = 0) -> TrialPaths:
        """Paths for a trial that is not on disk yet, after `taken` other new trials of the same code."""
        numbers = [number_of(trial.paths.folder.name) for trial in self.holder.trials]
        return self.holder.paths.trial(max(numbers, default=-1) + 1 + taken)


def wanted(holder: Attempt, purpose: Purpose, seed: int, budget: float | None = None) -> Iterator[Wanted]:
    """Yields the trial unless it is closed."""
    one = Wanted(holder, purpose, seed, budget)
    found = one.found
    if found is None or not found.closed:
        yield one


def is_ready(trial: Trial | None, retries: int) -> bool:
    """Whether a job may be submitted for a trial: it has no try yet, or a machine fault spoiled the last one and a retry is
    allowed. A trial whose last try ended otherwise is only waiting to be closed."""
    return trial is None or to_retry(trial, retries)


def to_retry(trial: Trial, retries: int) -> bool:
    """Whether the newest try was spoiled by a machine fault and another is allowed. Tries that ended together with their
    controller, or that the unmodified baseline also failed, do not use up retries. False if an earlier job that was given up
    has left a result after all, or if a person must restore a file first."""
    if trial.deciding is not trial.newest:
        return False
    kinds = [one.failure.kind if one.failure is not None else None for one in trial.tries]
    if kinds[-1] is None or not kinds[-1].infrastructure or kinds[-1] is FailureKind.ALTERED:
        return False
    spoiled = [kind for kind in kinds if kind is not None and kind.infrastructure and kind not in UNCOUNTED]
    return kinds[-1] in UNCOUNTED or len(spoiled) <= retries
