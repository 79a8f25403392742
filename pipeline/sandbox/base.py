"""What a sandbox promises: run a command that is not trusted, with no more access and resources than the call names, and
leave none of its processes behind.

A sandbox is chosen in YAML by `_target_` (`train.sandbox`) and made with the other keys of that setting. One suite of tests
in `tests/sandbox/` holds every sandbox to the promises.
"""

import math
import os
import pkgutil
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pipeline.config import Network, Part
from pipeline.errors import BadInput


class End(StrEnum):
    """Why a command is over."""

    EXIT = "exit"
    """It ended by itself."""
    TIMEOUT = "timeout"
    """It ran longer than it may."""
    MEMORY = "memory"
    """Its processes used more memory than they may."""
    DISK = "disk"
    """It wrote more than it may."""
    PROCESSES = "processes"
    """It started more processes than it may."""
    STOPPED = "stopped"
    """The caller stopped it."""
    NOT_STARTED = "not_started"
    """There is no such program."""


@dataclass(frozen=True)
class RunLimits:
    """What a command may use."""

    seconds: float
    """Run time."""
    mem_gb: float
    """Memory of all its processes together, GB."""
    log_mb: float = 16.0
    """How much of its output is kept, MB; of more only the last lines."""
    disk_gb: float = math.inf
    """Size of all files in the folders that it writes, GB."""
    processes: int = 4096
    """Processes that it has at once."""
    open_files: int = 65536
    """Files that one of its processes has open at once."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    ended: End
    """Why it is over."""
    exit_code: int | None
    """Its exit code, negative for a signal; none when it did not start."""
    seconds: float
    """Run time."""
    peak_gb: float
    """Most memory seen in use by all its processes, GB."""
    reason: str = ""
    """Why it did not start."""

    @property
    def good(self) -> bool:
        return self.ended is End.EXIT and self.exit_code == 0


@dataclass(frozen=True)
class Command:
    """What to run."""

    argv: Sequence[str]
    """Program and arguments."""
    cwd: Path
    """Working directory."""
    environment: Mapping[str, str]
    """The whole environment of the command."""
    log: Path
    """File to which its output is appended."""


@dataclass(frozen=True)
class Access:
    """What a command needs to reach, built at every call. How much of the rest it can reach is what kinds of sandbox differ
    in."""

    read: tuple[Path, ...] = ()
    """Files and folders that it reads: code, data, checkpoints."""
    write: tuple[Path, ...] = ()
    """Folders that it writes."""
    network: Network = Network.loopback
    """What it may reach."""
    devices: bool = False
    """Whether it uses the job's GPUs."""


class Sandbox(Protocol):
    """Runs commands that are not trusted."""

    kind: str
    """What contains the command, for people and for results."""

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        """Returns when all processes of the command are gone; it is stopped as soon as `enough` returns true.

        An exception raised here by a signal handler (Ctrl-C, the end of a job) ends the command first.
        Raises `SandboxFailed` when the sandbox itself cannot be made on this machine, or was killed by somebody.
        """
        ...


def not_started(command: Command) -> Outcome | None:
    """The outcome of a command whose program or folder is missing, found before a sandbox hides the reason."""
    reason = ""
    if not command.cwd.is_dir():
        reason = f"No such file or directory: {command.cwd}"
    elif shutil.which(command.argv[0], path=command.environment.get("PATH", "")) is None:
        reason = f"No such file or directory: {command.argv[0]}"
    return Outcome(End.NOT_STARTED, None, 0.0, 0.0, reason) if reason else None


def make_sandbox(part: Part) -> Sandbox:
    """The sandbox that `train.sandbox` names. Raises `BadInput`.

    Without Hydra, which does the same for the other parts: a job makes its sandbox, and has to start fast."""
    settings: dict[str, Any] = dict(part)
    target = settings.pop("_target_", "")
    try:
        made: Sandbox = pkgutil.resolve_name(target)(**settings)
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise BadInput(f"train.sandbox: {target!r} cannot be made ({error}); name a class with `_target_`") from None
    return made


def allowed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of this process that a job may see, and `extra`. An allow-list: a key under a name nobody thought
    of stays out."""
    return {name: os.environ[name] for name in sorted(os.environ) if _may_pass(name)} | dict(extra or {})


_NAMES = frozenset(
    """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TERM HOSTNAME LD_LIBRARY_PATH LIBRARY_PATH CPATH CC CXX
    CUDA_HOME CUDA_PATH CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES VIRTUAL_ENV CONDA_PREFIX MODULEPATH LOADEDMODULES
    OMP_NUM_THREADS MKL_NUM_THREADS TRITON_CACHE_DIR TORCH_EXTENSIONS_DIR
    """.split()
)
_PREFIXES = ("LC_", "NCCL_", "FI_", "UCX_", "GROUNDWORK_", "DS_")


def _may_pass(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)
