"""Reads a run folder repeatedly. Files that can no longer change are read once.

Apart from jobs and users, only the controller adds to a run, and it reports each addition to its reader (`touch`). That
reader polls the tries in flight for files that their jobs wrote, lists the few folders that users write to, and rereads
nothing else. Any other reader rereads everything that is not settled.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.records import (
    FORMAT,
    Alarm,
    AlarmVerdict,
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
    StepMeasures,
)
from pipeline.store import files
from pipeline.store.archive import Archive, Index
from pipeline.store.paths import (
    AlarmPaths,
    AttemptPaths,
    CandidatePaths,
    GenerationPaths,
    PolicyPaths,
    RunPaths,
    TrialPaths,
    TryPaths,
    number_of,
)
from pipeline.store.views import Attempt, Candidate, Generation, RaisedAlarm, Trial, Try

_LATE_AT_ONCE = 20
"""Number of candidates with a job that was given up that are checked in one reading."""


def read_archive(folder: Path) -> Archive:
    """The archive of a run folder, read once."""
    return Reader(RunPaths(folder)).read()


class Reader:
    """A reader of one run folder. Raises `Damaged` if a file is invalid."""

    def __init__(self, paths: RunPaths, controller: bool = False) -> None:
        """`controller`: whether this process alone adds to the run, and reports it with `touch`."""
        self.paths = paths
        self._controller = controller
        self._index = Index()
        self._generations: dict[int, Generation] = {}
        self._settled: set[int] = set()
        self._decided = 0
        self._complete = 0
        self._taken: set[str] = set()
        self._baseline: Attempt | None = None
        self._report: Report | None = None
        self._alarms: tuple[RaisedAlarm, ...] = ()
        self._measures: StepMeasures | None = None
        self._touched: dict[Path, bool] = {}
        self._asked = False
        self._pause: Pause | None = None
        self._marks: dict[str, Mark] = {}
        self._proposals: list[str] = []
        self._overdue: dict[str, None] = {}
        self._given_orders = 0
        self._lock = threading.Lock()

    @property
    def changed(self) -> bool:
        """Whether something was added since the last reading."""
        return bool(self._touched)

    def read(self) -> Archive:
        """The current state of the run."""
        with self._lock:
            touched, self._touched = self._touched, {}
            # Files of jobs and users are skipped in a reading that directly follows an addition by the controller, but
            # never twice in a row.
            self._asked = not (touched and self._asked and self._controller)
            if self._controller and self._baseline is not None:
                self._read_touched(touched)
            else:
                self._read_all(touched)
            if self._asked:
                self._ask_people()
            assert self._baseline is not None
            return Archive(
                self.paths,
                self._baseline,
                tuple(self._generations.values()),
                self._index,
                self._decided,
                self._complete,
                self._report,
                self._pause,
                self._alarms,
                self._measures,
                self._marks,
                tuple(name for name in self._proposals if name not in self._taken),
                tuple(name for name in self._overdue if self._overruled(name)),
            )

    def _overruled(self, name: str) -> bool:
        attempts = self._index.candidates[name].attempts
        return any(trial.overruled for attempt in attempts for trial in attempt.trials)

    def touch(self, folder: Path, taken_back: bool = False) -> None:
        """Note that something was added to a folder of the run, or `taken_back` from it."""
        with self._lock:
            self._touched[folder] = taken_back or self._touched.get(folder, False)

    def reopen(self, folder: Path) -> None:
        """Delete the summary of the generation around a folder, because something is about to be added to the
        folder."""
        inside = folder.relative_to(self.paths.folder).parts
        if inside and inside[0].startswith("generation_"):
            number = number_of(inside[0])
            with self._lock:
                if number in self._settled:
                    self._settled.discard(number)
                    self.paths.generation(number).summary.unlink(missing_ok=True)

    def next_order(self) -> int:
        """A new outcome number. The archive counts it only once the outcome is read, because a decision must not claim
        to have seen more than its archive holds."""
        with self._lock:
            self._given_orders = max(self._given_orders, self._index.outcomes) + 1
            return self._given_orders

    # ---- everything

    def _read_all(self, touched: Iterable[Path]) -> None:
        known = {part for folder in touched for part in (folder, *folder.parents)}
        for folder in files.folders(self.paths.folder, "generation"):
            number = number_of(folder.name)
            if number not in self._settled or folder in known:
                self._read_generation(GenerationPaths(folder))
        self._baseline = read_attempt(self.paths.baseline)
        self._report = files.read_if_there(self.paths.report, Report)
        self._alarms = self._read_alarms()
        self._measures = self._read_measures()

    def _read_generation(self, paths: GenerationPaths) -> None:
        candidates = None if number_of(paths.folder.name) in self._settled else read_summary(paths)
        if candidates is None:
            folders = map(CandidatePaths, files.folders(paths.folder, "candidate"))
            candidates = tuple(one for one in map(read_candidate, folders) if one is not None)
        for candidate in candidates:
            if self._index.candidates.get(candidate.id) != candidate:
                self._put(candidate)
        self._put_generation(paths, candidates)

    def _put(self, candidate: Candidate) -> None:
        self._index.put(candidate)
        self._overdue.pop(candidate.id, None)
        if candidate.overdue:
            self._overdue[candidate.id] = None

    def _put_generation(self, paths: GenerationPaths, candidates: tuple[Candidate, ...], reread: bool = True) -> None:
        """`reread`: whether the generation's own two files may have changed."""
        number = number_of(paths.folder.name)
        before = self._generations.get(number)
        if before is not None and (before.selection is not None or not reread):
            generation = replace(before, candidates=candidates)
        else:
            parents = files.read_if_there(paths.parents, Parents)
            if parents is None and not candidates:
                return  # killed between the folder and parents.json; ideate opens it again
            parents = parents or Parents()
            selection = files.read_if_there(paths.selection, Selection)
            generation = Generation(number, paths, parents, candidates, selection)
            self._decided += selection is not None
            self._taken.update(parents.proposals)
        self._generations[number] = generation
        while (first := self._generations.get(self._complete)) is not None and first.complete:
            self._complete += 1
        if number not in self._settled and generation.settled:
            self._settled.add(number)
            if self._controller and not paths.summary.exists():
                write_summary(generation)

    def _read_alarms(self) -> tuple[RaisedAlarm, ...]:
        return tuple(filter(None, map(_raised, map(AlarmPaths, files.folders(self.paths.alarms, "alarm")))))

    def _read_measures(self) -> StepMeasures | None:
        steps = map(PolicyPaths, reversed(files.folders(self.paths.policy, "step")))
        found = (files.read_if_there(step.measures, StepMeasures) for step in steps)
        return next((one for one in found if one is not None), None)

    def _ask_people(self) -> None:
        self._pause = files.read_if_there(self.paths.pause, Pause)
        self._marks = dict(read_marks(self.paths))
        self._proposals = proposal_names(self.paths)

    # ---- what changed

    def _read_touched(self, touched: Mapping[Path, bool]) -> None:
        own_files: set[int] = set()
        changed: dict[str, list[Path]] = {}
        again: set[str] = set()
        for folder, taken_back in touched.items():
            inside = folder.relative_to(self.paths.folder).parts
            head = inside[0] if inside else ""
            if head.startswith("generation_") and len(inside) > 1:
                changed.setdefault(f"{head}/{inside[1]}", []).append(folder)
                again |= {f"{head}/{inside[1]}"} if taken_back else set()
            elif head.startswith("generation_"):
                own_files.add(number_of(head))
            elif head == self.paths.baseline.folder.name:
                self._baseline = read_attempt(self.paths.baseline)
            elif head == self.paths.alarms.name:
                self._alarms = self._read_alarms()
            elif head == self.paths.policy.name:
                self._measures = self._read_measures()
            else:
                self._report = files.read_if_there(self.paths.report, Report)
        assert self._baseline is not None
        if self._asked:
            self._baseline = refreshed(self._baseline)
        read = (self._read_candidate(name, places, name in again) for name, places in changed.items())
        found = [candidate for candidate in read if candidate is not None]
        for candidate in (*found, *(self._refreshed(changed) if self._asked else ())):
            self._put(candidate)
            changed.setdefault(candidate.id, [])
        by_generation: dict[int, list[Candidate]] = {number: [] for number in own_files}
        for name in changed:
            if name in self._index.candidates:
                number = number_of(name.partition("/")[0])
                by_generation.setdefault(number, []).append(self._index.candidates[name])
        for number, candidates in sorted(by_generation.items()):
            before = self._generations.get(number)
            all_of_it = {one.id: one for one in (*(before.candidates if before else ()), *candidates)}
            ordered = sorted(all_of_it.values(), key=lambda one: number_of(one.id))
            self._put_generation(self.paths.generation(number), tuple(ordered), number in own_files or before is None)

    def _read_candidate(self, name: str, places: Iterable[Path], again: bool) -> Candidate | None:
        known = self._index.candidates.get(name)
        if known is None or again:
            return read_candidate(self.paths.candidate(name))
        for place in places:
            known = with_added(known, place.relative_to(known.paths.folder).parts)
        attempts = tuple(map(refreshed, known.attempts))
        return replace(known, attempts=attempts)

    def _refreshed(self, without: Container[str]) -> list[Candidate]:
        """Candidates whose jobs wrote something: open ones and, a few at a time, those with a job that was given up."""
        late = [name for name in itertools.islice(self._overdue, _LATE_AT_ONCE) if name not in self._index.open]
        for name in late:  # the others come first next time
            self._overdue.pop(name)
            self._overdue[name] = None
        found = []
        for candidate in (*self._index.open.values(), *(self._index.candidates[name] for name in late)):
            if candidate.id not in without:
                attempts = tuple(map(refreshed, candidate.attempts))
                if any(new is not old for new, old in zip(attempts, candidate.attempts, strict=True)):
                    found.append(replace(candidate, attempts=attempts))
        return found


