"""A kernel control group for one command, which limits its processes and its memory, including shared memory. It can be made
by root, or where the system delegates part of the hierarchy to the user; elsewhere the supervisor measures.

Versions 1 and 2: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
"""

import contextlib
import itertools
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "groundwork-"
_THREADS_PER_PROCESS = 16
"""Factor between the limit on processes and the kernel's, which counts threads."""
_REMOVE_S = 5.0
_numbers = itertools.count()


@dataclass(frozen=True)
class Group:
    """The folders of one group: one in version 2, one for each controller in version 1."""

    folders: tuple[Path, ...]
    """Folders with a file `cgroup.procs`; a process joins the group by writing its id there."""
    events: Path
    """File with the count of processes that the kernel killed for lack of memory."""

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of the group at the memory limit."""
        try:
            found = re.search(r"^oom_kill (\d+)", self.events.read_text(), re.M)
        except OSError:
            return False
        return found is not None and int(found[1]) > 0


@contextlib.contextmanager
def control_group(mem_gb: float, processes: int) -> Iterator[Group | None]:
    """A group with these limits, removed on exit with all processes in it; none if the memory is unlimited or this user
    cannot make one."""
    group = None
    if math.isfinite(mem_gb):
        name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        threads = _THREADS_PER_PROCESS * processes
        group = _version_2(name, int(1e9 * mem_gb), threads) or _version_1(name, int(1e9 * mem_gb), threads)
    try:
        yield group
    finally:
        for folder in group.folders if group is not None else ():
            _remove(folder)


def _version_2(name: str, most_bytes: int, threads: int) -> Group | None:
    """A group below that of this process, or else next to it: which one is allowed depends on the system."""
    own = _own_places().get("")
    if own is None:
        return None
    for parent in (_ROOT / own.lstrip("/"), (_ROOT / own.lstrip("/")).parent):
        limits = {"memory.max": most_bytes, "memory.swap.max": 0, "memory.oom.group": 1, "pids.max": threads}
        if parent.is_relative_to(_ROOT) and _make(parent / name, limits):
            return Group((parent / name,), parent / name / "memory.events")
    return None


def _version_1(name: str, most_bytes: int, threads: int) -> Group | None:
    own = _own_places()
    if "memory" not in own:
        return None
    memory = _ROOT / "memory" / own["memory"].lstrip("/") / name
    if not _make(memory, {"memory.limit_in_bytes": most_bytes}):
        return None
    pids = _ROOT / "pids" / own.get("pids", "").lstrip("/") / name
    folders = (memory, pids) if _make(pids, {"pids.max": threads}) else (memory,)
    return Group(folders, memory / "memory.oom_control")


def _own_places() -> dict[str, str]:
    """Path of this process's group by controller; the name is empty for version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split(":", 2) for line in lines]
    return {controller: place for _, names, place in parts for controller in names.split(",")}


def _make(folder: Path, limits: dict[str, int]) -> bool:
    try:
        for old in folder.parent.glob(f"{_PREFIX}*"):
            # Remove groups of killed processes. Those of running ones may be empty before their command starts.
            if not Path("/proc", old.name.removeprefix(_PREFIX).partition("-")[0]).exists():
                with contextlib.suppress(OSError):
                    old.rmdir()
        folder.mkdir()
    except OSError:
        return False
    try:
        for name, value in limits.items():
            if not (folder / name).exists():
                raise OSError(f"no {name}")
            (folder / name).write_text(str(value))
    except OSError:
        _remove(folder)
        return False
    return True


def _kill(folder: Path) -> None:
    """Kill the processes of a group. Some are left only if the supervisor and its guard were both killed."""
    with contextlib.suppress(OSError):
        for process in (folder / "cgroup.procs").read_text().split():
            os.kill(int(process), signal.SIGKILL)


def _remove(folder: Path) -> None:
    """Remove a group and kill what is in it, retrying for some seconds since its last processes may still be exiting."""
    deadline = time.monotonic() + _REMOVE_S
    while folder.exists():
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > deadline:
            return
        _kill(folder)
        time.sleep(0.01)
