"""What the stages share: the search they move forward, and the two protocols with several makers."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.cluster.base import Cluster
from pipeline.config import Config
from pipeline.llm.base import Model, Trouble
from pipeline.metric import Metric
from pipeline.patching import Refusal, Rules
from pipeline.patching.trees import Tree
from pipeline.records import Failure, Idea, Usage
from pipeline.store.archive import Archive, Candidate
from pipeline.store.run import Run


@dataclass(frozen=True)
class Brief:
    """What an ideator is asked for."""

    archive: Archive
    """Everything tried so far, failures too."""
    parents: tuple[Candidate, ...]
    """Who may be built upon, best first; empty means only the baseline."""
    generation: int
    """Number of the generation."""
    number: int
    """Number of the candidate in it."""
    exploit: bool
    """Whether to build on a parent; else the idea stands on the baseline."""
    alike: range
    """Numbers of the candidates of this generation that are asked for in the same way."""


class Ideator(Protocol):
    """Proposes ideas. The same brief and seed give the same idea. Raises `Unanswered` while there is nobody to ask."""

    slow: bool
    """Whether an idea takes so long that a tick must not wait for it."""

    def propose(self, brief: Brief) -> Idea: ...


@dataclass(frozen=True)
class Implemented:
    """An idea as code."""

    tree: Tree
    """The whole variant."""
    maker: str
    """Who wrote it."""
    tries: int = 1
    """How many texts were asked for."""
    usage: Usage | None = None
    """What they took; none where no language model was asked."""


@dataclass(frozen=True)
class Crash:
    """An implementation that does not run."""

    code: Tree
    """The whole variant."""
    failure: Failure
    """How it ended."""
    log: str
    """The last lines that it printed."""


class Implementer(Protocol):
    """Turns an idea into code. Raises `Unanswered` while there is nobody to ask."""

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """On top of the parents' code; of the baseline's where there are none."""

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """On top of the code that crashed."""


class Background:
    """Work that a tick starts and a later tick finds done in the files. One at a time for each key."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="background")
        self._running: dict[str, Future[None]] = {}
        self.done = threading.Event()
        """Set whenever a piece of work is over."""
        self.stopping = threading.Event()
        """Set when nothing more is wanted: work that waits for others gives up."""
        self.alone = threading.Lock()
        """For what two pieces of work must not do at the same time."""

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


@dataclass(frozen=True)
class Plan:
    """What decisions depend on besides the archive."""

    config: Config
    """Fixed and live settings in force."""
    metric: Metric
    """What is searched for."""
    clock: Callable[[], float]
    """Seconds since 1970."""


@dataclass(frozen=True)
class Search(Plan):
    """One run being moved forward: what every stage gets."""

    run: Run
    cluster: Cluster
    ideator: Ideator
    implementer: Implementer
    rules: Rules
    """Which files a patch may touch."""
    background: Background
    data: Path
    """Prepared data."""
    model: Model | None = None
    """The language model, where one is asked."""

    @property
    def trouble(self) -> Trouble | None:
        """Why the language model is not asked for now, if so."""
        return self.model.trouble if self.model is not None else None

    def archive(self) -> Archive:
        """The run as its files are now."""
        return self.run.reader.read()
