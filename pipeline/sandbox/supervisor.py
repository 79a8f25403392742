"""The process that owns a command and everything that the command starts.

Run as `python -I supervisor.py`, with one JSON object on standard input (see `contained.py`). It ends the whole process tree
when the command ends, when a limit is exceeded, and when its own parent dies; it adopts processes that fork away
(PR_SET_CHILD_SUBREAPER), so that none outlives it. Prints the outcome as one JSON object.
"""

import collections
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.1
_DISK_S = 1.0
_TAIL_BYTES = 64 * 1024


def main() -> None:
    """Run the command described on standard input."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    spec = json.load(sys.stdin)
    if os.getppid() != spec["parent"]:
        return  # the parent died before PR_SET_PDEATHSIG was in effect
    answer = json.dumps(_supervise(spec, stop))
    with contextlib.suppress(BrokenPipeError):  # the parent died
        os.write(sys.stdout.fileno(), answer.encode())


def _supervise(spec: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
    started = time.monotonic()
    reader, writer = os.pipe()
    try:
        child = subprocess.Popen(
            [
                part.replace("{status}", str(writer)) if number < spec["own"] else part
                for number, part in enumerate(spec["argv"])
            ],
            cwd=spec["cwd"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[writer] if spec["own"] else [],
            preexec_fn=lambda: _prepare(spec),
        )
    except OSError as error:
        os.close(reader)
        return {"ended": "not_started", "exit_code": None, "seconds": 0.0, "peak_gb": 0.0, "reason": str(error)}
    finally:
        os.close(writer)
    assert child.stdout is not None
    copier = threading.Thread(target=_copy, args=(child.stdout, spec["log"], spec["log_mb"]), daemon=True)
    copier.start()
    ended, use = "exit", _Use(spec)
    while child.poll() is None:
        use.measure()
        if stop.is_set():
            ended = "stopped"
        elif time.monotonic() - started > spec["limit_s"]:
            ended = "timeout"
        else:
            ended = use.passed()
        if ended != "exit":
            break
        stop.wait(_LOOK_S)
    seconds = time.monotonic() - started
    _end_all(child)
    copier.join(timeout=10)
    with os.fdopen(reader, "rb") as pipe:
        status = pipe.read().decode()
    found = {"ended": ended, "exit_code": child.wait(), "seconds": seconds, "peak_gb": use.peak_gb, "reason": ""}
    return {**found, "status": status}


def _prepare(spec: dict[str, Any]) -> None:
    """Runs in the child before the command starts: sets limits of each process, which it can only lower."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for group in spec["groups"]:
        Path(group).write_text("0")
    for kind, limit in ((resource.RLIMIT_NOFILE, spec["open_files"]), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))


class _Use:
    """Resource use of the command, measured periodically."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._written_at = self._looked = 0.0
        self._before_gb = self._disk_gb = _size_gb(spec["write"]) if spec["disk_gb"] is not None else 0.0
        self._memory_gb = 0.0
        self._processes = 0
        self.peak_gb = 0.0

    def measure(self) -> None:
        tree = psutil.Process().children(recursive=True)
        self._processes = len(tree)
        self._memory_gb = _memory_gb(tree, self._spec["mem_gb"], self._spec["private_memory"])
        self.peak_gb = max(self.peak_gb, self._memory_gb)
        now = time.monotonic()
        if self._spec["disk_gb"] is not None and now - self._looked > _DISK_S:
            self._looked, self._disk_gb = now, _size_gb(self._spec["write"])

    def passed(self) -> str:
        """The limit that is exceeded, or `exit` for none."""
        if self._memory_gb > self._spec["mem_gb"]:
            return "memory"
        if self._processes > self._spec["processes"]:
            return "processes"
        if self._spec["disk_gb"] is not None and self._disk_gb - self._before_gb > self._spec["disk_gb"]:
            return "disk"
        return "exit"


def _memory_gb(tree: list[psutil.Process], limit_gb: float, private_memory: str | None) -> float:
    """Memory of the process tree, including files in its private /dev/shm. Resident sizes count shared pages once for each
    process, so if their sum exceeds the limit, proportional sizes are measured, which are slower to read."""
    files_gb = _files_in_memory_gb(tree, private_memory) if private_memory else 0.0
    used = _sum(tree, lambda process: int(process.memory_info().rss)) + files_gb
    if used <= limit_gb:
        return used
    shared = _sum(tree, lambda process: _proportional(process)["Pss_Shmem"])
    return _sum(tree, lambda process: _proportional(process)["Pss"]) - shared + max(shared, files_gb)


def _proportional(process: psutil.Process) -> "collections.Counter[str]":
    """Memory sizes of a process in bytes, where each shared page is divided among the processes that share it."""
    found: collections.Counter[str] = collections.Counter()
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size, *_ = line.split()
            found[name.rstrip(":")] = 1024 * int(size)
    except (OSError, ValueError):
        return found
    return found


def _files_in_memory_gb(tree: list[psutil.Process], folder: str) -> float:
    """Space used in a file system that only the process tree sees. The youngest process is certain to be inside."""
    for process in reversed(tree):
        with contextlib.suppress(OSError):
            found = os.statvfs(f"/proc/{process.pid}/root{folder}")
            return (found.f_blocks - found.f_bfree) * found.f_frsize / 1e9
    return 0.0


def _sum(tree: list[psutil.Process], size: Any) -> float:
    total = 0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            total += size(process)
    return total / 1e9


def _size_gb(folders: list[str]) -> float:
    """Disk space used by the files below some folders, GB."""
    total = 0
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += 512 * os.lstat(f"{root}/{name}").st_blocks
    return total / 1e9


def _end_all(child: "subprocess.Popen[bytes]") -> None:
    """Kill every descendant until none is left; processes forked meanwhile are killed in the next round."""
    while tree := psutil.Process().children(recursive=True):
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()  # first, since the calls below would consume its exit code
        psutil.wait_procs(tree, timeout=1)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _copy(source: IO[bytes], log: str, most_mb: float) -> None:
    """Copy output to the log: the first `most_mb` MB, then only the end, so that verbose output does not fill the disk."""
    left, dropped = int(most_mb * 1e6), 0
    last: collections.deque[bytes] = collections.deque()
    held = 0
    with Path(log).open("ab", buffering=0) as file:
        while chunk := os.read(source.fileno(), 65536):
            if left > 0:
                file.write(chunk)
                left -= len(chunk)
                continue
            last.append(chunk)
            held += len(chunk)
            while held - len(last[0]) > _TAIL_BYTES:
                gone = len(last.popleft())
                held -= gone
                dropped += gone
        if last:
            file.write(b"\n[%d bytes left out]\n" % dropped + b"".join(last))


if __name__ == "__main__":
    main()