# ---- single records


def read_candidate(paths: CandidatePaths) -> Candidate | None:
    """One candidate; none if the controller was killed between creating its folder and its idea. Ideate then makes it
    again."""
    idea = files.read_if_there(paths.idea, Idea)
    if idea is None:
        return None
    return Candidate(
        "/".join(paths.folder.parts[-2:]),
        paths,
        idea,
        tuple(read_attempt(AttemptPaths(folder)) for folder in files.folders(paths.folder, "attempt")),
        files.read_if_there(paths.failure, Failure),
    )


def with_added(candidate: Candidate, place: Sequence[str]) -> Candidate:
    """A candidate updated with additions to one of its folders. Records are created once, so known ones are not read
    again; only a job changes, when the cluster has given it an id."""
    if not place:
        failure = candidate.failure or files.read_if_there(candidate.paths.failure, Failure)
        return replace(candidate, failure=failure)
    known = {one.paths.folder.name: one for one in candidate.attempts}
    paths = AttemptPaths(candidate.paths.folder / place[0])
    attempt = _with_trial(known.get(place[0]) or Attempt(paths, None, None, None, ()), place[1:])
    if len(place) == 1:
        attempt = replace(
            attempt,
            implementation=attempt.implementation or files.read_if_there(paths.implementation, Implementation),
            smoke=attempt.smoke or files.read_if_there(paths.smoke, Smoke),
            failure=attempt.failure or files.read_if_there(paths.failure, Failure),
        )
    known[place[0]] = attempt
    return replace(candidate, attempts=tuple(sorted(known.values(), key=lambda one: number_of(one.paths.folder.name))))


