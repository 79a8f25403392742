"""Show the progress of a run, during and after it."""

import argparse
import dataclasses
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cluster.base import Cluster, Phase
from pipeline.commands.display import candidate_table, choose, learning, listed, results, spent
from pipeline.commands.page import current_page, lines, open_holdups
from pipeline.commands.progress import progress, summary_line
from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.errors import BadInput, ClusterRefused, GroundworkError
from pipeline.methods.base import Terms
from pipeline.policy.accounting import Account, RunAccount, account_of_run
from pipeline.report.isolation import warnings
from pipeline.report.posterior import POOL, ranked
from pipeline.report.standings import baseline_estimate, knowledge, standing
from pipeline.setup.build import learns, make_cluster, view
from pipeline.setup.places import all_runs, candidate_at, place_of, run_at
from pipeline.stages.learn import steps_measured, under_way
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths, short
from pipeline.store.run import Holder, Run, held_by
from pipeline.store.views import Candidate
from pipeline.text import plain, plain_line

_MOST_ROWS = 60
_HEAD_LINES = 12
_LOG_LINES = 30


def main() -> None:
    """Entry point."""
    made = parser(
        "status",
        "Show the progress and the candidates of a run.",
        "examples:\n  python -m pipeline status\n  python -m pipeline status runs/NAME --best 10",
    )
    made.add_argument(
        "run",
        type=Path,
        nargs="?",
        help="a run folder or name, or a group of runs; without it, all runs in runs/ are listed",
    )
    which = made.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help=f"list all candidates, not only {_MOST_ROWS}")
    which.add_argument("--failed", action="store_true", help="list the failed candidates with their reasons")
    which.add_argument("--best", type=int, metavar="N", help="list the best N candidates")
    which.add_argument("--watch", action="store_true", help="live view: scroll, sort, follow a candidate's newest log")
    made.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the run folder, query Slurm about its jobs, and print. Nothing is written."""
    group = str(arguments.run) if arguments.run is not None and not place_of(arguments.run).exists() else ""
    runs = [paths for paths in all_runs() if group_of(paths) == group] if group else all_runs()
    if arguments.run is None or (group and runs):
        return _list_runs(runs, arguments.json)
    run, terms = view(run_at(arguments.run))
    if arguments.watch and not arguments.json and sys.stdout.isatty():
        return _watch(run, terms)
    archive = run.reader.read()
    if arguments.failed or arguments.best is not None:
        return _list_some(archive, terms, arguments)
    now = progress(terms, archive, max(1, len(archive.in_flight())), started_at(run.paths))
    on_slurm = terms.config.cluster.unattended and shutil.which("squeue") is not None
    cluster = make_cluster(run.paths, terms.config) if on_slurm else None
    costs = costs_of(terms, archive)
    spending, steps = Ledger(archive.paths).spending(), steps_measured(archive)
    waiting = waiting_reasons(archive, cluster) if cluster is not None else {}
    if arguments.json:
        more = {
            "waiting": waiting,
            "holdups": [dataclasses.asdict(one) for one in open_holdups(run.paths)],
            "account": dataclasses.asdict(costs),
            "language_model": dataclasses.asdict(spending),
            **({"learning": [dataclasses.asdict(one) for one in steps]} if steps else {}),
        }
        print(json.dumps({**dataclasses.asdict(now), **more}, indent=2))
        return 0
    console = make_console()
    page = current_page(terms, archive, now)
    for shown in lines(replace(page, parts=page.parts[:1]), console.width, None):
        console.print(shown, soft_wrap=True)
    if not now.finished and not held_by(run.paths):
        say(
            console,
            "no controller holds this run: nothing new is started until it is resumed",
        )
    chosen = choose(archive, terms.metric, None if arguments.all else _MOST_ROWS)
    console.print(candidate_table(archive, terms.metric, chosen))
    if archive.count > len(chosen):
        say(console, f"{archive.count - len(chosen)} other candidates are not shown; list all with --all")
    for reason, count in waiting.items():
        say(console, f"{count} waiting: {reason}")
    for line in spent(costs, spending):
        say(console, line)
    for line in learning(steps):
        say(console, line)
    if learns(terms.config) and (awaited := under_way(terms.config, archive)):
        say(console, awaited)
    if archive.report is not None:
        console.print()
        console.print(results(archive, archive.report, terms.metric))
    return 0


def group_of(paths: RunPaths) -> str:
    """The group of a run; empty if it has none or is unreadable."""
    try:
        return str((files.read_if_there(paths.live, dict) or {}).get("group", ""))
    except GroundworkError:
        return ""


def _watch(run: Run, terms: Terms) -> int:
    """Show the run in a live view until the user quits. Raises `BadInput` if Textual is missing."""
    try:
        from pipeline.commands.watch import Line, Watch
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed; pip install textual, or leave --watch out") from error

    def read() -> tuple[str, list[Line]]:
        archive = run.reader.read()
        now = progress(terms, archive, max(1, len(archive.in_flight())), started_at(run.paths))
        page = current_page(terms, archive, now)
        head = lines(replace(page, parts=page.parts[:1]), 200, _HEAD_LINES)
        return "\n".join(line.plain for line in head), [Line(*_line(archive, terms, one)) for one in archive.candidates]

    def detail(name: str) -> str:
        _, candidate_id = candidate_at(run.paths.folder / name)
        return "\n".join(_details(run.reader.read().candidate(candidate_id)))

    Watch(read, detail).run()
    return 0


def _line(
    archive: Archive, terms: Terms, candidate: Candidate
) -> tuple[str, float | None, float | None, tuple[str, ...]]:
    """The fields of a `watch.Line`: name, goodness and gain to sort by, cells."""
    score, reference = candidate.score, baseline_estimate(archive)
    row = standing(terms.metric, "", [score], reference) if score is not None and reference is not None else None
    state = candidate.failure.kind.value if candidate.failure is not None else candidate.state.value
    value = terms.metric.text(score.value) if score is not None else ""
    gain = terms.metric.text_gain(row.gain) if row is not None else ""
    cells = (short(candidate.id), state, value, gain, plain_line(candidate.idea.title))
    good = terms.metric.goodness(score.value) if score is not None else None
    return short(candidate.id), good, row.gain if row is not None else None, cells


def _details(candidate: Candidate) -> Iterator[str]:
    """Lines about a candidate: its idea, why it failed, the end of its newest log."""
    yield plain_line(candidate.idea.title)
    yield plain(candidate.idea.text)
    if candidate.failure is not None:
        yield f"failed: {plain_line(candidate.failure.reason.partition(chr(10))[0])}"
    tries = list(candidate.tries())
    if tries:
        yield files.tail(tries[-1].paths.train_log, _LOG_LINES) or "nothing in train.log"


def _list_runs(runs: Sequence[RunPaths], as_json: bool) -> int:
    """List runs, one line each, including unreadable ones (another format, or damaged)."""
    console, rows = make_console(), list[dict[str, Any]]()
    for paths in runs:
        try:
            run, terms = view(paths)
            archive = run.reader.read()
            now, holder = progress(terms, archive, max(1, len(archive.in_flight()))), held_by(paths)
        except GroundworkError as error:
            row, line = {"run": paths.folder.name, "error": str(error)}, f"{paths.folder.name}  [unreadable]  {error}"
        else:
            state = "finished" if now.finished else f"running, {holder}" if holder else "stopped"
            row = {**dataclasses.asdict(now), "held_by": holder}
            line = f"{now.run}  [{state}]  {summary_line(now, terms.metric)}"
        rows.append(row)
        if not as_json:
            say(console, line)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        say(console, "no runs in runs/; start one with: python -m pipeline.run +experiment=evolve_posttrain scale=tiny")
    return 0


def _list_some(archive: Archive, terms: Terms, arguments: argparse.Namespace) -> int:
    """List the best candidates, or the failed ones with their reasons."""
    if arguments.failed:
        chosen = [one for one in archive.candidates if one.failure is not None]
    else:
        ranking = ranked(archive, terms.metric, knowledge(archive), max(POOL, arguments.best))
        chosen = [one for one, _ in ranking[: arguments.best]]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in map(listed, chosen)], indent=2))
        return 0
    console = make_console()
    console.print(candidate_table(archive, terms.metric, chosen))
    for line in warnings(archive.index.sandboxes):
        say(console, line)
    for candidate in chosen if arguments.failed else ():
        assert candidate.failure is not None
        say(console, f"{short(candidate.id)}: {candidate.failure.reason.splitlines()[0]}")
    return 0


def started_at(paths: RunPaths) -> float | None:
    """When the controller that holds the run started, in seconds since 1970; none if the run is not locked."""
    holder = files.read_if_there(paths.controller, Holder)
    return holder.started / 100 if holder is not None and held_by(paths) else None


def costs_of(terms: Terms, archive: Archive) -> Account:
    """Device hours of a run: by the cluster's accounting if the run is finished, else by the jobs' own clocks."""
    written = files.read_if_there(archive.paths.account, RunAccount) if archive.report is not None else None
    return written.run if written is not None else account_of_run(terms.config, archive, {}, terms.clock())


def waiting_reasons(archive: Archive, cluster: Cluster) -> dict[str, int]:
    """Number of waiting jobs by reason as the cluster states it."""
    jobs = [one.job.job_id for one in archive.in_flight() if one.job.job_id is not None]
    try:
        statuses = cluster.poll(jobs)
    except ClusterRefused as refused:
        return {f"Slurm gives no reason ({refused})": len(jobs)}
    return dict(Counter(status.reason for status in statuses.values() if status.phase is Phase.PENDING))
