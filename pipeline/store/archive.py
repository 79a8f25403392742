"""The state of a whole run as one value, with an index for lookups by key.

A search reads its archive at every tick, and most of it never changes. The reader updates the index only for candidates
that changed, so that the time for the lookups of a tick does not grow with the archive.
"""

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.records import Mark, Pause, Purpose, Report, Score, StepMeasures
from pipeline.store.paths import AttemptPaths, RunPaths, TryPaths
from pipeline.store.views import Attempt, Candidate, Generation, RaisedAlarm, State, Trial, Try

_RECENT = 1000
"""At least this many of the tries that ended last are kept."""


@dataclass
class Spent:
    """Totals over ended tries, by the clocks of their jobs."""

    tries: int = 0
    """Number of ended tries."""
    held_s: float = 0.0
    """Seconds for which they held their devices."""
    waited_s: float = 0.0
    """Seconds for which they waited in the queue."""
    wasted_s: Counter[str] = field(default_factory=Counter)
    """Part of `held_s` without useful training: by kind of failure, and as `start_up` and `evaluate`."""

    def add(self, one: Try, sign: int = 1) -> None:
        """Add a try to the totals; with sign -1 subtract it."""
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
    """Reference to an ended try."""

    at: float
    """When it ended, seconds since 1970."""
    candidate: str
    """Id of its candidate."""
    paths: TryPaths = field(compare=False)


