"""A run folder as data: everything that was tried, failed ones too. Reading only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pipeline.records import (
    Alarm,
    Claim,
    Failure,
    Idea,
    Implementation,
    Job,
    Mark,
    Parents,
    Pause,
    Report,
    Result,
    Score,
    Selection,
    Smoke,
    Verdict,
)
from pipeline.store import files
from pipeline.store.paths import (
    AlarmPaths,
    AttemptPaths,
    CandidatePaths,
    GenerationPaths,
    RunPaths,
    TrialPaths,
    TryPaths,
    number_of,
)


class State(StrEnum):
    """How far a candidate, or a trial, came."""

    PROPOSED = "proposed"
    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    SCORED = "scored"
    FAILED = "failed"


@dataclass(frozen=True)
class Try:
    """One job of a trial."""

    paths: TryPaths
    job: Job
    claim: Claim | None
    result: Result | None
    spoiled: Failure | None = None

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


@dataclass(frozen=True)
class Trial:
    """One training and scoring with one seed."""

    paths: TrialPaths
    tries: tuple[Try, ...]
    score: Score | None
    failure: Failure | None
    test: "Trial | None"

    @property
    def closed(self) -> bool:
        return self.score is not None or self.failure is not None

    @property
    def newest(self) -> Try | None:
        return self.tries[-1] if self.tries else None

    @property
    def flying(self) -> Try | None:
        """The try that waits or runs, if any."""
        newest = self.newest
        return newest if not self.closed and newest is not None and newest.result is None else None

    @property
    def state(self) -> State:
        if self.score is not None:
            return State.SCORED
        if self.failure is not None:
            return State.FAILED
        flying = self.flying
        if flying is None:
            return State.READY
        return State.QUEUED if flying.claim is None else State.RUNNING


@dataclass(frozen=True)
class Attempt:
    """One implementation and its trials; also the baseline with its own."""

    paths: AttemptPaths
    implementation: Implementation | None
    smoke: Smoke | None
    failure: Failure | None
    trials: tuple[Trial, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(trial.score for trial in self.trials if trial.score is not None)

    @property
    def test_scores(self) -> tuple[Score, ...]:
        tests = (trial.test for trial in self.trials if trial.test is not None)
        return tuple(test.score for test in tests if test.score is not None)

    def all_trials(self) -> Iterator[Trial]:
        """Trials, each followed by its scoring on the test split."""
        for trial in self.trials:
            yield trial
            if trial.test is not None:
                yield trial.test


@dataclass(frozen=True)
class Candidate:
    """The unit of search."""

    id: str
    paths: CandidatePaths
    idea: Idea
    attempts: tuple[Attempt, ...]
    failure: Failure | None
    mark: Mark | None = None

    @property
    def pinned(self) -> bool:
        """Whether a person wants it built upon."""
        return self.mark is not None and self.mark.pinned

    @property
    def banned(self) -> bool:
        """Whether a person wants it never built upon."""
        return self.mark is not None and not self.mark.pinned

    @property
    def attempt(self) -> Attempt | None:
        """The newest implementation."""
        return self.attempts[-1] if self.attempts else None

    @property
    def score(self) -> Score | None:
        """Of the first trial: what selection goes by."""
        attempt = self.attempt
        return attempt.trials[0].score if attempt is not None and attempt.trials else None

    @property
    def closed(self) -> bool:
        """Whether it has come to a score or a failure."""
        return self.failure is not None or self.score is not None

    @property
    def state(self) -> State:
        if self.failure is not None:
            return State.FAILED
        attempt = self.attempt
        if attempt is None or attempt.smoke is None:
            return State.PROPOSED
        return attempt.trials[0].state if attempt.trials else State.READY


@dataclass(frozen=True)
class Generation:
    """One pass through the stages."""

    number: int
    paths: GenerationPaths
    parents: Parents
    candidates: tuple[Candidate, ...]
    selection: Selection | None


@dataclass(frozen=True)
class Raised:
    """An alarm and what came of it."""

    paths: AlarmPaths
    alarm: Alarm
    verdict: Verdict | None


@dataclass(frozen=True)
class Archive:
    """All of a run."""

    paths: RunPaths
    baseline: Attempt
    generations: tuple[Generation, ...]
    report: Report | None
    pause: Pause | None
    alarms: tuple[Raised, ...] = ()

    @property
    def alarm(self) -> Raised | None:
        """The alarm that waits for its verdict, if any."""
        return next((raised for raised in self.alarms if raised.verdict is None), None)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(candidate for generation in self.generations for candidate in generation.candidates)

    @property
    def newest(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    def candidate(self, candidate_id: str) -> Candidate:
        """Raises KeyError for an unknown id."""
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        raise KeyError(candidate_id)

    def shared_score(self, candidate: Candidate) -> Score | None:
        """The score of a candidate; of one whose code was tried before, that of its twin."""
        twin = self.twin(candidate)
        if twin is None:
            return candidate.score
        return twin.trials[0].score if twin.trials else None

    def twin(self, candidate: Candidate) -> Attempt | None:
        """The earlier attempt with the same code, for which a candidate was not trained."""
        name = candidate.failure.twin if candidate.failure is not None else None
        found = (one for one in self.holders() if name and one.paths.folder == self.paths.folder / name)
        return next(found, None)

    def flying(self) -> list[Try]:
        """The tries that wait or run."""
        trials = (trial for holder in self.holders() for trial in holder.all_trials())
        return [one for trial in trials if (one := trial.flying) is not None]

    def holders(self) -> Iterator[Attempt]:
        """The baseline and every implementation: whatever has trials."""
        yield self.baseline
        for candidate in self.candidates:
            yield from candidate.attempts


class Reader:
    """Reads a run folder again and again, and what can no longer change only once."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        self._settled: dict[Path, Candidate] = {}
        self._decided: dict[Path, Selection] = {}

    def read(self) -> Archive:
        """The run as it is now. Raises `Damaged` when a file is not what it should be."""
        return Archive(
            self.paths,
            _attempt(self.paths.baseline),
            tuple(
                self._generation(GenerationPaths(folder)) for folder in files.folders(self.paths.folder, "generation")
            ),
            files.read_if_there(self.paths.report, Report),
            files.read_if_there(self.paths.pause, Pause),
            tuple(filter(None, map(_raised, map(AlarmPaths, files.folders(self.paths.alarms, "alarm"))))),
        )

    def forget(self, folder: Path) -> None:
        """Read the candidate around `folder` anew: something is added to it."""
        for known in (folder, *folder.parents):
            self._settled.pop(known, None)

    def _generation(self, paths: GenerationPaths) -> Generation:
        selection = self._decided.get(paths.folder) or files.read_if_there(paths.selection, Selection)
        if selection is not None:
            self._decided[paths.folder] = selection
        candidates = (self._marked(CandidatePaths(folder)) for folder in files.folders(paths.folder, "candidate"))
        return Generation(
            number_of(paths.folder.name),
            paths,
            files.read_if_there(paths.parents, Parents) or Parents(),
            tuple(candidate for candidate in candidates if candidate is not None),
            selection,
        )

    def _marked(self, paths: CandidatePaths) -> Candidate | None:
        """A candidate with its mark, which can change at any time."""
        candidate = self._candidate(paths)
        mark = files.read_if_there(paths.mark, Mark)
        return replace(candidate, mark=mark) if candidate is not None and mark is not None else candidate

    def _candidate(self, paths: CandidatePaths) -> Candidate | None:
        if paths.folder in self._settled:
            return self._settled[paths.folder]
        idea = files.read_if_there(paths.idea, Idea)
        if idea is None:
            return None  # killed between the folder and the idea; ideate makes it again
        candidate = Candidate(
            paths.folder.relative_to(self.paths.folder).as_posix(),
            paths,
            idea,
            tuple(_attempt(AttemptPaths(folder)) for folder in files.folders(paths.folder, "attempt")),
            files.read_if_there(paths.failure, Failure),
        )
        open_trials = any(not trial.closed for attempt in candidate.attempts for trial in attempt.all_trials())
        if candidate.closed and not open_trials:
            self._settled[paths.folder] = candidate
        return candidate


