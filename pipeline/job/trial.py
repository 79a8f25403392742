"""The work of a job: train the variant, then score its checkpoint with the pristine evaluator.

Runs from the run folder's own copy of this program. A job writes only to the folder of its try; the controller reads
`result.json` there and decides.
"""

import contextlib
import functools
import importlib.metadata
import os
import platform
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from pipeline.cluster.jobs import Node
from pipeline.config import Clock, Network
from pipeline.errors import BadInput, SandboxFailed
from pipeline.job.early_stop import early_stop
from pipeline.job.integrity import check_integrity
from pipeline.job.machine import MemoryWatch, gpus_here
from pipeline.job.nodes import Meeting, Peers
from pipeline.job.outputs import copy_regular, sweep
from pipeline.job.score import score_checkpoint
from pipeline.job.start import start
from pipeline.records import Ended, Failure, FailureKind, Job, Memory, Purpose, Result, Score, Seconds, Stage
from pipeline.sandbox.base import Access, Command, End, RunLimits, Sandbox, make_sandbox
from pipeline.sandbox.command_lines import scratch_folder, train_command, variant_environment
from pipeline.sandbox.diagnose import believed, failure_of, with_log
from pipeline.store import files
from pipeline.store.paths import TrialPaths, TryPaths
from pipeline.store.run import Run, open_run

DATA_VARIABLE = "GROUNDWORK_DATA"
"""Environment variable that passes the folder of prepared data to a job, since run folders contain no absolute paths."""
ALONE = Node(socket.gethostname(), 0, "127.0.0.1")
"""This machine, outside any cluster."""
_OVERRUN = 1.02
_TEMPORARY_GB = 10.0
"""GB for temporary files and copies of caches, in addition to `train.disk_gb`."""
_VERSIONS = ("torch", "transformers", "deepspeed", "vllm")


class JobTerminated(BaseException):
    """The job was told to end. Derives from BaseException, so that no `except Exception` swallows it."""


def run_try(folder: str) -> None:
    """Run the try in this folder, unless another job has claimed it."""
    started = start(folder, _on_signal)
    if started is None:
        return
    paths, node = started.paths, started.node
    run, job, data = open_run(started.run), files.read(paths.job, Job), Path(os.environ[DATA_VARIABLE])
    if node.number:
        if job.of is not None:
            return  # nothing to train: node 0 alone scores the checkpoint
        with contextlib.suppress(JobTerminated):  # node 0 reports for all
            _Try(run, paths, job, data, time.time(), node).train()
    else:
        files.create(paths.result, perform(run, paths, job, data, node))


def perform(run: Run, paths: TryPaths, job: Job, data: Path, node: Node = ALONE) -> Result:
    """Run the job in the folder of its try, which exists. Also works outside a cluster."""
    started = time.time()
    try:
        outcome, measured = _Try(run, paths, job, data, started, node).outcome()
    except BadInput as error:  # a part that the controller can import but this job cannot
        outcome, measured = Failure(Stage.TRAIN, FailureKind.EXCEPTION, str(error)), Measured()
    except SandboxFailed as error:
        outcome, measured = Failure(Stage.TRAIN, FailureKind.NODE_FAIL, str(error)), Measured()
    except JobTerminated:
        outcome, measured = Failure(Stage.TRAIN, FailureKind.CANCELLED, "the job was terminated"), Measured()
    score = outcome if isinstance(outcome, Score) else None
    failure = outcome if isinstance(outcome, Failure) else None
    return Result(
        Ended.SCORED if score else Ended.FAILED,
        score,
        replace(failure, try_=paths.folder.name) if failure else None,
        measured.seconds,
        node.name,
        gpus_here().model if run.config.train.resources.gpus_per_node else "",
        _versions(),
        started,
        time.time(),
        measured.memory,
    )


@dataclass(frozen=True)
class Measured:
    """Measurements of a try."""

    seconds: Seconds = field(default_factory=Seconds)
    """Durations of its parts."""
    memory: Memory = field(default_factory=Memory)
    """Memory use during training."""


