"""The processes that own a command and everything the command starts.

Run as `python -I supervisor.py`, with one JSON object on standard input (see `contained.py`). It becomes two processes: the
supervisor proper, which ends the whole tree when the command is over, when a limit is passed, and when it is stopped, and
its guard, which ends the tree when the supervisor itself is killed. Both adopt processes that fork away
(PR_SET_CHILD_SUBREAPER), so none outlives them, and each is told when its parent dies. Prints one JSON object: how the
command ended.

Signals are blocked and waited for, not handled: a handler can run at any moment, also in the middle of what it calls.
"""

import collections
import contextlib
import ctypes
import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
"""System call; none where its number is not known here."""
_JOIN_SESSION_KEYRING = 1
_WAITED = (signal.SIGTERM, signal.SIGCHLD)
_LOOK_S = 0.1
_ROUND_S = 0.02
_DISK_S = 1.0
_DISK_SHARE = 10
"""Time between two counts of the disk, in times of what one takes."""
_MOST_FILES = 500_000
_TAIL_BYTES = 64 * 1024
_SHARED_MEMORY = "/dev/shm"
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the command described on standard input."""
    for number in _WAITED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _WAITED)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    spec = json.load(sys.stdin)
    _end_with(spec["parent"])
    guard = os.getpid()
    supervisor = os.fork()
    if supervisor:
        sys.exit(_guard(_Tree(supervisor)))
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _end_with(guard)
    answer = json.dumps(_supervise(spec))
    with contextlib.suppress(BrokenPipeError):  # the parent died; nobody reads it
        os.write(sys.stdout.fileno(), answer.encode())


def _end_with(parent: int, number: int = signal.SIGTERM) -> None:
    """Have a signal sent to this process when its parent dies; exits if that is dead already. Nothing is started before."""
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _guard(tree: "_Tree") -> int:
    """Wait for the supervisor. Returns 1 if it did not end well; in any case nothing is left then."""
    while tree.exit_code is None:
        if signal.sigwait(_WAITED) == signal.SIGTERM:
            os.kill(tree.first, signal.SIGTERM)
        tree.reap()
    tree.end()
    return int(tree.exit_code != 0)


class _Tree:
    """A child of this process and all that comes of it."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.exit_code: int | None = None
        """Of the first process; negative for a signal."""

    def reap(self) -> bool:
        """Collect what has ended. Returns whether any process is left."""
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.first:
                    self.exit_code = os.waitstatus_to_exitcode(found[1])
        except ChildProcessError:
            return False
        return True

    def end(self) -> None:
        """Kill all of it, until the kernel says that this process has no child. Whoever loses its parent becomes one, so
        nobody is missed who forks meanwhile."""
        while self.reap():
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            signal.sigtimedwait([signal.SIGCHLD], _ROUND_S)


def _supervise(spec: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    reader, writer = os.pipe()
    supervisor = os.getpid()
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
            preexec_fn=lambda: _prepare(spec, supervisor),
        )
    except OSError as error:
        os.close(reader)
        return {"ended": "not_started", "exit_code": None, "seconds": 0.0, "peak_gb": 0.0, "reason": str(error)}
    finally:
        os.close(writer)
    tree = _Tree(child.pid)
    assert child.stdout is not None
    copier = threading.Thread(target=_copy, args=(child.stdout, spec["log"], spec["log_mb"]), daemon=True)
    copier.start()
    use = _Use(spec)
    ended = _watch(tree, use, started + spec["limit_s"])
    seconds = time.monotonic() - started
    tree.end()
    child.returncode = tree.exit_code
    copier.join(timeout=10)
    with os.fdopen(reader, "rb") as pipe:
        status = pipe.read().decode()
    found = {"ended": ended, "exit_code": tree.exit_code, "seconds": seconds, "peak_gb": use.peak_gb, "reason": ""}
    return {**found, "status": status}


def _watch(tree: _Tree, use: "_Use", deadline: float) -> str:
    """Wait until the command is over or has to be ended. Returns which."""
    look = 0.0
    while tree.reap() and tree.exit_code is None:
        now = time.monotonic()
        if now >= look:  # a flood of processes that end is no reason to look more often
            look = now + _LOOK_S
            use.measure()
            if now > deadline:
                return "timeout"
            if (passed := use.passed()) != "exit":
                return passed
        seen = signal.sigtimedwait(_WAITED, max(0.0, look - time.monotonic()))
        if seen is not None and seen.si_signo == signal.SIGTERM:
            return "stopped"
    return "exit"