def read_proposals(paths: RunPaths) -> dict[str, Idea]:
    """What people brought in, by name, in order of names; that which a generation has taken up too."""
    found = sorted(path for path in paths.proposals.glob("*.json") if not files.is_part(path.name))
    return {path.stem: files.read(path, Idea) for path in found}


def read_archive(folder: Path) -> Archive:
    """A whole run folder, read once."""
    return Reader(RunPaths(folder)).read()


def _raised(paths: AlarmPaths) -> Raised | None:
    alarm = files.read_if_there(paths.alarm, Alarm)
    return Raised(paths, alarm, files.read_if_there(paths.verdict, Verdict)) if alarm is not None else None


def _attempt(paths: AttemptPaths) -> Attempt:
    return Attempt(
        paths,
        files.read_if_there(paths.implementation, Implementation),
        files.read_if_there(paths.smoke, Smoke),
        files.read_if_there(paths.failure, Failure),
        tuple(_trial(TrialPaths(folder)) for folder in files.folders(paths.folder, "trial")),
    )


def _trial(paths: TrialPaths) -> Trial:
    tries = (_try(TryPaths(folder)) for folder in files.folders(paths.folder, "try"))
    return Trial(
        paths,
        tuple(one for one in tries if one is not None),
        files.read_if_there(paths.score, Score),
        files.read_if_there(paths.failure, Failure),
        _trial(paths.test) if paths.folder.name != "test" and paths.test.folder.is_dir() else None,
    )


def _try(paths: TryPaths) -> Try | None:
    job = files.read_if_there(paths.job, Job)
    if job is None:
        return None  # killed between the folder and job.json; train makes it again
    return Try(
        paths,
        job,
        files.read_if_there(paths.claim, Claim),
        files.read_if_there(paths.result, Result),
        files.read_if_there(paths.spoiled, Failure),
    )
