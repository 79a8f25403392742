"""Measure what the controller makes of a cluster: `python -m tests.benchmarks [scheduling] [scale] [queries] [latency RUN]`.

Nothing is asserted. Numbers are ratios, counts or CPU time, so that a busy machine does not change what they say.
"""

import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline import loop
from pipeline.assemble import assemble, open_or_create
from pipeline.cluster.base import Work
from pipeline.cluster.slurm import SlurmCluster
from pipeline.compose import compose_config
from pipeline.records import (
    Claim,
    Ended,
    Failure,
    Idea,
    Implementation,
    Job,
    Kind,
    Parents,
    Resources,
    Result,
    Score,
    Selection,
    Smoke,
    Stage,
    Standing,
)
from pipeline.stages.base import Search
from pipeline.stages.decide import finishing
from pipeline.store import files
from pipeline.store.archive import read_archive
from pipeline.store.data import write_manifest
from tests.benchmarks.simulated import Clock, Numbered, SimulatedCluster, greedy_makespan
from tests.toy import CONF

TICK_S = 10.0
"""Pause between two looks, in the time of the simulation."""


def main(wanted: list[str]) -> None:
    print("| what | measured | target |\n|---|---|---|")
    if not wanted or "scheduling" in wanted:
        for line in scheduling():
            print(line, flush=True)
    if not wanted or "queries" in wanted:
        for line in queries():
            print(line, flush=True)
    if not wanted or "scale" in wanted:
        for line in scale():
            print(line, flush=True)
    if "latency" in wanted:
        print(latency(Path(wanted[-1])))


def search_in(folder: Path, clock: Clock, cluster: SimulatedCluster, *settings: str) -> Search:
    """A new run whose ideas cost nothing and whose smoke test does nothing."""
    data = folder / "data/toy/tiny"
    for part in ("train", "evaluator"):
        (data / part).mkdir(parents=True, exist_ok=True)
    write_manifest(data)
    given = [
        "baseline=toy", "scale=tiny", "cluster=local", "run=r", f"runs={folder / 'runs'}", f"data={folder / 'data'}",
        'baseline.commands.smoke=["true"]', "select.baseline_seeds=1", "select.elites=0", "implement.parallel=2",
        "train.disk_gb=0", "keep.checkpoints=none", *settings,
    ]  # fmt: skip
    config = compose_config(given, CONF)
    run, _ = open_or_create(config)
    made = assemble(run, config)
    return replace(made, clock=clock, cluster=cluster, ideator=Numbered(), implementer=Numbered())


def advance(search: Search, clock: Clock, cluster: SimulatedCluster) -> bool:
    """One look, and everything that it started is done; then time goes on. Tells whether the run is over."""
    cluster.settle()
    archive = loop.tick(search)
    while search.background.busy:
        time.sleep(0.005)
    clock.now += TICK_S
    return archive.report is not None and finishing(search, archive)


