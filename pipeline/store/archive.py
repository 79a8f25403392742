"""A run folder as data: everything that was tried, failed ones too. Reading only."""

import functools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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

    def held_s(self, now: float) -> float:
        """Seconds it held its devices by what it wrote; up to `now`, seconds since 1970, if it still runs."""
        if self.claim is None:
            return 0.0
        ended = self.result.ended_at if self.result is not None else now
        return max(0.0, ended - self.claim.at)


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
    looks: tuple[Trial, ...] = ()

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(trial.score for trial in self.trials if trial.score is not None)

    @property
    def test_scores(self) -> tuple[Score, ...]:
        tests = (trial.test for trial in self.trials if trial.test is not None)
        return tuple(test.score for test in tests if test.score is not None)

    def all_trials(self) -> Iterator[Trial]:
        """Trials, each followed by its scoring on the test split, and looks."""
        for trial in self.trials:
            yield trial
            if trial.test is not None:
                yield trial.test
        yield from self.looks


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

    def tries(self) -> Iterator[Try]:
        """All jobs that there were for it."""
        return (one for attempt in self.attempts for trial in attempt.all_trials() for one in trial.tries)

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
    settled: bool = False
    """Whether all of it is decided, and nothing changes any more unless somebody adds to it."""

    # A search looks at its archive again and again, and most of that is settled. What every look wants to know of a
    # generation is computed once: a look at ten thousand candidates shall cost what one at a hundred costs.

    @functools.cached_property
    def scored(self) -> tuple[tuple[Candidate, Score], ...]:
        """Its candidates with a score, and that."""
        return tuple((one, one.score) for one in self.candidates if one.score is not None)

    @functools.cached_property
    def values(self) -> tuple[float, float] | None:
        """The lowest and the highest value of a score, if there is any."""
        values = [score.value for _, score in self.scored]
        return (min(values), max(values)) if values else None

    @functools.cached_property
    def ended(self) -> tuple[tuple[Try, Candidate], ...]:
        """The tries that are over, last first, and whose they are."""
        found = [
            (one, candidate) for candidate in self.candidates for one in candidate.tries() if one.result is not None
        ]
        return tuple(sorted(found, key=lambda pair: -ended_at(pair[0])))

    @functools.cached_property
    def last_on(self) -> Mapping[str, tuple[Try, ...]]:
        """The last two tries that ended on each node, last first."""
        return by_node(one for one, _ in self.ended)

    @functools.cached_property
    def states(self) -> Mapping[State, int]:
        """How many candidates came how far."""
        return Counter(candidate.state for candidate in self.candidates)

    @functools.cached_property
    def trial_states(self) -> Mapping[State, int]:
        """How many trials came how far."""
        return Counter(trial.state for one in self.candidates for a in one.attempts for trial in a.all_trials())

    @functools.cached_property
    def held_s(self) -> float:
        """Seconds that the tries which are over held their devices."""
        return sum(one.held_s(0.0) for one, _ in self.ended)

    def marked(self, folder: Path, mark: Mark) -> "Generation":
        """This one with a person's mark on the candidate of a folder."""
        marked = (replace(one, mark=mark) if one.paths.folder == folder else one for one in self.candidates)
        return replace(self, candidates=tuple(marked))


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

    @functools.cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(candidate for generation in self.generations for candidate in generation.candidates)

    @functools.cached_property
    def _by_id(self) -> Mapping[str, Candidate]:
        return {candidate.id: candidate for candidate in self.candidates}

    @property
    def newest(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    def candidate(self, candidate_id: str) -> Candidate:
        """Raises KeyError for an unknown id."""
        return self._by_id[candidate_id]

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

    @functools.cached_property
    def unsettled(self) -> tuple[Candidate, ...]:
        """The candidates of generations that are not settled: all that a look has to look at."""
        return tuple(one for generation in self.generations if not generation.settled for one in generation.candidates)

    @property
    def all_closed(self) -> bool:
        """Whether every candidate has come to a score or a failure."""
        return all(candidate.closed for candidate in self.unsettled)

    def open_trials(self) -> Iterator[tuple[Attempt, Trial]]:
        """Trials without a score or failure, and whose they are."""
        for holder in self.unsettled_holders():
            yield from ((holder, trial) for trial in holder.all_trials() if not trial.closed)

    def flying(self) -> list[Try]:
        """The tries that wait or run."""
        return [one for _, trial in self.open_trials() if (one := trial.flying) is not None]

    def unsettled_holders(self) -> Iterator[Attempt]:
        """The baseline and the implementations of unsettled candidates."""
        yield self.baseline
        for candidate in self.unsettled:
            yield from candidate.attempts

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
        self._over: dict[Path, Generation] = {}
        self._alone = threading.Lock()

    def read(self) -> Archive:
        """The run as it is now. Raises `Damaged` when a file is not what it should be."""
        with self._alone:
            return Archive(
                self.paths,
                _attempt(self.paths.baseline),
                self._generations(),
                files.read_if_there(self.paths.report, Report),
                files.read_if_there(self.paths.pause, Pause),
                tuple(filter(None, map(_raised, map(AlarmPaths, files.folders(self.paths.alarms, "alarm"))))),
            )

    def forget(self, folder: Path) -> None:
        """Read the candidate around `folder` anew: something was added to it."""
        with self._alone:
            for known in (folder, *folder.parents):
                self._settled.pop(known, None)
                self._over.pop(known, None)

    def _generations(self) -> tuple[Generation, ...]:
        found = [self._generation(GenerationPaths(folder)) for folder in files.folders(self.paths.folder, "generation")]
        for path in self.paths.marks.glob("*/*.json"):
            mark = None if files.is_part(path.name) else files.read_if_there(path, Mark)
            folder = self.paths.folder / path.relative_to(self.paths.marks).with_suffix("")
            for number, generation in enumerate(found):
                if mark is not None and generation.paths.folder == folder.parent:
                    found[number] = generation.marked(folder, mark)
        return tuple(found)

    def _generation(self, paths: GenerationPaths) -> Generation:
        if paths.folder in self._over:
            return self._over[paths.folder]
        candidates = (self._candidate(CandidatePaths(folder)) for folder in files.folders(paths.folder, "candidate"))
        generation = Generation(
            number_of(paths.folder.name),
            paths,
            files.read_if_there(paths.parents, Parents) or Parents(),
            tuple(candidate for candidate in candidates if candidate is not None),
            files.read_if_there(paths.selection, Selection),
        )
        settled = all(candidate.paths.folder in self._settled for candidate in generation.candidates)
        if generation.selection is None or not settled:
            return generation
        self._over[paths.folder] = replace(generation, settled=True)
        return self._over[paths.folder]

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


def ended_at(one: Try) -> float:
    """When a try was over, seconds since 1970; 0 while it is not."""
    return one.result.ended_at if one.result is not None else 0.0


def by_node(tries: Iterable[Try]) -> dict[str, tuple[Try, ...]]:
    """The last two of some tries on each node, last first."""
    found: dict[str, tuple[Try, ...]] = {}
    for one in sorted(tries, key=lambda one: -ended_at(one)):
        host = one.result.host if one.result is not None else ""
        if host and len(found.get(host, ())) < 2:
            found[host] = (*found.get(host, ()), one)
    return found


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
        tuple(_trial(TrialPaths(folder)) for folder in files.folders(paths.folder, "look")),
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
