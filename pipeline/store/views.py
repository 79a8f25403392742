"""What the files of a run say, as frozen data: candidates, their attempts, trials and tries."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.records import (
    Alarm,
    AlarmVerdict,
    Claim,
    Failure,
    Idea,
    Implementation,
    Job,
    Parents,
    Purpose,
    Result,
    Score,
    Selection,
    Smoke,
)
from pipeline.store.paths import (
    AlarmPaths,
    AttemptPaths,
    CandidatePaths,
    GenerationPaths,
    TrialPaths,
    TryPaths,
    number_of,
)

VOID = "void"
"""Id in the claim of a try that the controller gave up before a job ran it."""


class State(StrEnum):
    """How far a candidate, or a trial, came."""

    PROPOSED = "proposed"
    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    SCORED = "scored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Try:
    """One job of a trial."""

    paths: TryPaths
    job: Job
    claim: Claim | None
    result: Result | None
    spoiled: Failure | None = None
    declared: bool = False
    """Whether `result` is what the controller declared, not what the job wrote."""

    @property
    def void(self) -> bool:
        """Whether it was given up before a job ran it; then none ever will."""
        return self.claim is not None and self.claim.job_id == VOID

    @property
    def may_report(self) -> bool:
        """Whether its job was given up, and may yet write a result."""
        return self.declared and not self.void

    @property
    def conclusive(self) -> bool:
        """Whether it came to a score, or to a failure that is no fault of a machine."""
        return self.score is not None or (self.failure is not None and not self.failure.kind.infrastructure)

    @property
    def score(self) -> Score | None:
        """What it came to, unless that was spoiled."""
        return self.result.score if self.result is not None and self.spoiled is None else None

    @property
    def failure(self) -> Failure | None:
        """Why it came to nothing."""
        return self.spoiled or (self.result.failure if self.result is not None else None)

    @property
    def number(self) -> int:
        return number_of(self.paths.folder.name)

    @property
    def ended_at(self) -> float:
        """Seconds since 1970; 0 while it is not over."""
        return self.result.ended_at if self.result is not None else 0.0

    def held_s(self, now: float) -> float:
        """Seconds it held its devices by what it wrote; up to `now`, seconds since 1970, if it still runs."""
        if self.claim is None:
            return 0.0
        return max(0.0, (now if self.result is None else self.result.ended_at) - self.claim.at)

    def waited_s(self, now: float) -> float:
        """Seconds in the queue; a job that never started and is over waited for nothing."""
        if self.job.submitted_at is None or (self.result is not None and (self.claim is None or self.void)):
            return 0.0
        return max(0.0, (self.claim.at if self.claim else now) - self.job.submitted_at)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training and scoring with one seed, or for `test` one more scoring of a checkpoint."""

    paths: TrialPaths
    tries: tuple[Try, ...]
    """At least one."""
    score: Score | None
    failure: Failure | None

    @property
    def purpose(self) -> Purpose:
        return self.tries[0].job.purpose

    @property
    def seed(self) -> int:
        return self.tries[0].job.seed

    @property
    def closed(self) -> bool:
        return self.score is not None or self.failure is not None

    @property
    def newest(self) -> Try:
        return self.tries[-1]

    @property
    def deciding(self) -> Try:
        """The try that the trial is decided by: the first that is conclusive, else the newest. It is not the newest if a job
        that was given up wrote its result after all."""
        return next((one for one in self.tries if one.conclusive), self.newest)

    @property
    def overruled(self) -> bool:
        """Whether it was closed by a fault of a machine, and a job has left a result since."""
        return self._spoiled and self.deciding.conclusive

    @property
    def overdue(self) -> bool:
        """Whether it was closed by a fault of a machine, and a job has left a result since, or may yet."""
        return self._spoiled and any(one.may_report or one.conclusive for one in self.tries)

    @property
    def _spoiled(self) -> bool:
        return self.failure is not None and self.failure.kind.infrastructure

    @property
    def in_flight(self) -> Try | None:
        """The try that waits or runs, if any."""
        return self.newest if not self.closed and self.newest.result is None else None

    @property
    def state(self) -> State:
        if self.score is not None:
            return State.SCORED
        if self.failure is not None:
            return State.FAILED
        if self.in_flight is None:
            return State.READY
        return State.QUEUED if self.in_flight.claim is None else State.RUNNING


