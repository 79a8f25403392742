"""Several trials in one job, for sites that allocate only whole nodes.

A pack is one task of a job array. Its process starts one process for each member, with its own devices and cores. Members
end independently, and a lost job affects only the members without a result. In the folder of the wave `JOB.MEMBER.stop`
requests the end of a member, and `JOB.MEMBER.over` says how it ended.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

import psutil

from pipeline.cluster.jobs import MEMBER_VARIABLE, slurm_job
from pipeline.errors import BadInput
from pipeline.records import Resources

_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
"""Variables in which Slurm names the GPUs of a job."""
_LOOK_S = 0.5
_END_GRACE_S = 30.0
"""Seconds that a member has to end its processes before they are killed."""

Item = TypeVar("Item")


def packed(items: Iterable[Item], kind: Callable[[Item], object], size: int) -> list[list[Item]]:
    """Packs of at most `size` items of the same kind, in order of their first items. Items of one kind take equally long, so
    that no device is idle during a longer training."""
    packs: list[list[Item]] = []
    open_packs: dict[object, list[Item]] = {}
    for item in items:
        pack = open_packs.get(kind(item))
        if pack is None or len(pack) == size:
            pack = open_packs[kind(item)] = []
            packs.append(pack)
        pack.append(item)
    return packs


def needs_of_pack(needs: Resources, size: int, own_gb: float) -> Resources:
    """The resources of a job of `size` trials, with `own_gb` of additional memory for each trial but one, for this program's
    own processes. Raises `BadInput` for a trial on several nodes."""
    if size > 1 and needs.nodes > 1:
        raise BadInput(
            f"cluster.pack={size} puts several trials on one node, and a trial requires {needs.nodes} "
            "(train.resources.nodes); set cluster.pack=1"
        )
    return replace(
        needs,
        gpus_per_node=size * needs.gpus_per_node,
        cpus_per_task=size * needs.cpus_per_task,
        mem_gb=size * needs.mem_gb + (size - 1) * own_gb,
    )


@dataclass(frozen=True)
class Share:
    """One member's share of its job."""

    environment: Mapping[str, str]
    """Variables that name its GPUs."""
    cpus: tuple[int, ...]
    """Its cores; empty if Slurm does not bind the job to cores, so that the members share those of the node."""


def shares(environment: Mapping[str, str], cpus: Collection[int], needs: Resources, size: int) -> list[Share]:
    """The shares of all members. `environment` is that of the job, `cpus` are the cores on which it may run, with threads of
    a core next to each other. Raises `BadInput` if the job has too few GPUs."""
    lists = {name: environment[name].split(",") for name in _GPU_VARIABLES if environment.get(name)}
    gpus = needs.gpus_per_node
    if gpus and (not lists or min(map(len, lists.values())) < gpus * size):
        seen = ", ".join(f"{name}={environment[name]}" for name in lists) or "no variable names GPUs"
        raise BadInput(f"a pack of {size} needs {gpus * size} GPUs, and its job has fewer ({seen}); lower cluster.pack")
    # If Slurm does not bind jobs to cores, these are all cores of the node.
    own = list(cpus) if str(len(cpus)) == environment.get("SLURM_CPUS_ON_NODE") else []
    each = needs.cpus_per_task if len(own) >= needs.cpus_per_task * size else 0
    return [
        Share(
            {name: ",".join(names[k * gpus : (k + 1) * gpus]) for name, names in lists.items() if gpus},
            tuple(own[k * each : (k + 1) * each]),
        )
        for k in range(size)
    ]


def cores_of_job() -> list[int]:
    """The cores on which this process may run, with hardware threads of a core next to each other."""

    def first_of_core(cpu: int) -> int:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            return cpu
        return int(siblings.replace("-", ",").partition(",")[0])

    return sorted(os.sched_getaffinity(0), key=lambda cpu: (first_of_core(cpu), cpu))


def stop_mark(folder: Path, job_id: str) -> Path:
    """File that requests the end of the member with this plain id (`1000_3.2`); `folder` is the folder of its wave."""
    return folder / f"{job_id}.stop"


def over_mark(folder: Path, job_id: str) -> Path:
    """File that says how the member with this plain id ended."""
    return folder / f"{job_id}.over"


def log_of(folder: Path, job_id: str) -> Path:
    """The log of the member with this plain id, named like submitit's logs of jobs."""
    return folder / f"{job_id}_0_log.out"


@dataclass(frozen=True)
class Pack:
    """The function of a job of several trials: runs `function(folder)` for each of its folders in parallel."""

    function: Callable[[str], object]
    """Function that each member runs."""
    needs: Resources
    """Resources of each member."""
    size: int
    """Number of members for which the job has resources."""

    def __call__(self, *folders: str) -> None:
        """Returns when all members have ended."""
        job, place = slurm_job(), Path.cwd()
        terminated = False

        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal terminated
            terminated = True

        signal.signal(signal.SIGTERM, on_signal)
        room = shares(os.environ, cores_of_job(), self.needs, self.size)
        members = [
            _Member(self.function, folder, place, f"{job}.{number}", share)
            for number, (folder, share) in enumerate(zip(folders, room, strict=False))
        ]
        while True:
            living = [member for member in members if member.process.is_alive()]
            for member in members if not terminated else ():  # else the end of the job says why they ended
                member.note_end()
            if not living:
                return
            for member in living:
                if terminated or member.stop.exists():
                    member.end()
            multiprocessing.connection.wait([member.process.sentinel for member in living], _LOOK_S)


class _Member:
    """One trial of a pack, seen from the process of the job."""

    def __init__(self, function: Callable[[str], object], folder: str, place: Path, job_id: str, share: Share) -> None:
        self.stop = stop_mark(place, job_id)
        self._over = over_mark(place, job_id)
        self._ending_since: float | None = None
        # Forked, so that Python and its imports are not started again.
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_run_member, args=(function, folder, job_id, log_of(place, job_id), share)
        )
        self.process.start()

    def note_end(self) -> None:
        """Record how the member ended, if it has."""
        code = self.process.exitcode
        if code is not None and not self._over.exists():
            self._over.write_text(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")

    def end(self) -> None:
        """Signal the member to end, at every call since it may not have been ready before; kill it after a while."""
        now = time.monotonic()
        self._ending_since = self._ending_since or now
        if now - self._ending_since <= _END_GRACE_S:
            self.process.terminate()
            return
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.process.kill()


def _run_member(function: Callable[[str], object], folder: str, job_id: str, log: Path, share: Share) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):  # submitit handles them, and Slurm sends the second with the first
        signal.signal(number, signal.SIG_DFL)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ |= {**share.environment, MEMBER_VARIABLE: job_id.rpartition(".")[2]}
    if share.cpus:
        os.sched_setaffinity(0, share.cpus)
    function(folder)
