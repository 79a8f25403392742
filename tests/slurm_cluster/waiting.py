"""Waiting for asynchronous changes of a cluster."""

import os
import subprocess
import time
from collections.abc import Callable

SEEN = (
    ["squeue", "--all", "--states=all", "--format=%i %j %P %T %r %N"],
    ["sinfo", "--Node", "--long"],
    ["scontrol", "ping"],
)


def wait_for(condition: Callable[[], object], seconds: float = 200) -> None:
    """Return when `condition` holds. A busy machine may need minutes for what usually takes a second; after `seconds`
    an AssertionError shows Slurm's state, if this process uses one."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s\n{queue()}"
        time.sleep(0.1)


def queue() -> str:
    if "SLURM_CONF" not in os.environ:
        return ""
    answers = [subprocess.run(command, check=False, capture_output=True, text=True) for command in SEEN]
    return "\n".join(answer.stdout + answer.stderr for answer in answers)
