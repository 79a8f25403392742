"""The process that owns a command and everything the command starts.

Run as `python -I supervisor.py`, with one JSON object on standard input (see `contained.py`). It ends the whole tree when
the command is over, when a limit is passed, and when its own parent dies; it adopts processes that fork away
(PR_SET_CHILD_SUBREAPER), so none outlives it. Prints one JSON object: how it ended.
"""

import collections
import contextlib
import ctypes
import json
import os
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
        return  # the parent died before the line above could notice
    answer = json.dumps(_supervise(spec, stop))
    with contextlib.suppress(BrokenPipeError):  # the parent died; nobody reads it
        os.write(sys.stdout.fileno(), answer.encode())


def _supervise(spec: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            spec["argv"],
            cwd=spec["cwd"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    except OSError as error:
        return {"ended": "not_started", "exit_code": None, "seconds": 0.0, "peak_gb": 0.0, "reason": str(error)}
    assert child.stdout is not None
    copier = threading.Thread(target=_copy, args=(child.stdout, spec["log"], spec["log_mb"]), daemon=True)
    copier.start()
    ended, peak_gb = "exit", 0.0
    while child.poll() is None:
        used_gb = _memory_gb(spec["mem_gb"])
        peak_gb = max(peak_gb, used_gb)
        if stop.is_set():
            ended = "stopped"
        elif time.monotonic() - started > spec["limit_s"]:
            ended = "timeout"
        elif used_gb > spec["mem_gb"]:
            ended = "memory"
        if ended != "exit":
            break
        stop.wait(_LOOK_S)
    seconds = time.monotonic() - started
    _end_all(child)
    copier.join(timeout=10)
    return {"ended": ended, "exit_code": child.wait(), "seconds": seconds, "peak_gb": peak_gb, "reason": ""}


def _memory_gb(limit_gb: float) -> float:
    """Memory of the tree. Resident sizes count shared pages once for each process, so a sum over the limit is
    measured again by proportional sizes, which are slower to read."""
    tree = psutil.Process().children(recursive=True)
    used = _sum(tree, lambda process: int(process.memory_info().rss))
    if used > limit_gb:
        used = _sum(tree, lambda process: int(process.memory_full_info().pss))
    return used


def _sum(tree: list[psutil.Process], size: Any) -> float:
    total = 0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            total += size(process)
    return total / 1e9


def _end_all(child: "subprocess.Popen[bytes]") -> None:
    """Kill every descendant until none is left; one that forks while we look is met in the next round."""
    while tree := psutil.Process().children(recursive=True):
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()  # before the line below, which would take its exit code away
        psutil.wait_procs(tree, timeout=1)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _copy(source: IO[bytes], log: str, most_mb: float) -> None:
    """Copy output to the log: the first `most_mb`, then only the last lines, so that a babbler fills no disk."""
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
