"""A command that is contained, not isolated: nothing that it starts is left behind, and it keeps its limits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import CannotContinue
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_END_GRACE_S = 20.0
_LOOK_S = 0.1


class Contained:
    """The command has its own session, exactly the environment it is given, and limits of time and memory. What it can see
    is not limited: it may read and write whatever this user can, whatever `access` says."""

    kind = "none"

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        return supervised(command, limits, enough)


def supervised(command: Command, limits: RunLimits, enough: Callable[[], bool]) -> Outcome:
    """Run a command under the supervisor, which ends its whole tree. Raises `CannotContinue` if it is killed."""
    spec = {
        "argv": list(command.argv),
        "cwd": str(command.cwd),
        "environment": dict(command.environment),
        "log": str(command.log),
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
        answer, stopped = _answer(supervisor, json.dumps(spec), enough)
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
    if not answer and stopped:  # before it could set its signal handler, and start the command
        return Outcome(End.STOPPED, None, 0.0, 0.0)
    if not answer:
        raise CannotContinue(f"the supervisor of `{' '.join(command.argv)}` was killed (exit {supervisor.returncode})")
    end = json.loads(answer)
    return Outcome(End(end["ended"]), end["exit_code"], end["seconds"], end["peak_gb"], end["reason"])


def _answer(supervisor: "subprocess.Popen[str]", spec: str, enough: Callable[[], bool]) -> tuple[str, bool]:
    """What the supervisor printed, and whether we ended it."""
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
