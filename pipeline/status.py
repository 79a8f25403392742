"""Show what is going on in a run, while it runs and after."""

import argparse
import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

from pipeline.assemble import make_cluster, view
from pipeline.cli import call, make_console, parser, run_paths, say
from pipeline.cluster.base import Cluster, Phase
from pipeline.config import ClusterKind
from pipeline.display import overview, progress, results, spent
from pipeline.errors import Refused
from pipeline.stages.account import statement
from pipeline.stages.decide import in_flight, trials_left
from pipeline.store.archive import Archive
from pipeline.store.ledger import Ledger


def main() -> None:
    """Entry point."""
    made = parser("status", "Show every candidate of a run.", "example:\n  python -m pipeline.status runs/NAME")
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the folder, ask Slurm where the jobs are there, and print it; nothing is written."""
    run, plan = view(run_paths(arguments.run))
    archive = run.reader.read()
    left = trials_left(plan, archive)
    now = progress(archive, plan.metric, plan.config.stop.generations, left, max(1, in_flight(archive)))
    on_slurm = plan.config.cluster.kind is ClusterKind.slurm and shutil.which("squeue") is not None
    cluster = make_cluster(run.paths, plan.config) if on_slurm else None
    costs = statement(plan.config, archive, cluster, plan.clock()).run
    spending = Ledger(archive.paths).spending()
    waiting = waiting_words(archive, cluster) if cluster is not None else {}
    if arguments.json:
        told = {
            "waiting": waiting,
            "account": dataclasses.asdict(costs),
            "language_model": dataclasses.asdict(spending),
        }
        print(json.dumps({**dataclasses.asdict(now), **told}, indent=2))
        return 0
    console = make_console()
    console.print(overview(archive, plan.metric, now))
    for words, count in waiting.items():
        say(console, f"{count} waiting: {words}")
    for words in spent(costs, spending):
        say(console, words)
    if archive.report is not None:
        console.print(results(archive, archive.report, plan.metric))
    return 0


def waiting_words(archive: Archive, cluster: Cluster) -> dict[str, int]:
    """Why jobs of the run wait, in the cluster's words with what to do, and how many for each reason."""
    jobs = [one.job.job_id for one in archive.flying() if one.job.job_id is not None]
    try:
        statuses = cluster.poll(jobs)
    except Refused as refused:
        return {f"Slurm does not say why ({refused})": len(jobs)}
    return dict(Counter(status.words for status in statuses.values() if status.phase is Phase.PENDING))


if __name__ == "__main__":
    main()
