"""Run a command with limits and leave none of its processes behind.

The door where a sandbox belongs: today a command is only *contained* (its own session, an exact environment, limits of
time and memory); that it also *sees* no more than it should is the promise of the kinds of sandbox to come.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.errors import CannotGoOn

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_END_GRACE_S = 20.0
_LOOK_S = 0.1


class End(StrEnum):
    """Why a command is over."""

    EXIT = "exit"
    """It ended by itself."""
    TIMEOUT = "timeout"
    """It ran longer than it may."""
    MEMORY = "memory"
    """Its processes used more memory than they may."""
    STOPPED = "stopped"
    """We were told to stop."""
    NOT_STARTED = "not_started"
    """There is no such program."""


@dataclass(frozen=True)
class Limits:
    """What a command may use."""

    seconds: float
    """Run time."""
    mem_gb: float
    """Memory of all its processes together, GB."""
    log_mb: float = 16.0
    """How much of its output is kept, MB; of more only the last lines."""


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
    words: str = ""
    """Why it did not start."""

    @property
    def good(self) -> bool:
        return self.ended is End.EXIT and self.exit_code == 0


def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    enough: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run `argv` with exactly this environment, its output appended to `log`; returns when all its processes are gone.

    The command is stopped as soon as `enough` says so.
    An exception raised here by a signal handler (Ctrl-C, the end of a job) ends the command first.
    Raises `CannotGoOn` when the supervisor itself is killed by somebody.
    """
    spec = {
        "argv": list(argv),
        "cwd": str(cwd),
        "environment": dict(environment),
        "log": str(log),
        "limit_s": limits.seconds,
        "mem_gb": limits.mem_gb,
        "log_mb": limits.log_mb,
        "parent": os.getpid(),
    }
    supervisor = subprocess.Popen(
        [sys.executable, "-I", str(_SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told = _answer(supervisor, json.dumps(spec), enough)
    except BaseException:  # whatever ends us ends the command
        supervisor.terminate()
        try:
            supervisor.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
        supervisor.wait()
        if supervisor.stdout is not None:
            supervisor.stdout.close()
        raise
    if not told:
        raise CannotGoOn(f"the supervisor of `{' '.join(argv)}` was killed (exit {supervisor.returncode})")
    answer = json.loads(told)
    return Outcome(End(answer["ended"]), answer["exit_code"], answer["seconds"], answer["peak_gb"], answer["words"])


def _answer(supervisor: "subprocess.Popen[str]", spec: str, enough: Callable[[], bool]) -> str:
    given: str | None = spec
    while True:
        try:
            return supervisor.communicate(given, timeout=_LOOK_S)[0]
        except subprocess.TimeoutExpired:
            given = None
            if enough():
                supervisor.terminate()


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
