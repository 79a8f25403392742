"""Cancel the jobs of a run, and only those."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.assemble import make_cluster, view
from pipeline.cli import call, parser, run_paths
from pipeline.records import Pause
from pipeline.stages.evaluate import end_jobs
from pipeline.store import files


def main() -> None:
    """Entry point."""
    made = parser(
        "cancel",
        "Pause a run and cancel its waiting and running jobs. What was trained stays; the trials start again after "
        "`python -m pipeline.resume RUN`.",
    )
    made.add_argument("run", type=Path, help="a run folder")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Pause first, so that a controller at work does not submit the same trials again."""
    run, plan = view(run_paths(arguments.run))
    files.create(run.paths.pause, Pause(getpass.getuser(), "its jobs were cancelled", time.time()))
    count = end_jobs(
        run.reader.read(), make_cluster(run.paths, plan.config), "cancelled with pipeline.cancel", time.time()
    )
    print(f"{run.name} is paused, {count} jobs cancelled; go on with: python -m pipeline.resume {arguments.run}")
    return 0


if __name__ == "__main__":
    main()
