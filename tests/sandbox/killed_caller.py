"""Kills the caller of the supervisor just before each line that the supervisor, its guard and its child execute:
`python -m tests.sandbox.killed_caller SHARD SHARDS`. Prints the lines after which a process survived.

All descendants become children of this process when their parents die, so the kernel reports whether any is left. Lines
of `threading.Condition`, on which events are built, are included: a signal can arrive while its lock is held.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from pipeline.sandbox import supervisor

COMMAND = ["/bin/sh", "-c", "sleep 1000 & sleep 0.15"]
MOST_S = 20.0
Line = tuple[str, int]
"""File and number."""


def main() -> None:
    """Print the failing lines of one shard, and how many lines were tried, as JSON."""
    shard, shards = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(36, 1)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "lines")
        assert run(folder, lambda line, caller: record.open("a").write(f"{json.dumps(line)}\n"))
        lines = sorted({(name, number) for name, number in map(json.loads, record.read_text().splitlines())})
        ours = lines[shard::shards]
        print(json.dumps({"lines": len(ours), "left": [line for line in ours if not run(folder, killer(line))]}))


def killer(wanted: Line) -> Callable[[Line, int], object]:
    """Kills the caller before one line, and waits until it is dead and all were notified. A process that reaches that
    line later finds no caller."""

    def kill(line: Line, caller: int) -> None:
        if line == wanted:
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(caller, signal.SIGKILL)
                while psutil.Process(caller).status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.001)

    return kill


def run(folder: str, before: Callable[[Line, int], object]) -> bool:
    """Run the command from a caller of its own. Returns whether no process is left at the end."""
    caller = os.fork()
    if caller == 0:
        _call(folder, before)
    os.waitid(os.P_PID, caller, os.WEXITED | os.WNOWAIT)  # not reaped yet, so its id is not reused
    deadline = time.monotonic() + MOST_S
    clean = True
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return clean
        if ended == 0 and time.monotonic() > deadline:
            clean = False
            for process in psutil.Process().children(recursive=True):
                process.kill()
        time.sleep(0.0 if ended else 0.005)


def _call(folder: str, before: Callable[[Line, int], object]) -> None:
    """In the caller: start the supervisor and wait for its answer."""
    caller = os.getpid()
    spec: dict[str, Any] = {"argv": COMMAND, "cwd": folder, "environment": {"PATH": "/usr/bin:/bin"}}
    spec |= {"log": f"{folder}/log", "log_mb": 1.0, "limit_s": 100.0, "mem_gb": 1.0, "disk_gb": None, "processes": 100}
    spec |= {"open_files": 1024, "write": [], "own": 0, "private_memory": None, "groups": [], "parent": caller}
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(writer)
        os.dup2(reader, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.settrace(_tracer(before, caller))
        try:
            supervisor.main()
        finally:
            os._exit(0)
    os.close(reader)
    os.write(writer, json.dumps(spec).encode())
    os.close(writer)
    os.wait()
    os._exit(0)


def _tracer(before: Callable[[Line, int], object], caller: int) -> Callable[[FrameType, str, object], Any]:
    main_thread = threading.get_ident()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        ours = code.co_filename == supervisor.__file__ or code.co_qualname.startswith("Condition.")
        if not ours or threading.get_ident() != main_thread:
            return None
        if event == "line":
            before((Path(code.co_filename).name, frame.f_lineno), caller)
        return trace

    return trace


if __name__ == "__main__":
    main()
