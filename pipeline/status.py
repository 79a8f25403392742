"""Show what is going on in a run, while it runs and after."""

import argparse
import dataclasses
import json
from pathlib import Path

from pipeline.assemble import view
from pipeline.cli import call, make_console, parser, run_paths, say
from pipeline.display import overview, progress, results, spent
from pipeline.stages.account import account, tries_of
from pipeline.stages.decide import in_flight, trials_left
from pipeline.store.ledger import Ledger


def main() -> None:
    """Entry point."""
    made = parser("status", "Show every candidate of a run.", "example:\n  python -m pipeline.status runs/NAME")
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the folder and print it; nothing is written."""
    run, plan = view(run_paths(arguments.run))
    archive = run.reader.read()
    left = trials_left(plan, archive)
    now = progress(archive, plan.metric, plan.config.stop.generations, left, max(1, in_flight(archive)))
    costs = account(plan.config, tries_of(archive.holders()), {}, plan.clock())
    spending = Ledger(archive.paths).spending()
    if arguments.json:
        told = {"spent": dataclasses.asdict(costs), "language_model": dataclasses.asdict(spending)}
        print(json.dumps({**dataclasses.asdict(now), **told}, indent=2))
        return 0
    console = make_console()
    console.print(overview(archive, plan.metric, now))
    for words in spent(costs, spending):
        say(console, words)
    if archive.report is not None:
        console.print(results(archive, archive.report, plan.metric))
    return 0


if __name__ == "__main__":
    main()