def scheduling(seeds: int = 1, candidates: int = 119, slots: int = 32, sigma: float = 0.5) -> Iterator[str]:
    """One generation and the baseline's trial, median length 20 minutes."""

    def length(rng: random.Random) -> float:
        return 1200 * math.exp(rng.gauss(0, sigma))

    used, spread = [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            clock = Clock()
            cluster = SimulatedCluster(clock, slots, length, seed)
            search = search_in(Path(folder), clock, cluster, f"ideate.candidates={candidates}", "stop.generations=1")
            advance(search, clock, cluster)  # implementing takes no time here, so that only scheduling is measured
            clock.now = 0.0
            while not advance(search, clock, cluster):
                pass
            spans = [span for span in cluster.spans if span[1] - span[0] > 0][: candidates + 1]
            last_start = max(start for start, _ in spans)
            busy = sum(min(end, last_start) - min(start, last_start) for start, end in spans)
            used.append(busy / (slots * last_start))
            best = greedy_makespan([end - start for start, end in sorted(spans)], slots)
            spread.append(max(end for _, end in spans) / best)
            archive = read_archive(search.run.paths.folder)
            unread = sum(candidate.score is None for candidate in archive.candidates)
            search.background.close()
    yield f"| slot time in use while candidates were left to start | {100 * min(used):.1f} % | ≥ 97 % |"
    yield f"| makespan against greedy list scheduling | {max(spread):.3f} | ≤ 1.05 |"
    yield f"| results unread | {unread} | 0 |"


def queries() -> Iterator[str]:
    """`squeue` and `sacct` are programs that count; ten minutes, a look each half second."""
    for jobs in (1, 32, 320):
        with tempfile.TemporaryDirectory() as name:
            folder, clock = Path(name), Clock()
            rows = "".join(f"{job}|RUNNING|None|n1|gw\\n" for job in range(1, jobs + 1))
            for program in ("squeue", "sacct"):
                path = folder / program
                path.write_text(
                    f'#!/bin/sh\necho >> {folder}/calls\nprintf "JOBID|STATE|REASON|NODELIST|NAME\\n{rows}"\n'
                )
                path.chmod(0o755)
            before = os.environ["PATH"]
            os.environ["PATH"] = f"{folder}:{before}"
            cluster = SlurmCluster(Work(print, folder, folder, Resources(), {}), jobs, clock=clock)
            for _ in range(1200):
                cluster.poll([str(job) for job in range(1, jobs + 1)])
                clock.now += 0.5
            os.environ["PATH"] = before
            calls = len((folder / "calls").read_text().splitlines())
            yield f"| Slurm queries a second with {jobs} jobs | {calls / 600:.3f} | ≤ 0.1 |"


def scale() -> Iterator[str]:
    """One more generation of 32 on an archive of many, its processes of smoke tests left out: this process alone."""
    counted = [0]
    events = {"open", "os.listdir", "os.scandir", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}

    def count(event: str, _: object) -> None:
        if event in events:
            counted[0] += 1

    sys.addaudithook(count)
    for candidates in (100, 1000, 10000):
        with tempfile.TemporaryDirectory() as folder:
            clock = Clock(1e9)
            cluster = SimulatedCluster(clock, 32, lambda rng: 600 * math.exp(rng.gauss(0, 0.5)))
            generations = candidates // 100
            more = ("ideate.candidates=100", f"stop.generations={generations}")
            search = search_in(Path(folder), clock, cluster, *more, "stop.candidates=0")
            past(search, generations)
            search.archive()  # a controller reads the past once, when it starts
            new = replace(
                search,
                config=replace(
                    search.config,
                    ideate=replace(search.config.ideate, candidates=32),
                    stop=replace(search.config.stop, generations=generations + 1),
                ),
            )
            counted[0], cpu, looks = 0, time.process_time(), 0
            while not advance(new, clock, cluster):
                clock.now += 28  # a look each half minute of trials of ten minutes
                looks += 1
            cpu_ms = 1000 * (time.process_time() - cpu) / 32
            new.background.close()
            yield (
                f"| CPU and file operations of the controller a candidate, archive of {candidates} | "
                f"{cpu_ms:.0f} ms, {counted[0] / 32:.0f} ({looks} looks) | flat |"
            )


def past(search: Search, generations: int) -> None:
    """An archive of 100 candidates in a generation, the first half of them scored (none of them a parent), the others
    failed; each trial took ten minutes and was over an hour before the next generation's."""
    for number in range(generations):
        paths = search.run.paths.generation(number)
        paths.folder.mkdir()
        files.create(paths.parents, Parents())
        ended = search.clock() - 3600.0 * (generations - number)
        for k in range(100):
            name = f"past {number}/{k}"
            candidate = paths.candidate(k)
            write(candidate.idea, Idea(name, "It was.", "explore"))
            if k < 50:
                attempt = candidate.attempt(0)
                write(attempt.implementation, Implementation("benchmark", ("settings.py",), name))
                write(attempt.smoke, Smoke(1.0))
                trial = attempt.trial(0)
                score = Score("squared error", 1.0 + k, 0.01, 100, "validation", 0)
                write(trial.try_(0).job, Job(name, 0, "validation", job_id=name, submitted_at=ended - 700))
                write(trial.try_(0).claim, Claim(name, "n1", 1, ended - 600))
                result = Result(Ended.SCORED, score, host="n1", started_at=ended - 600, ended_at=ended)
                write(trial.try_(0).result, result)
                write(trial.score, score)
            else:
                write(candidate.failure, Failure(Stage.IMPLEMENT, Kind.REFUSED, f"no {name}"))
        files.create(paths.selection, Selection((), Standing("baseline", 1.0, 0.1, 1), 0.0, (), ()))


def write(path: Path, record: object) -> None:
    """A file of the past: not synced to the disk, which would take the benchmark hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(files.to_json(record))


def latency(run: Path) -> str:
    """From the end of a job, by its own clock, to its score in the archive, in a run that is over."""
    waits = [
        trial.paths.score.stat().st_mtime - trial.tries[-1].result.ended_at
        for holder in read_archive(run).holders()
        for trial in holder.all_trials()
        if trial.score is not None and trial.tries[-1].result is not None
    ]
    middle = statistics.median(waits)
    return f"| seconds from the end of a job to its score, {len(waits)} trials | median {middle:.1f} | ≤ 5 |"


if __name__ == "__main__":
    main(sys.argv[1:])