@dataclass(frozen=True, slots=True)
class Attempt:
    """One implementation and its trials; also the baseline with its own."""

    paths: AttemptPaths
    implementation: Implementation | None
    smoke: Smoke | None
    failure: Failure | None
    trials: tuple[Trial, ...]

    def of(self, *purposes: Purpose) -> tuple[Trial, ...]:
        """The trials with these purposes, in order of their numbers."""
        return tuple(trial for trial in self.trials if trial.purpose in purposes)

    def scores(self, *purposes: Purpose) -> tuple[Score, ...]:
        """The scores of the trials with these purposes."""
        return tuple(trial.score for trial in self.of(*purposes) if trial.score is not None)

    @property
    def search(self) -> Trial | None:
        """The trial that selection goes by."""
        return next((trial for trial in self.trials if trial.purpose is Purpose.SEARCH), None)

    @property
    def trained(self) -> Trial | None:
        """The trial that decides what becomes of the candidate: that of the search, before it the newest rung."""
        return self.search or next((trial for trial in reversed(self.trials) if trial.purpose is Purpose.RUNG), None)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The unit of search."""

    id: str
    paths: CandidatePaths
    idea: Idea
    attempts: tuple[Attempt, ...]
    failure: Failure | None

    @property
    def attempt(self) -> Attempt | None:
        """The newest implementation."""
        return self.attempts[-1] if self.attempts else None

    @property
    def score(self) -> Score | None:
        """What selection goes by."""
        trial = self.attempts[-1].search if self.attempts else None
        return trial.score if trial is not None else None

    @property
    def closed(self) -> bool:
        """Whether it has come to a score or a failure."""
        return self.failure is not None or self.score is not None

    @property
    def order(self) -> int:
        """Number of its outcome among all of the run; 0 while it has none."""
        outcome = self.failure or self.score
        return outcome.order if outcome is not None else 0

    @property
    def open(self) -> bool:
        """Whether something is still to come: its outcome, or that of another trial."""
        return not self.closed or any(not trial.closed for attempt in self.attempts for trial in attempt.trials)

    @property
    def overdue(self) -> bool:
        """Whether a job that was given up may yet change what came of a trial, or has left a result that does."""
        return any(trial.overdue for attempt in self.attempts for trial in attempt.trials)

    def tries(self) -> Iterator[Try]:
        """All its jobs so far."""
        return (one for attempt in self.attempts for trial in attempt.trials for one in trial.tries)

    @property
    def state(self) -> State:
        if self.failure is not None:
            return State.FAILED
        attempt = self.attempt
        if attempt is None or attempt.smoke is None:
            return State.PROPOSED
        trial = attempt.trained
        return trial.state if trial is not None and (trial is attempt.search or not trial.closed) else State.READY


@dataclass(frozen=True, slots=True)
class Generation:
    """One pass through the stages."""

    number: int
    paths: GenerationPaths
    parents: Parents
    candidates: tuple[Candidate, ...]
    selection: Selection | None

    @property
    def complete(self) -> bool:
        """Whether all its ideas are there."""
        return len(self.candidates) >= self.parents.size

    @property
    def settled(self) -> bool:
        """Whether all of it is decided, and nothing changes any more unless the controller adds to it."""
        return self.selection is not None and self.complete and not any(one.open for one in self.candidates)


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm and its verdict."""

    paths: AlarmPaths
    alarm: Alarm
    verdict: AlarmVerdict | None