def _with_trial(attempt: Attempt, place: Sequence[str]) -> Attempt:
    if not place:
        return attempt
    known = {one.paths.folder.name: one for one in attempt.trials}
    paths, trial = TrialPaths(attempt.paths.folder / place[0]), known.get(place[0])
    tries = {one.paths.folder.name: one for one in trial.tries} if trial is not None else {}
    score, failure = (trial.score, trial.failure) if trial is not None else (None, None)
    if len(place) == 1:
        score = score or files.read_if_there(paths.score, Score)
        failure = failure or files.read_if_there(paths.failure, Failure)
    else:
        one = _with_job(paths.named(place[1]), tries.pop(place[1], None))
        if one is not None:
            tries[place[1]] = one
    known.pop(place[0], None)
    if tries:
        ordered = tuple(sorted(tries.values(), key=lambda one: one.number))
        known[place[0]] = Trial(paths, ordered, score, failure)
    return replace(attempt, trials=tuple(sorted(known.values(), key=lambda one: number_of(one.paths.folder.name))))


def _with_job(paths: TryPaths, known: Try | None) -> Try | None:
    """A try whose folder was touched; none if it was removed. The files of its job are read while it is in flight."""
    if known is None or known.job.job_id is None:  # job.json is written before the submission, and again with the id
        job = files.read_if_there(paths.job, Job)
        if job is None:
            return None
        if known is None:
            return Try(paths, job, None, None)
        known = replace(known, job=job)
    if known.result is None or known.declared:
        known = replace(known, claim=known.claim or files.read_if_there(paths.claim, Claim))
        known = _with_result(known) or known
    return replace(known, spoiled=files.read_if_there(paths.spoiled, Failure))


