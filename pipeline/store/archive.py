"""All of a run as one value, with an index that answers by key.

A search reads its archive again and again, and most of that never changes. So whatever a tick asks is answered in a time
that does not grow with the archive: the reader updates the index by each candidate that changed.
"""

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.records import Mark, Pause, Purpose, Report, Score
from pipeline.store.paths import AttemptPaths, RunPaths, TryPaths
from pipeline.store.views import Attempt, Candidate, Generation, RaisedAlarm, State, Trial, Try

_RECENT = 1000
"""How many of the tries that ended last are kept in order."""


@dataclass
class Spent:
    """What tries that are over took, by their own clocks."""

    tries: int = 0
    """How many are over."""
    held_s: float = 0.0
    """Seconds they held their devices."""
    waited_s: float = 0.0
    """Seconds they waited in the queue."""
    wasted_s: Counter[str] = field(default_factory=Counter)
    """Part of `held_s` that trained nothing: by kind of failure, `start_up` and `evaluate`."""

    def add(self, one: Try, sign: int = 1) -> None:
        """Count a try; with sign -1 count it no longer."""
        held_s = one.held_s(0.0)
        self.tries += sign
        self.held_s += sign * held_s
        self.waited_s += sign * one.waited_s(0.0)
        if one.failure is not None:
            self.wasted_s[one.failure.kind.value] += sign * held_s  # type: ignore[assignment]
        elif one.result is not None:
            self.wasted_s["start_up"] += sign * one.result.seconds.start_up  # type: ignore[assignment]
            self.wasted_s["evaluate"] += sign * one.result.seconds.evaluate  # type: ignore[assignment]


@dataclass(frozen=True, order=True)
class EndedTry:
    """Where to find a try that is over."""

    at: float
    """Seconds since 1970."""
    candidate: str
    """Id of the candidate."""
    paths: TryPaths = field(compare=False)


class Index:
    """Facts about all candidates by key, kept up to date one candidate at a time. Lookups are safe from other threads."""

    def __init__(self) -> None:
        self.candidates: dict[str, Candidate] = {}
        """By id."""
        self.open: dict[str, Candidate] = {}
        """Those with something still to come."""
        self.unclosed = 0
        """How many have no outcome."""
        self.by_code: dict[str, list[tuple[str, AttemptPaths]]] = {}
        """Syntax hash to the attempts with that code, and their candidates' ids."""
        self.by_checkpoint: dict[str, str] = {}
        """Hash of a scored checkpoint to the first candidate that had it."""
        self.by_order: dict[int, str] = {}
        """Number of an outcome to the candidate."""
        self.outcomes = 0
        """Largest number of an outcome."""
        self.ranking: list[tuple[float, str]] = []
        """Value and id of every scored candidate, lowest value first."""
        self.children: Counter[str] = Counter()
        """How many candidates build on each."""
        self.rungs: dict[float, list[float]] = {}
        """Budget of a rung to the values that candidates scored with it, lowest first."""
        self.states: Counter[State] = Counter()
        """How many candidates came how far."""
        self.trial_states: Counter[State] = Counter()
        """How many of their trials came how far."""
        self.sandboxes: Counter[str] = Counter()
        """How many scored candidates were trained in each kind of sandbox."""
        self.failures: Counter[str] = Counter()
        """How many candidates failed, by `stage/kind`."""
        self.spent = Spent()
        """What the tries that are over took."""
        self.recent: list[EndedTry] = []
        """The tries that ended last, oldest first."""
        self.last_on: dict[str, list[EndedTry]] = {}
        """The last two tries that ended on each node, newest first."""

    def put(self, candidate: Candidate) -> None:
        """Take in a new candidate, or a change of a known one."""
        old = self.candidates.get(candidate.id)
        if old is not None:
            self._count(old, -1)
        else:
            self.children.update(candidate.idea.parents)
        self.candidates[candidate.id] = candidate
        self._count(candidate, 1)
        if candidate.open:
            self.open[candidate.id] = candidate
        else:
            self.open.pop(candidate.id, None)
        known = {one.paths for one in old.tries() if one.result is not None} if old is not None else set()
        for one in candidate.tries():
            if one.result is not None and one.paths not in known:
                self._ended(EndedTry(one.ended_at, candidate.id, one.paths), one.result.host)

    def _count(self, candidate: Candidate, sign: int) -> None:
        self.unclosed += sign * (not candidate.closed)
        self.states[candidate.state] += sign
        if candidate.failure is not None:
            self.failures[f"{candidate.failure.stage}/{candidate.failure.kind}"] += sign
        if candidate.score is not None:
            place = (candidate.score.value, candidate.id)
            self.sandboxes[candidate.score.sandbox] += sign
            if sign > 0:
                bisect.insort(self.ranking, place)
                self.by_checkpoint.setdefault(candidate.score.checkpoint, candidate.id)
            else:
                del self.ranking[bisect.bisect_left(self.ranking, place)]
        if candidate.order:
            self.outcomes = max(self.outcomes, candidate.order)
            if sign > 0:
                self.by_order[candidate.order] = candidate.id
            else:
                self.by_order.pop(candidate.order, None)
        for attempt in candidate.attempts:
            if attempt.implementation is not None:
                same = self.by_code.setdefault(attempt.implementation.syntax, [])
                if sign > 0 and (candidate.id, attempt.paths) not in same:
                    same.append((candidate.id, attempt.paths))
            for trial in attempt.trials:
                self.trial_states[trial.state] += sign
                if trial.purpose is Purpose.RUNG and trial.score is not None:
                    self._count_rung(trial, trial.score, sign)
                for one in trial.tries:
                    if one.result is not None:
                        self.spent.add(one, sign)

    def _count_rung(self, trial: Trial, score: Score, sign: int) -> None:
        values = self.rungs.setdefault(trial.newest.job.budget or 0.0, [])
        if sign > 0:
            bisect.insort(values, score.value)
        else:
            del values[bisect.bisect_left(values, score.value)]

    def _ended(self, ended: EndedTry, host: str) -> None:
        bisect.insort(self.recent, ended)
        if len(self.recent) > 2 * _RECENT:
            del self.recent[:_RECENT]
        if host:
            self.last_on[host] = sorted([*self.last_on.get(host, []), ended], reverse=True)[:2]


