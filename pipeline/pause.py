"""Stop a run from starting anything new. What waits or runs finishes and is read."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.cli import call, parser, run_paths
from pipeline.records import Pause
from pipeline.store import files


def main() -> None:
    """Entry point."""
    made = parser("pause", "Propose, implement and submit nothing new in a run until `python -m pipeline.resume RUN`.")
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--reason", default="a person asked for it", help="shown in pipeline.status")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write pause.json unless it is there."""
    paths = run_paths(arguments.run)
    made = files.create(paths.pause, Pause(getpass.getuser(), arguments.reason, time.time()))
    print(f"{paths.folder.name} is paused" if made else f"{paths.folder.name} was paused already")
    return 0


if __name__ == "__main__":
    main()