def _with_result(known: Try) -> Try | None:
    """A try with its current result; none if it has no result. The job's own result counts, unless the controller had
    declared an end and the job reports only an infrastructure fault."""
    own = files.read_if_there(known.paths.result, Result)
    if own is not None and replace(known, result=own, spoiled=None).conclusive:
        return replace(known, result=own, declared=False)
    ended = files.read_if_there(known.paths.ended, Result)
    if ended is None:
        return replace(known, result=own, declared=False) if own is not None else None
    return replace(known, result=ended, declared=own is None)


def read_attempt(paths: AttemptPaths) -> Attempt:
    """One implementation with its trials, or the baseline with its trials."""
    trials = (read_trial(TrialPaths(folder)) for folder in files.folders(paths.folder, "trial"))
    return Attempt(
        paths,
        files.read_if_there(paths.implementation, Implementation),
        files.read_if_there(paths.smoke, Smoke),
        files.read_if_there(paths.failure, Failure),
        tuple(trial for trial in trials if trial is not None),
    )


def read_trial(paths: TrialPaths) -> Trial | None:
    """One trial; none if the controller was killed before writing its first job. Train then makes it again."""
    tries = tuple(filter(None, (_try(TryPaths(folder)) for folder in files.folders(paths.folder, "try"))))
    if not tries:
        return None
    return Trial(paths, tries, files.read_if_there(paths.score, Score), files.read_if_there(paths.failure, Failure))


def refreshed(attempt: Attempt) -> Attempt:
    """The attempt updated with files that its jobs in flight, and those given up, have written since; the same object
    if they wrote nothing."""
    trials = tuple(map(_refreshed_trial, attempt.trials))
    if all(new is old for new, old in zip(trials, attempt.trials, strict=True)):
        return attempt
    return replace(attempt, trials=trials)


def _refreshed_trial(trial: Trial) -> Trial:
    tries = tuple(
        _refreshed_try(one) if one is trial.in_flight or (one.may_report and not trial.closed) or trial.overdue else one
        for one in trial.tries
    )
    changed = any(new is not old for new, old in zip(tries, trial.tries, strict=True))
    return replace(trial, tries=tries) if changed else trial


def _refreshed_try(one: Try) -> Try:
    if one.result is not None and not one.may_report:
        return one
    claim = one.claim or files.read_if_there(one.paths.claim, Claim)
    if claim is not None and one.paths.result.exists():
        return _with_result(replace(one, claim=claim)) or one
    return replace(one, claim=claim) if claim is not one.claim else one


def proposal_names(paths: RunPaths) -> list[str]:
    """Names of all proposals, sorted, including those that a generation includes already."""
    try:
        found = os.listdir(paths.proposals)
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json") and not files.is_part(name))


