"""The argument of every stage besides the archive: the run and its parts (cluster, makers, sandbox, model)."""

import functools
import math
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cluster.base import Cluster
from pipeline.llm.base import Model, Trouble
from pipeline.llm.purse import Purse
from pipeline.makers.base import Ideator, Implementer
from pipeline.methods.base import Terms
from pipeline.patching import Rules
from pipeline.records import Failure, Holdup, Pause, PolicyWork, Purpose, Waiting
from pipeline.sandbox.base import Sandbox
from pipeline.stages.notify import Notifier
from pipeline.store import files
from pipeline.store.run import Run
from pipeline.store.views import Attempt, Candidate, Trial

SUBMITTING, POLLING, ASKING = "submitting jobs", "asking about jobs", "asking the language model"
PACKING = "filling a job"
"""Activities that can be held up."""
_IDEA_WORKERS = 8
"""Generations whose ideas are written in parallel; with `search.mode=steady` several are open at the same time."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 120.0
_SETTLE_S = 60.0
_PATIENCE_S = 20.0
"""Seconds for which work that waits for an unavailable language model still counts as under way."""
_TOLD_S = 600.0
"""A cause that recurs within this time is not logged again."""


class Background:
    """Work that one tick starts and a later tick finds completed in the files; one piece at a time for each key."""

    def __init__(self, workers: int) -> None:
        """`workers` codes are written in parallel; ideas have separate workers, so that neither waits for the other."""
        self._codes = ThreadPoolExecutor(workers, thread_name_prefix="code")
        self._ideas = ThreadPoolExecutor(_IDEA_WORKERS, thread_name_prefix="ideas")
        self._running: dict[str, Future[None]] = {}
        self.done = threading.Event()
        """Set whenever a piece of work ends."""
        self.stopping = threading.Event()
        """Set when the program ends: work that is waiting gives up."""
        self.alone = threading.Lock()
        """Held for what two pieces of work must not do at the same time."""
        self.codes: dict[str, tuple[str, str]] = {}
        """Candidate and attempt by syntax hash, of code written since the archive was read. Guarded by `alone`."""

    def start(self, key: str, work: Callable[[], None], ideas: bool = False) -> None:
        """Start writing code, or `ideas`, unless already running. Raises the exception of the previous work of this key."""
        future = self._running.get(key)
        if future is not None and future.done():
            del self._running[key]
            future.result()
            future = None
        if future is None:
            self._running[key] = (self._ideas if ideas else self._codes).submit(work)
            self._running[key].add_done_callback(lambda _: self.done.set())

    def check(self) -> None:
        """Raise the exception of finished work, if any."""
        for key, future in list(self._running.items()):
            if future.done():
                del self._running[key]
                future.result()

    @property
    def busy(self) -> bool:
        return any(not future.done() for future in self._running.values())

    def close(self) -> None:
        """Start no more work and wait for running work."""
        self.stopping.set()
        for pool in (self._ideas, self._codes):
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Bookmark:
    """Progress of this process through work that is done once per outcome. Lost when the process ends."""

    learned: int = 0
    """Number of the last outcome that the ideator learned from."""
    closed_trials: int | None = None
    """Number of closed trials when disk was last freed; none at the start."""
    watched: set[str] = field(default_factory=set)
    """Ids of candidates that have been open or elites since then: only these can have folders to remove."""
    intact_at: float = -math.inf
    """When the hashes of the run's code were last compared, in seconds since 1970."""


