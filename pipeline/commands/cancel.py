"""Cancel the jobs of a run, and only those."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.records import Pause
from pipeline.setup.build import make_cluster, view
from pipeline.setup.places import run_at
from pipeline.stages.evaluate import end_jobs
from pipeline.store import files
from pipeline.text import counted


def main() -> None:
    """Entry point."""
    made = parser(
        "cancel",
        "Pause a run and cancel its waiting and running jobs. Finished results are kept; the cancelled trials are retried "
        "after `python -m pipeline resume RUN`.",
    )
    made.add_argument("run", type=Path, help="a run folder")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Pause the run first, so that a running controller does not submit the same trials again; then cancel its jobs."""
    run, terms = view(run_at(arguments.run))
    files.create(run.paths.pause, Pause(getpass.getuser(), "its jobs were cancelled", time.time()))
    count = end_jobs(
        run.reader.read(), make_cluster(run.paths, terms.config), "cancelled by the command cancel", time.time()
    )
    print(
        f"{run.name} is paused, {counted(count, 'job')} cancelled; resume with: python -m pipeline resume {arguments.run}"
    )
    return 0
