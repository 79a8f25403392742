"""Isolation by kernel namespaces with bubblewrap (github.com/containers/bubblewrap), which requires no privileges where
unprivileged user namespaces are allowed."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Network
from pipeline.errors import SandboxFailed
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits, not_started
from pipeline.sandbox.contained import supervise
from pipeline.sandbox.places import device_places, expanded, outermost, private_folder, program_places, system_places

_SHARED_MEMORY = "/dev/shm"


class Bubblewrap:
    """The command gets its own file system, which contains only the system, its program and the places in `access`, and its
    own processes, shared memory, host name and, unless `access` says otherwise, network."""

    kind = "bubblewrap"
    private_memory = True

    def __init__(self, read: Sequence[str] = ()) -> None:
        """`read` are additional files and folders that every command may read, e.g. software of the site."""
        self._read = expanded(read)

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        missing = not_started(command)
        if missing is not None:
            return missing
        with private_folder(command, access) as temporary:
            own = arguments(command, access, limits, temporary, self._read)
            inside = replace(
                command,
                argv=[*own, *command.argv],
                cwd=Path("/"),
                environment={**command.environment, "HOME": "/tmp", "TMPDIR": "/tmp"},
            )
            found = supervise(inside, limits, enough, (*access.write, temporary), len(own), _SHARED_MEMORY)
        outcome = found.outcome
        if outcome.ended is not End.EXIT:
            return outcome
        reports = [json.loads(line) for line in found.status.splitlines() if line.strip()]
        code = next((report["exit-code"] for report in reports if "exit-code" in report), None)
        if code is None:
            raise SandboxFailed(f"bubblewrap could not start `{command.argv[0]}`: {_last_line(command.log)}")
        return replace(outcome, exit_code=128 - code if code > 128 else code)


def arguments(
    command: Command, access: Access, limits: RunLimits, temporary: Path, more: Sequence[Path] = ()
) -> list[str]:
    """The command line of bubblewrap, without the command itself. Later places cover earlier ones."""
    namespaces = "--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try".split()
    if access.network is not Network.host:
        namespaces.append("--unshare-net")  # a new one has loopback only
    alone = "--die-with-parent --new-session --cap-drop ALL --hostname sandbox --disable-userns".split()
    memory = int(1e9 * limits.mem_gb) if limits.mem_gb < 1e9 else None
    size = ["--size", str(memory)] if memory else []
    # Root could write settings of the kernel in /proc, since these ask for its user id and not for its capabilities.
    made = ["--proc", "/proc", "--remount-ro", "/proc"]
    made += ["--dev", "/dev", "--perms", "1777", *size, "--tmpfs", _SHARED_MEMORY]
    made += ["--bind", str(temporary), "/tmp"]
    devices = device_places() if access.devices else []
    readable = [*([Path("/sys")] if devices else []), *system_places()]
    # A place inside another cannot be mounted, since the outer one is already read-only.
    readable += outermost([*more, *program_places(command.argv, command.environment), command.cwd, *access.read])
    return [
        "bwrap",
        *namespaces,
        *alone,
        *("--json-status-fd", "{status}"),
        *made,
        *_bound("--ro-bind", readable),
        *_bound("--dev-bind", devices),
        *_bound("--bind", access.write),
        *("--remount-ro", "/", "--chdir", str(command.cwd), "--"),
    ]


def _bound(option: str, places: Iterable[Path]) -> Iterator[str]:
    """Arguments that bind each place to its given path and to its real path."""
    for place in places:
        path = Path(os.path.abspath(place))
        if path.is_symlink() and path.parent == Path("/"):
            yield from ("--symlink", os.readlink(path), str(path))  # /bin, /lib of a merged /usr
            continue
        for name in dict.fromkeys((path, path.resolve())):
            yield from (option, str(path), str(name))


@functools.cache
def trouble() -> str:
    """Why bubblewrap cannot be used on this machine; empty if it can."""
    if shutil.which("bwrap") is None:
        return "the program bwrap is not installed"
    argv = "bwrap --unshare-all --unshare-user --disable-userns --ro-bind / / --proc /proc --dev /dev true".split()
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["bwrap failed without a reason"])[-1]


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "no reason given"
