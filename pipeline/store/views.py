"""The contents of a run's files as frozen data: candidates, attempts, trials and tries."""

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
"""Job id in the claim of a try that the controller gave up before a job ran it."""


class State(StrEnum):
    """Progress of a candidate or a trial."""

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
    """Whether the controller declared `result`, not the job."""

    @property
    def void(self) -> bool:
        """Whether the try was given up before a job ran it, so that no job ever will."""
        return self.claim is not None and self.claim.job_id == VOID

    @property
    def may_report(self) -> bool:
        """Whether the job was given up but may still write a result."""
        return self.declared and not self.void

    @property
    def conclusive(self) -> bool:
        """Whether the try has a score, or a failure that is not an infrastructure fault."""
        return self.score is not None or (self.failure is not None and not self.failure.kind.infrastructure)

    @property
    def score(self) -> Score | None:
        """Its score, if it has one and was not spoiled."""
        return self.result.score if self.result is not None and self.spoiled is None else None

    @property
    def failure(self) -> Failure | None:
        """The reason why it has no score, if known."""
        return self.spoiled or (self.result.failure if self.result is not None else None)

    @property
    def number(self) -> int:
        return number_of(self.paths.folder.name)

    @property
    def ended_at(self) -> float:
        """Seconds since 1970; 0 if it has not ended."""
        return self.result.ended_at if self.result is not None else 0.0

    def held_s(self, now: float) -> float:
        """Seconds for which the try held its devices, by its own records; until `now`, in seconds since 1970, if it
        still runs."""
        if self.claim is None:
            return 0.0
        return max(0.0, (now if self.result is None else self.result.ended_at) - self.claim.at)

    def waited_s(self, now: float) -> float:
        """Seconds in the queue; 0 if the job was never submitted, or ended without having started."""
        if self.job.submitted_at is None or (self.result is not None and (self.claim is None or self.void)):
            return 0.0
        return max(0.0, (self.claim.at if self.claim else now) - self.job.submitted_at)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training and scoring with one seed, or, for purpose `test`, another scoring of a checkpoint."""

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
        """The try that decides the trial: the first conclusive one, else the newest. An older one can decide if its job
        was given up but wrote its result after all."""
        return next((one for one in self.tries if one.conclusive), self.newest)

    @property
    def overruled(self) -> bool:
        """Whether an infrastructure fault closed the trial and one of its jobs has written a conclusive result
        since."""
        return self._spoiled and self.deciding.conclusive

    @property
    def overdue(self) -> bool:
        """Whether an infrastructure fault closed the trial and one of its jobs has written a conclusive result since,
        or still may."""
        return self._spoiled and any(one.may_report or one.conclusive for one in self.tries)

    @property
    def _spoiled(self) -> bool:
        return self.failure is not None and self.failure.kind.infrastructure

    @property
    def in_flight(self) -> Try | None:
        """The try that is queued or running, if any."""
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
    """One implementation and its trials; also the baseline and its trials."""

    paths: AttemptPaths
    implementation: Implementation | None
    smoke: Smoke | None
    failure: Failure | None
    trials: tuple[Trial, ...]

    def of(self, *purposes: Purpose) -> tuple[Trial, ...]:
        """The trials with these purposes, sorted by number."""
        return tuple(trial for trial in self.trials if trial.purpose in purposes)

    def scores(self, *purposes: Purpose) -> tuple[Score, ...]:
        """The scores of the trials with these purposes."""
        return tuple(trial.score for trial in self.of(*purposes) if trial.score is not None)

    @property
    def search(self) -> Trial | None:
        """The trial that selection uses."""
        return next((trial for trial in self.trials if trial.purpose is Purpose.SEARCH), None)

    @property
    def trained(self) -> Trial | None:
        """The trial that decides the candidate: the search trial, or the newest rung if there is no search trial
        yet."""
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
        """The score that selection uses."""
        trial = self.attempts[-1].search if self.attempts else None
        return trial.score if trial is not None else None

    @property
    def closed(self) -> bool:
        """Whether the candidate has a score or a failure."""
        return self.failure is not None or self.score is not None

    @property
    def order(self) -> int:
        """Number of its outcome among all outcomes of the run; 0 while it has none."""
        outcome = self.failure or self.score
        return outcome.order if outcome is not None else 0

    @property
    def open(self) -> bool:
        """Whether its outcome, or that of another of its trials, is pending."""
        return not self.closed or any(not trial.closed for attempt in self.attempts for trial in attempt.trials)

    @property
    def overdue(self) -> bool:
        """Whether a job that was given up may still change the outcome of a trial, or has written a result that
        does."""
        return any(trial.overdue for attempt in self.attempts for trial in attempt.trials)

    def tries(self) -> Iterator[Try]:
        """All its tries so far."""
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
        """Whether the generation has all its ideas."""
        return len(self.candidates) >= self.parents.size

    @property
    def settled(self) -> bool:
        """Whether everything in the generation is decided, so that only an addition by the controller can change it."""
        return self.selection is not None and self.complete and not any(one.open for one in self.candidates)


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm and its verdict, if any."""

    paths: AlarmPaths
    alarm: Alarm
    verdict: AlarmVerdict | None
