"""GPUs and memory of the machine on which a try runs. Reads nvidia-smi, since the packages of a job include no CUDA
library."""

import os
import subprocess
import threading
from dataclasses import dataclass
from types import TracebackType

from pipeline.records import Memory

_LOOK_S = 5.0
_GB_OF_MIB = 2**20 / 1e9
_QUERY = "name,memory.total,memory.used,index,uuid"


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this job, as reported by nvidia-smi."""

    model: str = ""
    """Model; several, joined by `and`, if they differ; empty without a GPU."""
    memory_gb: float | None = None
    """Memory of each GPU in GB; that of the smallest if they differ."""
    used_gb: float | None = None
    """Most memory in use on any of them, in GB."""


def read_gpus(printed: str, visible: str = "") -> Gpus:
    """Parse the output of `nvidia-smi --query-gpu`. Only GPUs in `visible` (CUDA_VISIBLE_DEVICES) count."""
    rows = [[cell.strip() for cell in line.split(",")] for line in printed.splitlines() if line.strip()]
    chosen = {name.strip() for name in visible.split(",")}
    rows = [row for row in rows if chosen & set(row[3:])] or rows
    return Gpus(
        " and ".join(sorted({row[0] for row in rows})),
        min(_gb(rows, 1), default=None),
        max(_gb(rows, 2), default=None),
    )


def _gb(rows: list[list[str]], column: int) -> list[float]:
    """The values of a column in GB. A GPU that shares the host's memory prints no number."""
    return [int(row[column]) * _GB_OF_MIB for row in rows if len(row) > column and row[column].isdecimal()]


def gpus_here() -> Gpus:
    """The current state of this job's GPUs."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Gpus()
    return read_gpus(printed, os.environ.get("CUDA_VISIBLE_DEVICES", ""))


class MemoryWatch:
    """Measures the memory of the machine while a block runs."""

    def __init__(self, gpus: bool) -> None:
        self._gpu_gb: float | None = None
        self._peak_gb: float | None = None
        self._over = threading.Event()
        # A daemon thread: a query of a broken driver can hang, and must not delay the end of the job.
        self._thread = threading.Thread(target=self._watch, daemon=True) if gpus else None

    def __enter__(self) -> "MemoryWatch":
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()

    def found(self, host_peak_gb: float) -> Memory:
        """The measured memory, with the peak of the host's memory, which the sandbox measures."""
        host_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        return Memory(host_gb, host_peak_gb, self._gpu_gb, self._peak_gb)

    def _watch(self) -> None:
        while not self._over.is_set():
            seen = gpus_here()
            self._gpu_gb = seen.memory_gb if self._gpu_gb is None else self._gpu_gb
            self._peak_gb = max((gb for gb in (self._peak_gb, seen.used_gb) if gb is not None), default=None)
            self._over.wait(_LOOK_S)