@dataclass(frozen=True)
class Archive:
    """All of a run, as it was read. It is what stages and decisions get as an argument."""

    paths: RunPaths
    baseline: Attempt
    generations: tuple[Generation, ...]
    index: Index
    decided: int = 0
    """How many generations have a selection."""
    complete: int = 0
    """Generations with a lower number have all their ideas."""
    report: Report | None = None
    pause: Pause | None = None
    alarms: tuple[RaisedAlarm, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """What people decided about candidates, by id."""
    waiting: tuple[str, ...] = ()
    """Names of proposals that no generation includes yet."""
    overruled: tuple[str, ...] = ()
    """Ids of candidates with a trial that was closed by a fault of a machine, of which a job has left a result since."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All of them, in order. Takes time that grows with the archive: nothing that a tick calls may ask for it."""
        return tuple(candidate for generation in self.generations for candidate in generation.candidates)

    @property
    def count(self) -> int:
        """Number of candidates."""
        return len(self.index.candidates)

    @property
    def newest(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    @property
    def alarm(self) -> RaisedAlarm | None:
        """The alarm that waits for its verdict, if any."""
        return next((raised for raised in self.alarms if raised.verdict is None), None)

    def candidate(self, candidate_id: str) -> Candidate:
        """Raises KeyError for an unknown id."""
        return self.index.candidates[candidate_id]

    def is_pinned(self, candidate_id: str) -> bool:
        """Whether a person decided that it is a parent and an elite."""
        mark = self.marks.get(candidate_id)
        return mark is not None and mark.pinned

    def is_banned(self, candidate_id: str) -> bool:
        """Whether a person decided that it is never a parent or an elite."""
        mark = self.marks.get(candidate_id)
        return mark is not None and not mark.pinned

    @property
    def banned(self) -> dict[str, str]:
        """Banned candidates with the reason."""
        return {name: mark.reason for name, mark in self.marks.items() if not mark.pinned}

    def ranked(self, highest_first: bool) -> Iterator[Candidate]:
        """Scored candidates by the value that selection goes by; equal values in order of their ids."""
        ranking = self.index.ranking
        if not highest_first:
            yield from (self.candidate(name) for _, name in ranking)
            return
        end = len(ranking)
        while end:  # blocks of equal values, so that ties are broken alike in both directions
            start = bisect.bisect_left(ranking, (ranking[end - 1][0], ""))
            yield from (self.candidate(name) for _, name in ranking[start:end])
            end = start

    def outcome(self, order: int) -> Candidate | None:
        """The candidate whose outcome has this number; none where a failure was taken back."""
        name = self.index.by_order.get(order)
        return self.index.candidates[name] if name is not None else None

    def same_code(self, syntax: str) -> Iterator[tuple[Candidate, Attempt]]:
        """Attempts with this syntax hash, and whose they are."""
        for name, paths in self.index.by_code.get(syntax, ()):
            candidate = self.candidate(name)
            yield from ((candidate, attempt) for attempt in candidate.attempts if attempt.paths == paths)

    def same_checkpoint(self, checkpoint: str) -> str | None:
        """Whose scored checkpoint had the same content: the baseline's, or the first candidate's."""
        if not checkpoint:
            return None  # scored by an earlier version
        if any(score.checkpoint == checkpoint for trial in self.baseline.trials if (score := trial.score) is not None):
            return "baseline"
        return self.index.by_checkpoint.get(checkpoint)

    def twin(self, candidate: Candidate) -> Attempt | None:
        """The earlier attempt with the same code, for which a candidate was not trained."""
        if candidate.failure is None or candidate.failure.twin is None:
            return None
        name, _, attempt = candidate.failure.twin.rpartition("/")
        holder = self.index.candidates.get(name)
        return next((one for one in holder.attempts if one.paths.folder.name == attempt), None) if holder else None

    def shared_score(self, candidate: Candidate) -> Score | None:
        """The score of a candidate; of one whose code was tried before, that of its twin."""
        twin = self.twin(candidate)
        if twin is None:
            return candidate.score
        return twin.search.score if twin.search is not None else None

    @property
    def open(self) -> tuple[Candidate, ...]:
        """Candidates with something still to come, in the order in which they were opened."""
        return tuple(self.index.open.values())

    @property
    def open_generations(self) -> tuple[Generation, ...]:
        """Generations without a selection. They are among the newest."""
        found: list[Generation] = []
        missing = len(self.generations) - self.decided
        for generation in reversed(self.generations):
            if len(found) == missing:
                break
            if generation.selection is None:
                found.append(generation)
        return tuple(reversed(found))

    @property
    def all_closed(self) -> bool:
        """Whether every candidate has come to a score or a failure."""
        return self.index.unclosed == 0

    def open_holders(self) -> Iterator[Attempt]:
        """The baseline and the implementations of open candidates."""
        yield self.baseline
        for candidate in self.open:
            yield from candidate.attempts

    def open_trials(self) -> Iterator[tuple[Attempt, Trial]]:
        """Trials without a score or failure, and whose they are."""
        for holder in self.open_holders():
            yield from ((holder, trial) for trial in holder.trials if not trial.closed)

    def in_flight(self) -> list[Try]:
        """The tries that wait or run."""
        return [one for _, trial in self.open_trials() if (one := trial.in_flight) is not None]

    def holders(self) -> Iterator[Attempt]:
        """The baseline and every implementation: whatever has trials."""
        yield self.baseline
        for candidate in self.candidates:
            yield from candidate.attempts

    def ended(self, newest_first: list[EndedTry]) -> Iterator[tuple[Try, Candidate]]:
        """The tries that entries of the index point to."""
        for ended in newest_first:
            candidate = self.candidate(ended.candidate)
            yield from ((one, candidate) for one in candidate.tries() if one.paths == ended.paths)


def run_relative(archive: Archive, folder: Path) -> str:
    """A folder of the run as records name it."""
    return folder.relative_to(archive.paths.folder).as_posix()
