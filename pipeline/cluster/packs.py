"""Several trials in one job, for sites that give whole nodes only.

A pack is one task of a job array. Its process starts one process for each member, with devices and cores of its own. Members
end independently: how one ends concerns no other, and what a job that is lost takes with it are the members that have no
result yet. In the folder of the wave `JOB.MEMBER.stop` asks to end a member, and `JOB.MEMBER.over` says how it ended.
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
"""In which Slurm names the GPUs of a job."""
_LOOK_S = 0.5
_END_GRACE_S = 30.0
"""How long a member may take to end its processes before they are killed."""

Item = TypeVar("Item")


def packed(items: Iterable[Item], kind: Callable[[Item], object], size: int) -> list[list[Item]]:
    """Packs of at most `size` items, each of one kind: what takes as long goes together, so that no device idles beside a
    longer training. In the order of their first items."""
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
    """What a job of `size` trials requests, with `own_gb` of memory for our own processes beside each but one. Raises
    `BadInput` for a trial that needs several nodes."""
    if size > 1 and needs.nodes > 1:
        raise BadInput(
            f"cluster.pack={size} puts several trials into one node, and a trial needs {needs.nodes} "
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
    """What one member of a pack has of its job."""

    environment: Mapping[str, str]
    """Variables that name its GPUs."""
    cpus: tuple[int, ...]
    """Its cores; empty where the job has no cores of its own, and the members share the node's."""


def shares(environment: Mapping[str, str], cpus: Collection[int], needs: Resources, size: int) -> list[Share]:
    """The shares of all members. `environment` is that of the job, `cpus` are the cores it may run on, neighbours side by
    side. Raises `BadInput` where the job has too few GPUs."""
    lists = {name: environment[name].split(",") for name in _GPU_VARIABLES if environment.get(name)}
    gpus = needs.gpus_per_node
    if gpus and (not lists or min(map(len, lists.values())) < gpus * size):
        seen = ", ".join(f"{name}={environment[name]}" for name in lists) or "no variable names GPUs"
        raise BadInput(f"a pack of {size} needs {gpus * size} GPUs, and its job has fewer ({seen}); lower cluster.pack")
    # Where Slurm confines no job to its cores, those it may run on are those of all jobs of the node.
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
    """The cores that this process may run on; hardware threads of one core are neighbours."""

    def first_of_core(cpu: int) -> int:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            return cpu
        return int(siblings.replace("-", ",").partition(",")[0])

    return sorted(os.sched_getaffinity(0), key=lambda cpu: (first_of_core(cpu), cpu))


def stop_mark(folder: Path, job_id: str) -> Path:
    """Asks to end the member with this plain id (`1000_3.2`); `folder` is that of its wave."""
    return folder / f"{job_id}.stop"


def over_mark(folder: Path, job_id: str) -> Path:
    """Says how the member with this plain id ended."""
    return folder / f"{job_id}.over"


def log_of(folder: Path, job_id: str) -> Path:
    """The log of the member with this plain id; named as submitit names the log of a job."""
    return folder / f"{job_id}_0_log.out"


@dataclass(frozen=True)
class Pack:
    """What a job of several trials runs: `function(folder)` for each of some folders, at once."""

    function: Callable[[str], object]
    """What each member runs."""
    needs: Resources
    """What each member has."""
    size: int
    """For how many members the job has room."""

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
        # Forked: no second start of Python and its imports.
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_run_member, args=(function, folder, job_id, log_of(place, job_id), share)
        )
        self.process.start()

    def note_end(self) -> None:
        """Write down how it ended, if it did."""
        code = self.process.exitcode
        if code is not None and not self._over.exists():
            self._over.write_text(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")

    def end(self) -> None:
        """Tell it to end, again at each look: it may not have been ready for the signal. Kill it after a while."""
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
