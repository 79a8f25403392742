"""Write a report of one or more runs as one HTML file that opens offline."""

import argparse
import webbrowser
from pathlib import Path

from pipeline.commands.beside import analysis
from pipeline.commands.status import group_of
from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.setup.places import all_runs, place_of, run_at

REPORTS = Path("reports")
"""Default folder of reports; `--output` overrides it."""


def main() -> None:
    """Entry point."""
    made = parser(
        "report",
        "Write a report of a run as one HTML file: improvement over the baseline, failures, cost, and every candidate with\n"
        "its code. Several runs are compared. The file opens offline.",
        "examples:\n  python -m pipeline report runs/NAME\n"
        "  python -m pipeline report GROUP                                all runs of a group, compared\n"
        "  python -m pipeline report runs/A runs/B --output compare.html",
    )
    made.add_argument("run", type=Path, nargs="+", help="run folders, names, or the name of a group")
    made.add_argument("--output", type=Path, help=f"file to write (default: {REPORTS}/NAME.html)")
    made.add_argument("--open", action="store_true", help="open it in the browser")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the runs and write the file. The runs themselves are not changed."""
    folders = [folder for one in arguments.run for folder in runs_of(one)]
    name = folders[0].name if len(folders) == 1 else f"{folders[0].name}_and_{len(folders) - 1}_more"
    if len(arguments.run) == 1 and len(folders) > 1:
        name = arguments.run[0].name
    written: Path = analysis("report").report(*folders, output=arguments.output or REPORTS / f"{name}.html")
    say(make_console(), f"{written} ({written.stat().st_size / 1e6:.1f} MB)")
    if arguments.open:
        webbrowser.open(written.resolve().as_uri())
    return 0


def runs_of(named: Path) -> list[Path]:
    """The folder of a run, or the folders of the runs of a group in the order in which they started. Raises `BadInput`."""
    group = [] if place_of(named).exists() else [paths for paths in all_runs() if group_of(paths) == str(named)]
    return [paths.folder for paths in reversed(group)] or [run_at(named).folder]
