"""What every stage gets beside the archive: the run that is moved forward, and the parts that move it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cluster.base import Cluster
from pipeline.llm.base import Model, Trouble
from pipeline.makers.base import Ideator, Implementer
from pipeline.methods.base import Terms
from pipeline.patching import Rules
from pipeline.sandbox.base import Sandbox
from pipeline.store.run import Run


class Background:
    """Work that a tick starts and a later tick finds done in the files. One at a time for each key."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="background")
        self._running: dict[str, Future[None]] = {}
        self.done = threading.Event()
        """Set whenever a piece of work is over."""
        self.stopping = threading.Event()
        """Set when the program ends: work that waits for others gives up."""
        self.alone = threading.Lock()
        """For what two pieces of work must not do at the same time."""
        self.codes: dict[str, tuple[str, str]] = {}
        """Syntax hash to the candidate and the attempt that wrote it, since the archive was read. Guarded by `alone`."""

    def start(self, key: str, work: Callable[[], None]) -> None:
        """Start work unless it is under way. Raises what an earlier call with this key raised."""
        future = self._running.get(key)
        if future is not None and future.done():
            del self._running[key]
            future.result()
            future = None
        if future is None:
            self._running[key] = self._pool.submit(work)
            self._running[key].add_done_callback(lambda _: self.done.set())

    def check(self) -> None:
        """Raise what finished work raised."""
        for key, future in list(self._running.items()):
            if future.done():
                del self._running[key]
                future.result()

    @property
    def busy(self) -> bool:
        return any(not future.done() for future in self._running.values())

    def close(self) -> None:
        """Start nothing more and wait for what runs."""
        self.stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Bookmark:
    """How far this process came with what it does once for each outcome. Forgotten when it ends."""

    learned: int = 0
    """Number of the last outcome that the ideator learned from."""
    closed_trials: int | None = None
    """How many trials were closed when disk was last freed; none at the start."""
    watched: set[str] = field(default_factory=set)
    """Ids of candidates that were open, or elites, since then: only these can have something to remove."""


@dataclass(frozen=True)
class Context(Terms):
    """One run being moved forward."""

    run: Run
    """Its folder, locked by this process."""
    cluster: Cluster
    ideator: Ideator
    implementer: Implementer
    sandbox: Sandbox
    """For smoke tests; a job makes its own."""
    rules: Rules
    """Which files a patch may touch."""
    background: Background
    data: Path
    """Prepared data."""
    model: Model | None = None
    """The language model, where one is needed."""
    bookmark: Bookmark = field(default_factory=Bookmark)

    @property
    def trouble(self) -> Trouble | None:
        """Why the language model cannot be asked now, if so."""
        return self.model.trouble if self.model is not None else None