class Holdups:
    """What the run waits for. Each cause is logged as one event when it begins and one when it is over, and is in
    waiting.json in between. A failed activity is retried after growing pauses."""

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self._began = clock()
        waiting = files.read_if_there(run.paths.waiting, Waiting)
        self._open = {one.what: one for one in (waiting.holdups if waiting is not None else ())}
        self._pauses: dict[str, float] = {}
        self._told: dict[str, tuple[str, float]] = {}
        """Last cause of each activity, and when it ended."""
        self._quiet: set[str] = set()
        """Activities whose current cause was not logged, because it recurred soon."""

    @property
    def open(self) -> tuple[Holdup, ...]:
        """The current holdups, oldest first."""
        return tuple(self._open.values())

    def lasts(self, what: str, seconds: float) -> bool:
        """Whether an activity has been held up for at least `seconds` since this process began."""
        holdup = self._open.get(what)
        return holdup is not None and self._clock() - max(holdup.since, self._began) >= seconds

    def waits(self, what: str) -> bool:
        """Whether it is held up."""
        return what in self._open

    def due(self, what: str) -> bool:
        """Whether to try an activity now: it is not held up, the pause is over, or this process has not tried it yet."""
        holdup = self._open.get(what)
        if holdup is None or what not in self._pauses:
            return True
        return holdup.next_at is not None and self._clock() >= holdup.next_at

    def failed(self, what: str, reason: str) -> None:
        """Record that an activity failed; it is retried after a pause."""
        pause_s = min(2 * self._pauses.get(what, _FIRST_PAUSE_S / 2), _LONGEST_PAUSE_S)
        self._pauses[what] = pause_s
        self.wait(what, reason, self._clock() + pause_s)

    def wait(self, what: str, reason: str, next_at: float | None) -> None:
        """Record that an activity is held up until `next_at`, seconds since 1970; with none, until a person acts."""
        now, old = self._clock(), self._open.get(what)
        if old is not None and _cause(old.reason) == _cause(reason):
            new = Holdup(what, old.reason, old.since, next_at)
        else:
            new = Holdup(what, reason, now, next_at)
            cause, at = self._told.get(what, ("", 0.0))
            if cause == _cause(reason) and now - at <= _TOLD_S:
                self._quiet.add(what)
            else:
                self._quiet.discard(what)
                self._run.event("waiting", detail=f"{what}: {reason}")
        if new != old:
            self._open[what] = new
            self._write()

    def over(self, what: str) -> None:
        """Record that an activity succeeded or is no longer needed."""
        old = self._open.pop(what, None)
        self._pauses.pop(what, None)
        if old is not None:
            self._write()
            now = self._clock()
            self._told[what] = (_cause(old.reason), now)
            if what not in self._quiet:
                self._run.event("waiting is over", detail=f"{what}, after {now - old.since:.0f} s")

    def fade(self, what: str) -> None:
        """Record that an activity did not fail just now. The holdup ends only once the time of the next try has passed."""
        old = self._open.get(what)
        # A holdup of an earlier process is not over just because this process has not met it yet.
        settled_at = self._began + _SETTLE_S
        if old is not None and self._clock() >= max(old.next_at or 0.0, settled_at):
            self.over(what)

    def _write(self) -> None:
        if self._open:
            files.replace(self._run.paths.waiting, Waiting(self.open))
        else:
            self._run.paths.waiting.unlink(missing_ok=True)


def _cause(reason: str) -> str:
    """A reason without its variable parts, numbers and ids."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", reason)


@dataclass(frozen=True)
class Context(Terms):
    """A run in progress with its parts."""

    run: Run
    """The run folder, locked by this process."""
    cluster: Cluster
    ideator: Ideator
    implementer: Implementer
    sandbox: Sandbox
    """Sandbox for smoke tests; a job makes its own."""
    rules: Rules
    """Which files a patch may touch."""
    background: Background
    data: Path
    """Folder of the prepared data."""
    model: Model | None = None
    """The language model, if one is needed."""
    purse: Purse = field(default_factory=lambda: Purse(0.0, 0.0))
    """The dollars spent on it."""
    policy_clusters: Mapping[PolicyWork, Cluster] = field(default_factory=dict)
    """Clusters for the jobs of a learning policy; each kind of job has its own resources."""
    bookmark: Bookmark = field(default_factory=Bookmark)

    @functools.cached_property
    def holdups(self) -> Holdups:
        """What the run waits for."""
        return Holdups(self.run, self.clock)

    @functools.cached_property
    def notifier(self) -> Notifier:
        """Sends notices with `notify.command`."""
        return Notifier(self.run, self.clock, self.config.notify.command)

    def pause(self, where: Path, reason: str) -> None:
        """Pause the run until a person resumes it. `reason` says what to do first."""
        full = f"{reason}, then: python -m pipeline resume {self.run.paths.folder}"
        if files.create(self.run.paths.pause, Pause("groundwork", full, self.clock())):
            self.run.event("paused", where, full)

    def note_model(self) -> None:
        """Update the holdup of the language model."""
        trouble = (self.model.trouble or self.model.delay) if self.model is not None else None
        if trouble is not None:
            self.holdups.wait(ASKING, trouble.reason, trouble.until)
        elif self.background.busy:
            self.holdups.fade(ASKING)  # retried, no answer yet
        else:
            self.holdups.over(ASKING)

    @property
    def at_work(self) -> bool:
        """Whether this process has work in progress that does not wait for the language model, or has written files since
        the archive was read, which the next tick continues."""
        return self.run.reader.changed or (self.background.busy and not self.holdups.lasts(ASKING, _PATIENCE_S))

    @property
    def trouble(self) -> Trouble | None:
        """Why the language model cannot be used now; none if it can."""
        return self.model.trouble if self.model is not None else None


def take_back(
    run: Run,
    candidate: Candidate,
    attempt: Attempt,
    trial: Trial,
    excused: Callable[[Failure], bool] = lambda failure: True,
) -> None:
    """Reopen a failed trial, and its attempt and candidate if they failed because of it and their failure is `excused`.
    Idempotent; may be interrupted anywhere."""
    # The attempt first: while the candidate's failure exists, no stage reads the candidate.
    for decided in (attempt, candidate) if trial.purpose in (Purpose.SEARCH, Purpose.RUNG) else ():
        if decided.failure is not None and excused(decided.failure):
            run.take_back(decided.paths.failure, decided.paths.old_failure)
    run.take_back(trial.paths.failure, trial.paths.old_failure)