class Index:
    """Lookup tables over all candidates, updated one candidate at a time. Lookups are safe from other threads."""

    def __init__(self) -> None:
        self.candidates: dict[str, Candidate] = {}
        """By id."""
        self.open: dict[str, Candidate] = {}
        """Candidates with a pending outcome or trial, by id."""
        self.unclosed = 0
        """Number of candidates without an outcome."""
        self.by_code: dict[str, list[tuple[str, AttemptPaths]]] = {}
        """Syntax hash to the attempts with that code, each with the id of its candidate."""
        self.by_checkpoint: dict[str, str] = {}
        """Hash of a scored checkpoint to the first candidate that produced it."""
        self.by_order: dict[int, str] = {}
        """Number of an outcome to the id of its candidate."""
        self.outcomes = 0
        """Largest outcome number so far."""
        self.ranking: list[tuple[float, str]] = []
        """Value and id of every scored candidate, lowest value first."""
        self.children: Counter[str] = Counter()
        """Number of candidates that build on each candidate."""
        self.rungs: dict[float, list[float]] = {}
        """Budget of a rung to the values scored with it, lowest first."""
        self.states: Counter[State] = Counter()
        """Number of candidates in each state."""
        self.trial_states: Counter[State] = Counter()
        """Number of their trials in each state."""
        self.sandboxes: Counter[str] = Counter()
        """Number of scored candidates trained in each kind of sandbox."""
        self.failures: Counter[str] = Counter()
        """Number of failed candidates, by `stage/kind`."""
        self.spent = Spent()
        """Totals over ended tries."""
        self.recent: list[EndedTry] = []
        """The tries that ended last, oldest first."""
        self.last_on: dict[str, list[EndedTry]] = {}
        """The last two tries that ended on each node, newest first."""

    def put(self, candidate: Candidate) -> None:
        """Add a candidate, or update a known one."""
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
    """A whole run, as read from its files. Stages and decisions get it as an argument."""

    paths: RunPaths
    baseline: Attempt
    generations: tuple[Generation, ...]
    index: Index
    decided: int = 0
    """Number of generations with a selection."""
    complete: int = 0
    """Generations with a lower number have all their ideas."""
    report: Report | None = None
    pause: Pause | None = None
    alarms: tuple[RaisedAlarm, ...] = ()
    measures: StepMeasures | None = None
    """With `ideate=policy`: the measures of the newest measured step."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """Candidates that a user pinned or banned, by id."""
    waiting: tuple[str, ...] = ()
    """Names of proposals that no generation includes yet."""
    overruled: tuple[str, ...] = ()
    """Ids of candidates with a trial closed by an infrastructure fault, one of whose jobs has written a result
    since."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, in order. Takes time that grows with the archive, so no tick may use it."""
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
        """The first alarm without a verdict, if any."""
        return next((raised for raised in self.alarms if raised.verdict is None), None)

    def candidate(self, candidate_id: str) -> Candidate:
        """The candidate with this id. Raises KeyError for an unknown id."""
        return self.index.candidates[candidate_id]

    def is_pinned(self, candidate_id: str) -> bool:
        """Whether a user pinned the candidate: it is always a parent and an elite."""
        mark = self.marks.get(candidate_id)
        return mark is not None and mark.pinned

    def is_banned(self, candidate_id: str) -> bool:
        """Whether a user banned the candidate: it is never a parent or an elite."""
        mark = self.marks.get(candidate_id)
        return mark is not None and not mark.pinned

    @property
    def banned(self) -> dict[str, str]:
        """Ids of banned candidates to the reasons."""
        return {name: mark.reason for name, mark in self.marks.items() if not mark.pinned}

    def ranked(self, highest_first: bool) -> Iterator[Candidate]:
        """Scored candidates in order of their search trial's value; ties in order of ids."""
        ranking = self.index.ranking
        if not highest_first:
            yield from (self.candidate(name) for _, name in ranking)
            return
        end = len(ranking)
        while end:  # blocks of equal values, so that ties are broken the same way in both directions
            start = bisect.bisect_left(ranking, (ranking[end - 1][0], ""))
            yield from (self.candidate(name) for _, name in ranking[start:end])
            end = start

    def outcome(self, order: int) -> Candidate | None:
        """The candidate whose outcome has this number; none if that outcome was a failure that was withdrawn."""
        name = self.index.by_order.get(order)
        return self.index.candidates[name] if name is not None else None

    def same_code(self, syntax: str) -> Iterator[tuple[Candidate, Attempt]]:
        """Attempts with this syntax hash, each with its candidate."""
        for name, paths in self.index.by_code.get(syntax, ()):
            candidate = self.candidate(name)
            yield from ((candidate, attempt) for attempt in candidate.attempts if attempt.paths == paths)

    def same_checkpoint(self, checkpoint: str) -> str | None:
        """Holder of an earlier scored checkpoint with the same content: `baseline`, or the id of the first such
        candidate; none if there is no such checkpoint."""
        if not checkpoint:
            return None  # scored by an earlier version
        if any(score.checkpoint == checkpoint for trial in self.baseline.trials if (score := trial.score) is not None):
            return "baseline"
        return self.index.by_checkpoint.get(checkpoint)

    def twin(self, candidate: Candidate) -> Attempt | None:
        """The earlier attempt with the same code, if a candidate is a duplicate and was therefore not trained."""
        if candidate.failure is None or candidate.failure.twin is None:
            return None
        name, _, attempt = candidate.failure.twin.rpartition("/")
        holder = self.index.candidates.get(name)
        return next((one for one in holder.attempts if one.paths.folder.name == attempt), None) if holder else None

    def shared_score(self, candidate: Candidate) -> Score | None:
        """The score of a candidate; for a duplicate, its twin's score."""
        twin = self.twin(candidate)
        if twin is None:
            return candidate.score
        return twin.search.score if twin.search is not None else None

    @property
    def open(self) -> tuple[Candidate, ...]:
        """Candidates with a pending outcome or trial, in the order in which they were opened."""
        return tuple(self.index.open.values())

    @property
    def open_generations(self) -> tuple[Generation, ...]:
        """Generations without a selection, oldest first. They are among the newest."""
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
        """Whether every candidate has a score or a failure."""
        return self.index.unclosed == 0

    def open_holders(self) -> Iterator[Attempt]:
        """The baseline and the implementations of open candidates."""
        yield self.baseline
        for candidate in self.open:
            yield from candidate.attempts

    def open_trials(self) -> Iterator[tuple[Attempt, Trial]]:
        """Trials without a score or failure, each with its holder."""
        for holder in self.open_holders():
            yield from ((holder, trial) for trial in holder.trials if not trial.closed)

    def in_flight(self) -> list[Try]:
        """The tries that are queued or running."""
        return [one for _, trial in self.open_trials() if (one := trial.in_flight) is not None]

    def holders(self) -> Iterator[Attempt]:
        """Everything that has trials: the baseline and every attempt."""
        yield self.baseline
        for candidate in self.candidates:
            yield from candidate.attempts

    def ended(self, newest_first: list[EndedTry]) -> Iterator[tuple[Try, Candidate]]:
        """The tries that entries of the index refer to, each with its candidate, in the given order."""
        for ended in newest_first:
            candidate = self.candidate(ended.candidate)
            yield from ((one, candidate) for one in candidate.tries() if one.paths == ended.paths)


def run_relative(archive: Archive, folder: Path) -> str:
    """A folder's path relative to the run folder, as records store it."""
    return folder.relative_to(archive.paths.folder).as_posix()
