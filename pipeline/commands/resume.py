"""Undo a pause, so that a run starts new work again."""

import argparse
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.setup.places import run_at


def main() -> None:
    """Entry point."""
    made = parser(
        "resume",
        "Undo `python -m pipeline pause RUN`. If the controller has ended, also run the command that "
        "`python -m pipeline.run` printed.",
    )
    made.add_argument("run", type=Path, help="a run folder")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Remove pause.json."""
    paths = run_at(arguments.run)
    was_paused = paths.pause.exists()
    paths.pause.unlink(missing_ok=True)
    print(f"{paths.folder.name} is resumed" if was_paused else f"{paths.folder.name} was not paused")
    return 0