def _prepare(spec: dict[str, Any], supervisor: int) -> None:
    """In the child, before the command starts: limits of each process, which it can only lower."""
    _end_with(supervisor, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A program of another user, e.g. sudo, could not be killed. Sandbox programs prevent it themselves.
    if not spec["own"]:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _KEYCTL is not None:
        _libc.syscall(_KEYCTL, _JOIN_SESSION_KEYRING, None)  # a new one, without the keys of the user's login
    for group in spec["groups"]:
        Path(group).write_text("0")
    limits = {resource.RLIMIT_NOFILE: spec["open_files"], resource.RLIMIT_CORE: 0}
    if spec["disk_gb"] is not None:  # of one file, holes included; files in memory are files, too
        limits[resource.RLIMIT_FSIZE] = int(1e9 * max(spec["disk_gb"], spec["mem_gb"]))
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))


class _Use:
    """Resource use of the command, measured periodically."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._next_count = 0.0
        self._before_gb = self._disk_gb = _size_gb(spec["write"]) if spec["disk_gb"] is not None else 0.0
        self._memory_gb = self._hidden_gb = 0.0
        self._processes = 0
        self.peak_gb = 0.0

    def measure(self) -> None:
        tree = psutil.Process().children(recursive=True)
        self._processes = len(tree)
        self._memory_gb = _memory_gb(tree, self._spec["mem_gb"], self._spec["private_memory"])
        now = time.monotonic()
        if now >= self._next_count:
            unlinked_gb, self._hidden_gb = _nameless_gb(tree, self._spec["private_memory"])
            if self._spec["disk_gb"] is not None:
                self._disk_gb = _size_gb(self._spec["write"]) + unlinked_gb
            took = time.monotonic() - now
            self._next_count = now + max(_DISK_S, _DISK_SHARE * took)
        if not self._spec["groups"]:  # a control group counts these as memory
            self._memory_gb += self._hidden_gb
        self.peak_gb = max(self.peak_gb, self._memory_gb)

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
    """Room that the files below some folders take on disk. Infinite where they are too many to count, or in folders inside
    each other that no path reaches."""
    total = count = 0
    waiting = list(folders)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    with contextlib.suppress(FileNotFoundError):
                        total += 512 * entry.stat(follow_symlinks=False).st_blocks
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return math.inf
        if count > _MOST_FILES:
            return math.inf
    return total / 1e9


def _nameless_gb(tree: list[psutil.Process], private_memory: str | None) -> tuple[float, float]:
    """Room that open files without a name take, on disk and in memory; without those in `private_memory`, which is measured
    as a whole."""
    disk: dict[tuple[int, int], int] = {}
    memory: dict[tuple[int, int], int] = {}
    for process in tree:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{process.pid}/fd") as opened:
            in_memory = os.stat(f"/proc/{process.pid}/root{_SHARED_MEMORY}").st_dev
            for file in opened:
                with contextlib.suppress(OSError):
                    name = os.readlink(file.path)
                    if name.endswith(" (deleted)"):
                        seen = os.stat(file.path)
                        inside = seen.st_dev == in_memory
                        found = memory if inside or name.startswith("/memfd:") else disk
                        found[seen.st_dev, seen.st_ino] = 0 if inside and private_memory else 512 * seen.st_blocks
    return sum(disk.values()) / 1e9, sum(memory.values()) / 1e9


def _copy(source: IO[bytes], log: str, most_mb: float) -> None:
    """Copy output to the log: the first `most_mb` MB, then only the end, so that verbose output does not fill the disk."""
    left, dropped = int(most_mb * 1e6), 0
    last: collections.deque[bytes] = collections.deque()
    held = 0
    with Path(log).open("ab", buffering=0) as file:
        while chunk := os.read(source.fileno(), 65536):
            if left > 0:
                with contextlib.suppress(OSError):  # where the disk is full, output is lost and the command goes on
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
            with contextlib.suppress(OSError):
                file.write(b"\n[%d bytes left out]\n" % dropped + b"".join(last))


if __name__ == "__main__":
    main()
