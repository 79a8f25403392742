"""Containment without isolation: limits are enforced, and no process that the command starts is left behind."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import SandboxFailed
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits
from pipeline.sandbox.cgroups import control_group

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_END_GRACE_S = 20.0
_LOOK_S = 0.1


class Contained:
    """The command has its own session, exactly the given environment, and limits on time, memory, disk and processes. It is
    not isolated: it can read and write everything that this user can, regardless of `access`."""

    kind = "none"
    private_memory = False

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        return supervised(command, limits, enough, access.write)


@dataclass(frozen=True)
class Supervised:
    """How a command ended under the supervisor."""

    outcome: Outcome
    status: str
    """Status output of the sandbox program; empty if there is none."""


def supervised(command: Command, limits: RunLimits, enough: Callable[[], bool], write: Sequence[Path] = ()) -> Outcome:
    """`supervise` for a command without a sandbox program."""
    return supervise(command, limits, enough, write).outcome


def supervise(
    command: Command,
    limits: RunLimits,
    enough: Callable[[], bool],
    write: Sequence[Path] = (),
    own: int = 0,
    private_memory: str | None = None,
) -> Supervised:
    """Run a command under the supervisor, which ends its whole process tree.

    `write` are the folders whose size is limited. The first `own` arguments belong to a sandbox program; `{status}` in them
    is replaced by the descriptor of an open file for its status. `private_memory` is a file system in memory that only the
    command sees, e.g. /dev/shm. Raises `SandboxFailed` if the supervisor is killed."""
    with control_group(limits.mem_gb, limits.processes) as group:
        spec = {
            "argv": list(command.argv),
            "cwd": str(command.cwd),
            "environment": dict(command.environment),
            "log": str(command.log),
            "limit_s": limits.seconds,
            "mem_gb": limits.mem_gb,
            "log_mb": limits.log_mb,
            "disk_gb": limits.disk_gb if math.isfinite(limits.disk_gb) else None,
            "processes": limits.processes,
            "open_files": limits.open_files,
            "write": [str(place) for place in write],
            "own": own,
            "private_memory": private_memory,
            "groups": [str(folder / "cgroup.procs") for folder in group.folders] if group is not None else [],
            "parent": os.getpid(),
        }

        def full() -> bool:
            return group is not None and group.out_of_memory()

        found = _supervised(command, spec, lambda: enough() or full())
        if full():
            peak_gb = max(found.outcome.peak_gb, limits.mem_gb)
            return replace(found, outcome=replace(found.outcome, ended=End.MEMORY, exit_code=-9, peak_gb=peak_gb))
    return found


def _supervised(command: Command, spec: dict[str, Any], enough: Callable[[], bool]) -> Supervised:
    supervisor = subprocess.Popen(
        [sys.executable, "-I", str(_SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        answer, stopped = _answer(supervisor, json.dumps(spec), enough)
    except BaseException:  # whatever ends this process also ends the command
        supervisor.terminate()
        try:
            supervisor.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
        supervisor.wait()
        if supervisor.stdout is not None:
            supervisor.stdout.close()
        raise
    if not answer and stopped:  # before it could wait for signals, and start the command
        return Supervised(Outcome(End.STOPPED, None, 0.0, 0.0), "")
    if supervisor.returncode != 0:
        raise SandboxFailed(f"the supervisor of `{' '.join(command.argv)}` was killed (exit {supervisor.returncode})")
    end = json.loads(answer)
    outcome = Outcome(End(end["ended"]), end["exit_code"], end["seconds"], end["peak_gb"], end["reason"])
    return Supervised(outcome, end.get("status", ""))


def _answer(supervisor: "subprocess.Popen[str]", spec: str, enough: Callable[[], bool]) -> tuple[str, bool]:
    """The supervisor's output, and whether it was stopped by `enough`."""
    given: str | None = spec
    stopped = False
    while True:
        try:
            return supervisor.communicate(given, timeout=_LOOK_S)[0], stopped
        except subprocess.TimeoutExpired:
            given = None
            if enough():
                stopped = True
                supervisor.terminate()
