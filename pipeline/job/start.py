"""How every job starts: away from the controller's terminal, with a claim on its try."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pipeline.cluster.jobs import Node, current_job_id, current_node
from pipeline.job.nodes import wait_for_claim
from pipeline.store.paths import RunPaths, TryPaths, run_of
from pipeline.store.run import claim


@dataclass(frozen=True)
class Started:
    """A job that holds its try."""

    run: RunPaths
    paths: TryPaths
    node: Node


def start(folder: str, on_signal: Callable[[int, FrameType | None], None]) -> Started | None:
    """Claim the try in this folder; on nodes other than the first, wait for the claim. None if another job has it.

    From then on `on_signal` handles SIGTERM, which clusters send before they kill a job."""
    if os.getpgrp() != os.getpid():
        os.setsid()  # so that Ctrl-C in the controller's terminal does not reach the job
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    signal.signal(signal.SIGTERM, on_signal)
    paths = TryPaths(Path(folder))
    run, job_id, node = run_of(paths.folder), current_job_id(), current_node()
    if run is None or not (wait_for_claim(paths, job_id) if node.number else claim(paths, job_id, node.name)):
        print(f"{folder} is taken; nothing to do", file=sys.stderr)
        return None
    return Started(run, paths, node)