@dataclass(frozen=True)
class _Try:
    run: Run
    paths: TryPaths
    job: Job
    data: Path
    started: float
    node: Node

    def outcome(self) -> tuple[Score | Failure, Measured]:
        """The score or failure of the try, and its measurements."""
        try:
            return self._outcome()
        finally:
            if self.paths.output.is_dir():
                sweep(self.paths.output)

    def _outcome(self) -> tuple[Score | Failure, Measured]:
        checkpoint, measured = self.paths.checkpoint, Measured()
        if self.job.of is None:
            altered = check_integrity(self.run, self.data, Stage.TRAIN)
            if altered is not None:
                return altered, measured
            failure, measured = self.train()
            if failure is not None:
                return failure, measured
        else:
            checkpoint = self._trained(self.job.of)
        altered = check_integrity(self.run, self.data, Stage.EVALUATE)
        if altered is not None:
            return altered, measured
        before = time.monotonic()
        scored = score_checkpoint(
            self.run, self._variant, checkpoint, self.data, self.job.split, self.job.seed, self.paths
        )
        measured = replace(measured, seconds=replace(measured.seconds, evaluate=time.monotonic() - before))
        if isinstance(scored, Score):
            scored = replace(scored, try_=self.paths.folder.name, purpose=self.job.purpose)
            return replace(scored, sandbox=self._sandbox.kind, network=self._network.value), measured
        return scored, measured

    def _trained(self, trial: str) -> Path:
        """The scored checkpoint of another trial of the same code."""
        paths = TrialPaths(self.paths.trial.folder.parent / trial)
        return paths.named(files.read(paths.score, Score).try_).checkpoint

    @functools.cached_property
    def _sandbox(self) -> Sandbox:
        return make_sandbox(self.run.config.train.sandbox)

    @property
    def _network(self) -> Network:
        """Network access of the training; ranks on several nodes communicate through the host's network."""
        train = self.run.config.train
        return Network.host if train.resources.nodes > 1 else train.network

    @property
    def _is_part(self) -> bool:
        """Whether the training is part of a longer one, which continues later."""
        return self.job.purpose is Purpose.RUNG and self.run.config.baseline.continues

    @property
    def _variant(self) -> Path:
        """The code of this trial."""
        return self.paths.trial.variant or self.run.paths.pristine

    def train(self) -> tuple[Failure | None, Measured]:
        """Train on this node of the job; on node 0, report for all nodes."""
        config, paths = self.run.config, self.paths
        train = config.train.with_budget(self.job.budget)
        peers = Peers(paths, self.node, train.resources.nodes)
        paths.output.mkdir(exist_ok=True)
        if self.job.resume_from is not None and self.node.number == 0:
            self._copy_resume_state(paths.trial.earlier(self.job.resume_from))
        allowed_s = 60 * train.limit_min
        if train.clock is Clock.wall:
            allowed_s = _OVERRUN * 60 * train.budget_min - self.job.used_s
        # A killed training is never scored, so it gets a little more time to end and report its own error.
        seconds_most = min(60 * train.limit_min, allowed_s + 30)
        limits = RunLimits(seconds_most, train.resources.mem_gb, disk_gb=2 * train.disk_gb + _TEMPORARY_GB)
        early = early_stop(self.run, self.job.purpose, paths.metrics)
        meeting = peers.meet()
        if meeting is None:
            return Failure(Stage.TRAIN, FailureKind.CANCELLED, "the first node ended before the ranks met"), Measured()
        start_up = time.time() - self.started

        def enough() -> bool:
            return peers.failed() or (early is not None and early.hopeless())

        with scratch_folder() as scratch:
            extra = {**scratch, **config.baseline.environment, **self._rendezvous(meeting)}
            command = Command(
                train_command(
                    config, self.run.paths.size, self.data, paths.output, self.job.seed, self.job.budget, self._is_part
                ),
                self._variant,
                variant_environment(config.baseline, train.resources.cpus_per_task, extra),
                paths.node_log(self.node.number),
            )
            access = Access(
                read=(self._variant, self.run.paths.size, self.data / "train"),
                write=(paths.output, Path(scratch["TMPDIR"])),
                network=self._network,
                devices=True,
            )
            with MemoryWatch(train.resources.gpus_per_node > 0) as watch:
                outcome = self._sandbox.run(command, access, limits, enough)
        measured = Measured(Seconds(start_up=start_up, train=outcome.seconds), watch.found(outcome.peak_gb))
        log = files.tail(paths.node_log(self.node.number))
        over = FailureKind.OVER_BUDGET if train.clock is Clock.wall else FailureKind.TIMEOUT
        failure = failure_of(Stage.TRAIN, outcome, limits, log, over)
        devices = train.resources.gpus_per_node > 0 or train.resources.nodes > 1
        failure = believed(failure, paths.output, devices)
        if early is not None and early.reason and outcome.ended is End.STOPPED:
            reason = f"{config.baseline.curve.name} {early.reason} (train.early_stop)"
            failure = Failure(Stage.TRAIN, FailureKind.STOPPED_EARLY, reason)
        if failure is None and outcome.seconds > allowed_s:
            reason = f"took {outcome.seconds + self.job.used_s:.0f} s of {60 * train.budget_min:.0f} s"
            failure = Failure(Stage.TRAIN, FailureKind.OVER_BUDGET, reason)
        failure = peers.agree(failure)
        if failure is None and not paths.checkpoint.is_dir():
            reason = "training exited with code 0 but left no output/checkpoint"
            failure = Failure(Stage.TRAIN, FailureKind.NO_CHECKPOINT, with_log(reason, log))
        return failure, measured

    def _copy_resume_state(self, before: TryPaths) -> None:
        """Start from what an earlier try of this trial saved."""
        copy_regular(before.resume, self.paths.resume, 2 * self.run.config.train.disk_gb)
        if self.paths.resume.is_dir():
            with contextlib.suppress(OSError):
                self.paths.metrics.write_bytes(files.head(before.metrics))

    def _rendezvous(self, meeting: Meeting) -> dict[str, str]:
        resources = self.run.config.train.resources
        return {
            "MASTER_ADDR": meeting.address,
            "MASTER_PORT": str(meeting.port),
            "NNODES": str(resources.nodes),
            "NODE_RANK": str(self.node.number),
            "GPUS_PER_NODE": str(resources.gpus_per_node),
        }


def _on_signal(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    raise JobTerminated


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
