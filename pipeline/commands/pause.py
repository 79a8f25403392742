"""Keep a run from starting new work. Jobs in flight finish, and their results are read."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.records import Pause
from pipeline.setup.places import run_at
from pipeline.store import files


def main() -> None:
    """Entry point."""
    made = parser("pause", "Propose, implement and submit nothing new in a run until `python -m pipeline resume RUN`.")
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--reason", default="requested by a user", help="shown by `python -m pipeline status`")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write pause.json unless it exists."""
    paths = run_at(arguments.run)
    made = files.create(paths.pause, Pause(getpass.getuser(), arguments.reason, time.time()))
    print(f"{paths.folder.name} is paused" if made else f"{paths.folder.name} was already paused")
    return 0
