"""Show the progress of a run, during and after it."""

import argparse
import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

from pipeline.cluster.base import Cluster, Phase
from pipeline.commands.display import overview, progress, results, spent
from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.errors import ClusterRefused
from pipeline.methods.base import Terms
from pipeline.policy.accounting import Account, RunAccount, account_of_run
from pipeline.policy.agenda import trials_left
from pipeline.setup.build import make_cluster, view
from pipeline.setup.places import run_at
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.ledger import Ledger

_MOST_ROWS = 60


def main() -> None:
    """Entry point."""
    made = parser(
        "status", "Show the progress and the candidates of a run.", "example:\n  python -m pipeline status runs/NAME"
    )
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--all", action="store_true", help=f"list every candidate, not only {_MOST_ROWS} of a large run")
    made.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the folder, query Slurm for the jobs there, and print. Nothing is written."""
    run, terms = view(run_at(arguments.run))
    archive = run.reader.read()
    left = trials_left(terms, archive)
    now = progress(archive, terms.metric, terms.config.stop.generations, left, max(1, len(archive.in_flight())))
    on_slurm = terms.config.cluster.unattended and shutil.which("squeue") is not None
    cluster = make_cluster(run.paths, terms.config) if on_slurm else None
    costs = _costs(terms, archive)
    spending = Ledger(archive.paths).spending()
    waiting = waiting_reasons(archive, cluster) if cluster is not None else {}
    if arguments.json:
        more = {
            "waiting": waiting,
            "account": dataclasses.asdict(costs),
            "language_model": dataclasses.asdict(spending),
        }
        print(json.dumps({**dataclasses.asdict(now), **more}, indent=2))
        return 0
    console = make_console()
    console.print(overview(archive, terms.metric, now, None if arguments.all else _MOST_ROWS))
    for reason, count in waiting.items():
        say(console, f"{count} waiting: {reason}")
    for line in spent(costs, spending):
        say(console, line)
    if archive.report is not None:
        console.print(results(archive, archive.report, terms.metric))
    return 0


def _costs(terms: Terms, archive: Archive) -> Account:
    """Device hours by the jobs' own clocks; of a finished run by the cluster's accounts."""
    written = files.read_if_there(archive.paths.account, RunAccount) if archive.report is not None else None
    return written.run if written is not None else account_of_run(terms.config, archive, {}, terms.clock())


def waiting_reasons(archive: Archive, cluster: Cluster) -> dict[str, int]:
    """Number of waiting jobs by reason, as the cluster states it, with a remedy."""
    jobs = [one.job.job_id for one in archive.in_flight() if one.job.job_id is not None]
    try:
        statuses = cluster.poll(jobs)
    except ClusterRefused as refused:
        return {f"Slurm gives no reason ({refused})": len(jobs)}
    return dict(Counter(status.reason for status in statuses.values() if status.phase is Phase.PENDING))
