"""Let a paused run start new things again."""

import argparse
from pathlib import Path

from pipeline.cli import call, parser, run_paths


def main() -> None:
    """Entry point."""
    made = parser(
        "resume",
        "Undo `python -m pipeline.pause RUN`. A run whose controller has ended is gone on with by the command that "
        "pipeline.run printed.",
    )
    made.add_argument("run", type=Path, help="a run folder")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Remove pause.json."""
    paths = run_paths(arguments.run)
    was_paused = paths.pause.exists()
    paths.pause.unlink(missing_ok=True)
    print(f"{paths.folder.name} goes on" if was_paused else f"{paths.folder.name} was not paused")
    return 0


if __name__ == "__main__":
    main()
