"""The protocol of a sandbox: run an untrusted command with no more access and resources than requested, and leave none of
its processes behind.

A sandbox is chosen in YAML by `_target_` (`train.sandbox`) and constructed with the other keys of that setting. One contract
test suite in `tests/sandbox/` checks every sandbox.
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
    """Why a command ended."""

    EXIT = "exit"
    """It ended by itself."""
    TIMEOUT = "timeout"
    """It exceeded its time limit."""
    MEMORY = "memory"
    """Its processes exceeded the memory limit."""
    DISK = "disk"
    """It exceeded the disk limit."""
    PROCESSES = "processes"
    """It exceeded the limit on processes."""
    STOPPED = "stopped"
    """The caller stopped it."""
    NOT_STARTED = "not_started"
    """The program or its working directory does not exist."""


@dataclass(frozen=True)
class RunLimits:
    """Resource limits of a command."""

    seconds: float
    """Run time, seconds."""
    mem_gb: float
    """Memory of all its processes together, GB."""
    log_mb: float = 16.0
    """Size of the log, MB; of further output only the end is kept."""
    disk_gb: float = math.inf
    """Growth of all files in the folders that it may write, GB."""
    processes: int = 4096
    """Number of processes at the same time."""
    open_files: int = 65536
    """Number of open files per process."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    ended: End
    """Why it ended."""
    exit_code: int | None
    """Its exit code, negative for a signal; none if it did not start."""
    seconds: float
    """Run time, seconds."""
    peak_gb: float
    """Peak memory of all its processes together, as measured, GB."""
    reason: str = ""
    """Why it did not start."""

    @property
    def good(self) -> bool:
        return self.ended is End.EXIT and self.exit_code == 0


@dataclass(frozen=True)
class Command:
    """A command to run."""

    argv: Sequence[str]
    """Program and arguments."""
    cwd: Path
    """Working directory."""
    environment: Mapping[str, str]
    """The complete environment of the command."""
    log: Path
    """File to which its output is appended."""


@dataclass(frozen=True)
class Access:
    """The access that a command requires, stated at every call. Kinds of sandbox differ in how much else it can access."""

    read: tuple[Path, ...] = ()
    """Files and folders that it reads: code, data, checkpoints."""
    write: tuple[Path, ...] = ()
    """Folders that it writes to."""
    network: Network = Network.loopback
    """Network access."""
    devices: bool = False
    """Whether it uses the job's GPUs."""


class Sandbox(Protocol):
    """Runs untrusted commands."""

    kind: str
    """Name of the kind of isolation, for messages and results."""
    private_memory: bool
    """Whether files in /dev/shm are hidden from other commands."""

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        """Run a command; returns when all its processes are gone. It is stopped as soon as `enough` returns true.

        An exception raised by a signal handler meanwhile (Ctrl-C, the end of a job) ends the command first.
        Raises `SandboxFailed` if the sandbox cannot be set up on this machine, or was killed from outside.
        """
        ...


def not_started(command: Command) -> Outcome | None:
    """An outcome if the command's program or folder is missing, which a sandbox would report less clearly; else none."""
    reason = ""
    if not command.cwd.is_dir():
        reason = f"No such file or directory: {command.cwd}"
    elif shutil.which(command.argv[0], path=command.environment.get("PATH", "")) is None:
        reason = f"No such file or directory: {command.argv[0]}"
    return Outcome(End.NOT_STARTED, None, 0.0, 0.0, reason) if reason else None


def make_sandbox(part: Part) -> Sandbox:
    """Construct the sandbox of `train.sandbox`. Raises `BadInput`.

    Hydra, which does the same for the other parts, is not used because jobs make their own sandbox and must start fast."""
    settings: dict[str, Any] = dict(part)
    target = settings.pop("_target_", "")
    try:
        made: Sandbox = pkgutil.resolve_name(target)(**settings)
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise BadInput(f"train.sandbox: {target!r} cannot be used ({error}); name a class with `_target_`") from None
    return made


def allowed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables of this process that a job may see, and `extra`. It is an allow-list, so that API keys under
    unexpected names stay out."""
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
