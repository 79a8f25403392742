"""Restriction with landlock (docs.kernel.org/userspace-api/landlock.html), where user namespaces are not allowed."""

import ctypes
import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Network
from pipeline.errors import SandboxFailed
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits, not_started
from pipeline.sandbox.contained import supervise
from pipeline.sandbox.places import device_places, expanded, private_folder, program_places, system_places

_CONFINE = Path(__file__).with_name("confine.py")
_PROCESSES = ("/proc", "/sys")
_DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/shm",
)
"""Files that programs expect to write. Not /dev/pts, which holds the user's terminals. /dev/shm is shared with all
processes, which this sandbox cannot change."""
_VERSION = 1


class Landlock:
    """The command can read only the system, its program and the places in `access`, and write only the latter. From Linux
    6.7 `network: none` blocks TCP; from 6.12 other processes cannot be signalled. Other processes can be listed, /dev/shm is
    shared, and UDP is open."""

    kind = "landlock"
    private_memory = False

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
            own = [sys.executable, "-I", "-S", str(_CONFINE), rules(command, access, temporary, self._read)]
            inside = replace(
                command,
                argv=[*own, *command.argv],
                environment={**command.environment, "HOME": str(temporary), "TMPDIR": str(temporary)},
            )
            found = supervise(inside, limits, enough, (*access.write, temporary), len(own))
        if found.outcome.ended is End.EXIT and found.status != "restricted":
            raise SandboxFailed(f"landlock could not restrict `{command.argv[0]}` on this machine")
        return found.outcome


def rules(command: Command, access: Access, temporary: Path, more: Sequence[Path] = ()) -> str:
    """The rules for `confine.py` as JSON; `{status}` stands for the descriptor to which it reports."""
    read = [*system_places(), *program_places(command.argv, command.environment), *more, command.cwd, *access.read]
    read += [Path(place) for place in _PROCESSES]
    write = [*access.write, temporary, *map(Path, _DEVICES), *(device_places() if access.devices else [])]
    return json.dumps(
        {
            "read": [str(place) for place in read if place.exists()],
            "write": [str(place) for place in write if place.exists()],
            "tcp": access.network is not Network.none,
            "status": "{status}",
        }
    ).replace('"{status}"', "{status}")


@functools.cache
def trouble() -> str:
    """Why landlock cannot be used on this machine; empty if it can."""
    if sys.platform != "linux":
        return "landlock is part of Linux"
    version = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, _VERSION)
    return "" if version >= 1 else "the kernel has no landlock, or it is disabled"