def read_marks(paths: RunPaths) -> Iterator[tuple[str, Mark]]:
    """Ids of the candidates that users pinned or banned, with the marks."""
    with contextlib.suppress(FileNotFoundError):
        for generation in os.listdir(paths.marks):
            for name in os.listdir(paths.marks / generation):
                path = paths.marks / generation / name
                mark = None if files.is_part(name) else files.read_if_there(path, Mark)
                if mark is not None:
                    yield f"{generation}/{path.stem}", mark


def read_proposal(paths: RunPaths, name: str) -> Idea:
    """The idea of one proposal."""
    return files.read(paths.proposal(name), Idea)


def _raised(paths: AlarmPaths) -> RaisedAlarm | None:
    alarm = files.read_if_there(paths.alarm, Alarm)
    return RaisedAlarm(paths, alarm, files.read_if_there(paths.verdict, AlarmVerdict)) if alarm is not None else None


def _try(paths: TryPaths) -> Try | None:
    job = files.read_if_there(paths.job, Job)
    if job is None:
        return None  # killed between the folder and job.json; train makes it again
    claim = files.read_if_there(paths.claim, Claim)
    one = Try(paths, job, claim, None, files.read_if_there(paths.spoiled, Failure))
    return _with_result(one) or one


# ---- the summary of a settled generation


@dataclass(frozen=True, slots=True)
class TryRow:
    """One job."""

    name: str
    job: Job
    claim: Claim | None
    result: Result | None
    spoiled: Failure | None
    declared: bool = False


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial."""

    name: str
    tries: tuple[TryRow, ...]
    score: Score | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One implementation."""

    name: str
    implementation: Implementation | None
    smoke: Smoke | None
    failure: Failure | None
    trials: tuple[TrialRow, ...]


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate."""

    name: str
    idea: Idea
    attempts: tuple[AttemptRow, ...]
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All records of a settled generation (summary.json). It is derived from the generation's files and deleted before
    anything is added to them. It may be removed at any time; remove it after editing the files by hand."""

    format: int
    """Number of the run folder's format."""
    candidates: tuple[CandidateRow, ...]
    """In order of their numbers."""


def write_summary(generation: Generation) -> None:
    """Write all records of a settled generation into one file, which is faster to read."""
    rows = tuple(
        CandidateRow(
            one.paths.folder.name,
            one.idea,
            tuple(_attempt_row(attempt) for attempt in one.attempts),
            one.failure,
        )
        for one in generation.candidates
    )
    files.replace(generation.paths.summary, Summary(FORMAT, rows), indent=False)


def _attempt_row(attempt: Attempt) -> AttemptRow:
    trials = tuple(
        TrialRow(
            trial.paths.folder.name,
            tuple(
                TryRow(one.paths.folder.name, one.job, one.claim, one.result, one.spoiled, one.declared)
                for one in trial.tries
            ),
            trial.score,
            trial.failure,
        )
        for trial in attempt.trials
    )
    return AttemptRow(attempt.paths.folder.name, attempt.implementation, attempt.smoke, attempt.failure, trials)


def read_summary(paths: GenerationPaths) -> tuple[Candidate, ...] | None:
    """The candidates of a generation from its summary; none if there is no usable summary."""
    try:
        summary = files.read_if_there(paths.summary, Summary)
    except Damaged:
        return None  # derived: the files themselves are read instead
    if summary is None or summary.format != FORMAT:
        return None
    return tuple(_candidate(paths, row) for row in summary.candidates)


def _candidate(paths: GenerationPaths, row: CandidateRow) -> Candidate:
    folder = paths.folder / row.name
    attempts = tuple(
        Attempt(
            AttemptPaths(folder / one.name),
            one.implementation,
            one.smoke,
            one.failure,
            tuple(_trial(folder / one.name, trial) for trial in one.trials),
        )
        for one in row.attempts
    )
    return Candidate(f"{paths.folder.name}/{row.name}", CandidatePaths(folder), row.idea, attempts, row.failure)


def _trial(attempt: Path, row: TrialRow) -> Trial:
    folder = attempt / row.name
    tries = tuple(
        Try(TryPaths(folder / one.name), one.job, one.claim, one.result, one.spoiled, one.declared) for one in row.tries
    )
    return Trial(TrialPaths(folder), tries, row.score, row.failure)
