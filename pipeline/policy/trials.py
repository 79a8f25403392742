"""A trial that should come to a score, and whether a job may be submitted for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.records import FailureKind, Purpose
from pipeline.store.paths import TrialPaths, number_of
from pipeline.store.views import Attempt, Trial

UNCOUNTED = frozenset({FailureKind.INTERRUPTED, FailureKind.SPOILED})
"""Faults that do not use up a retry."""


@dataclass(frozen=True)
class Wanted:
    """A trial that is not closed yet, or not begun."""

    holder: Attempt
    """The code to train: an attempt of a candidate, or the baseline."""
    purpose: Purpose
    """What the trial is for."""
    seed: int
    """Seed of training."""
    budget: float | None = None
    """Budget in the unit of the clock, steps or minutes; none means that of the run."""
    of: Trial | None = None
    """With `test`: the trial whose checkpoint is scored."""

    @property
    def found(self) -> Trial | None:
        """What is on disk of it."""
        of = self.of.paths.folder.name if self.of is not None else None
        for trial in self.holder.of(self.purpose):
            job = trial.tries[0].job
            if (job.seed, job.budget, job.of) == (self.seed, self.budget, of):
                return trial
        return None

    def new_paths(self, taken: int = 0) -> TrialPaths:
        """Where it goes if nothing is on disk of it; `taken` new trials of the same code come before."""
        numbers = [number_of(trial.paths.folder.name) for trial in self.holder.trials]
        return self.holder.paths.trial(max(numbers, default=-1) + 1 + taken)


def wanted(holder: Attempt, purpose: Purpose, seed: int, budget: float | None = None) -> Iterator[Wanted]:
    """The trial, unless it is closed."""
    one = Wanted(holder, purpose, seed, budget)
    found = one.found
    if found is None or not found.closed:
        yield one


def is_ready(trial: Trial | None, retries: int) -> bool:
    """Whether a job may be submitted for a trial: none was yet, or a machine spoiled the last and another is allowed.

    A trial whose last try has ended otherwise is only waiting to be closed."""
    return trial is None or to_retry(trial, retries)


def to_retry(trial: Trial, retries: int) -> bool:
    """Whether the newest try was spoiled by a machine, and one more is allowed. A try that ended together with its
    controller does not count, nor one that the unmodified baseline also failed. Not if an earlier job that was given up has
    left a result after all, nor if a person first has to put a file back."""
    if trial.deciding is not trial.newest:
        return False
    kinds = [one.failure.kind if one.failure is not None else None for one in trial.tries]
    if kinds[-1] is None or not kinds[-1].infrastructure or kinds[-1] is FailureKind.ALTERED:
        return False
    spoiled = [kind for kind in kinds if kind is not None and kind.infrastructure and kind not in UNCOUNTED]
    return kinds[-1] in UNCOUNTED or len(spoiled) <= retries
