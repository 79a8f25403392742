"""A cluster with simulated time: jobs of given lengths end when their time has come, and leave the result that a job
would leave. Everything else is the real controller on real files."""

import heapq
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cluster.base import JobStatus, Phase, Request
from pipeline.llm.base import Unanswered
from pipeline.makers.base import Brief, Crash, Implemented
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Claim, Ended, Idea, Job, Result, Score
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.views import Candidate


@dataclass
class Clock:
    """Seconds that only the benchmark advances."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SimulatedCluster:
    """Slots, and a queue of jobs of log-normal length."""

    clock: Clock
    count: int
    length: Callable[[random.Random], float]
    seed: int = 0
    here = False
    at_work: bool = False
    """Whether the current work is done by a job."""
    spans: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of every job."""
    trained: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of the jobs that train."""
    _running: list[tuple[float, str, Path, float]] = field(default_factory=list)
    _lengths: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._lengths = random.Random(self.seed)

    pack = 1

    def slots(self) -> int:
        return self.count

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        for request in requests:
            end = self.clock.now + self.length(self._lengths)
            self.at_work = True
            files.create(TryPaths(request.folder).claim, Claim(request.name, "", 1, self.clock.now))
            self.at_work = False
            heapq.heappush(self._running, (end, request.name, request.folder, self.clock.now))
        return {request.name: request.name for request in requests}

    def settle(self) -> None:
        """Write the results of the jobs that have ended by now."""
        self.at_work = True
        self._settle()
        self.at_work = False

    def _settle(self) -> None:
        while self._running and self._running[0][0] <= self.clock.now:
            end, _, folder, start = heapq.heappop(self._running)
            paths = TryPaths(folder)
            job = files.read(paths.job, Job)
            value = self._lengths.random() + 0.5
            score = Score("squared error", value, 0.01, 100, job.split, job.seed, folder.name, purpose=job.purpose)
            paths.checkpoint.mkdir(parents=True, exist_ok=True)
            files.create(paths.result, Result(Ended.SCORED, score, started_at=start, ended_at=end))
            self.spans.append((start, end))
            if job.of is None:
                self.trained.append((start, end))

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        return {job_id: JobStatus(Phase.RUNNING) for job_id in job_ids}

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        return {name: name for name in names}

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        return {}

    def cancel(self, job_ids: Sequence[str]) -> None:
        pass


class Numbered:
    """Ideas and variants that differ by a number and cost no processor time. `idea_s` is how long a generation's ideas
    take, in simulated time."""

    needs_model = False
    reads_text = True
    slow = False

    def __init__(self, clock: Clock | None = None, idea_s: float = 0.0) -> None:
        self._clock = clock or Clock()
        self._idea_s = idea_s
        self._asked: dict[int, float] = {}

    def propose(self, brief: Brief) -> Idea:
        asked_at = self._asked.setdefault(brief.generation.number, self._clock.now)
        if self._clock.now < asked_at + self._idea_s:
            raise Unanswered
        number = 1000 * brief.generation.number + brief.number
        return Idea(f"number {number}", f"Put {number} into a comment.", "explore")

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        pass

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        number = zlib.crc32(idea.title.encode())
        text = baseline["settings.py"].data.decode() + f"\nNUMBER = {number}\n"
        return Implemented({**baseline, "settings.py": Entry(text.encode())}, "benchmark")

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        raise NotImplementedError


def greedy_makespan(lengths: Sequence[float], slots: int) -> float:
    """List scheduling: each job in turn is assigned to the slot that is free first."""
    free = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)
