"""Measure how well the controller uses a cluster, and the claims of its statistics: `python -m tests.benchmarks
[scheduling] [scale] [queries] [analysis] [latency RUN]`, `python -m tests.benchmarks claims [SEARCHES]`; what a sandbox
costs: `python -m tests.benchmarks sandbox_cost`. Search methods are compared by `python -m tests.benchmarks search
FILE`, rules that stop trainings by `python -m tests.benchmarks early RUN`.

Nothing is asserted. Results are ratios, counts or CPU time, so that a busy machine affects them little.
"""

import json
import math
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.load import load
from analysis.report import report
from pipeline import loop
from pipeline.cluster.base import Work
from pipeline.cluster.slurm import SlurmCluster
from pipeline.commands.view import Door
from pipeline.config import ClusterConfig
from pipeline.llm.base import Trouble
from pipeline.makers.bank_ideator import BankIdeator
from pipeline.makers.base import Brief, Tools
from pipeline.makers.llm_ideator import LlmIdeator
from pipeline.patching.trees import Entry, diff, read_tree
from pipeline.policy.agenda import elites
from pipeline.records import (
    Change,
    Claim,
    Completion,
    Ended,
    Failure,
    FailureKind,
    Idea,
    Implementation,
    Job,
    Knowledge,
    Parents,
    Prompt,
    Resources,
    Result,
    Score,
    Selection,
    Smoke,
    Stage,
    Standing,
)
from pipeline.report.posterior import ranked
from pipeline.report.standings import knowledge
from pipeline.setup.build import code_reader, context_of
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.data import write_manifest
from pipeline.store.reader import read_archive
from pipeline.store.views import Candidate
from tests.benchmarks import claims, early, sandbox_cost
from tests.benchmarks.search import run_all, tables
from tests.benchmarks.simulated import Clock, Numbered, SimulatedCluster, greedy_makespan
from tests.toy import CONF

TICK_S = 10.0
"""Time between two polls, in simulated time."""


def main(wanted: list[str]) -> None:
    if wanted[:1] == ["claims"]:
        for line in claims.report(*map(int, wanted[1:])):
            print(line, flush=True)
        return
    if wanted[:1] == ["sandbox_cost"]:
        for line in sandbox_cost.report():
            print(line, flush=True)
        return
    if wanted[:1] == ["search"]:
        file = place(wanted, "FILE")
        run_all(file)
        print("\n".join(tables(file)))
        return
    if wanted[:1] == ["early"]:
        for line in early.report(place(wanted, "RUN")):
            print(line)
        return
    finished = place(wanted[wanted.index("latency") :], "RUN") if "latency" in wanted else None
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
    if "analysis" in wanted:
        for line in analysis():
            print(line, flush=True)
    if finished is not None:
        print(latency(finished))


def place(wanted: list[str], name: str) -> Path:
    """The path that follows the name of a benchmark. Exits with 2 and the usage if there is none."""
    if len(wanted) != 2:
        print(f"usage: python -m tests.benchmarks {wanted[0]} {name}", file=sys.stderr)
        raise SystemExit(2)
    return Path(wanted[1])


def search_in(folder: Path, clock: Clock, cluster: SimulatedCluster, *settings: str, idea_s: float = 0.0) -> Context:
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
    makers = Numbered(clock, idea_s)
    return replace(context_of(run, config), clock=clock, cluster=cluster, ideator=makers, implementer=makers)


def advance(context: Context, clock: Clock, cluster: SimulatedCluster, tick_s: float = TICK_S) -> bool:
    """Tick until nothing is left to do at this time, then advance the time. Returns whether the run is over."""
    cluster.settle()
    archive = loop.tick(context)
    while context.background.busy or context.run.reader.changed:
        while context.background.busy:
            context.background.done.wait(1.0)
            context.background.done.clear()
        archive = loop.tick(context)
    clock.now += tick_s
    return loop.is_over(context, archive)


def scheduling(candidates: int = 50, slots: int = 64) -> Iterator[str]:
    """A whole search of three generations, with trials of ten minutes (median), in each mode; the steady mode also with
    a larger spread of run times and with ideas that take a minute."""
    for mode, sigma, idea_s in (
        ("generational", 0.5, 0.0),
        ("steady", 0.5, 0.0),
        ("generational", 0.8, 60.0),
        ("steady", 0.8, 60.0),
    ):
        used, makespan, unread = whole_search(mode, sigma, idea_s, candidates, slots)
        what = f"{mode}, σ of run times {sigma}, {idea_s:.0f} s an idea"
        targets = ("≥ 95 %", "≤ 1.1") if mode == "steady" else ("–", "–")
        yield f"| slot time in use from the first submission to the last start: {what} | {100 * used:.1f} % | {targets[0]} |"
        yield f"| makespan against greedy list scheduling: {what} | {makespan:.3f} | {targets[1]} |"
        yield f"| results that no decision has seen: {what} | {unread} | 0 |"


def whole_search(mode: str, sigma: float, idea_s: float, candidates: int, slots: int) -> tuple[float, float, int]:
    """Share of slot time in use, makespan over that of greedy scheduling, and results unread."""

    def length(rng: random.Random) -> float:
        return 600 * math.exp(rng.gauss(0, sigma))

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(1e9)
        cluster = SimulatedCluster(clock, slots, length)
        more = (f"ideate.candidates={candidates}", "stop.generations=3", f"search.mode={mode}")
        context = search_in(Path(folder), clock, cluster, *more, idea_s=idea_s)
        while not advance(context, clock, cluster, 1.0):
            pass
        context.background.close()
        spans = cluster.trained  # scoring on the test split comes after the search
        first, last = min(start for start, _ in spans), max(start for start, _ in spans)
        busy = sum(min(end, last) - start for start, end in spans)
        lengths = [end - start for start, end in sorted(spans)]
        makespan = (max(end for _, end in spans) - first) / greedy_makespan(lengths, slots)
        archive = read_archive(context.run.paths.folder)
        seen = max(one.selection.seen.outcomes for one in archive.generations if one.selection is not None)
        return busy / (slots * (last - first)), makespan, archive.count - seen


def queries() -> Iterator[str]:
    """`squeue` and `sacct` are programs that count their calls; ten minutes, a poll every half second."""
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
            config = ClusterConfig(max_parallel=jobs)
            cluster = SlurmCluster(Work(print, folder, folder, Resources(), {}), config, clock)
            for _ in range(1200):
                cluster.poll([str(job) for job in range(1, jobs + 1)])
                clock.now += 0.5
            os.environ["PATH"] = before
            calls = len((folder / "calls").read_text().splitlines())
            yield f"| Slurm queries a second with {jobs} jobs | {calls / 600:.3f} | ≤ 0.1 |"


SIZES = (100, 1000, 10_000, 100_000)


def scale(sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """One more generation of 32 on large archives: ideas of the bank and prompts with history, standings, twins,
    accounts. File operations are those in the run folder, without those of its jobs. Code is written and smoke-tested
    in threads beside the ticks, at a cost that does not depend on the archive. Each size runs in a process of its own,
    whose memory is reported."""
    for candidates in sizes:
        code = f"from tests.benchmarks.__main__ import one_scale; one_scale({candidates})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        yield done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr}"


def one_scale(candidates: int) -> None:
    """Print the row of one size."""
    counted = [0]
    events = {"open", "os.listdir", "os.scandir", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
    runs = [""]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in events and not cluster.at_work and str(arguments[0]).startswith(runs[0]):
            counted[0] += 1

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(1e9)
        cluster = SimulatedCluster(clock, 32, lambda rng: 600 * math.exp(rng.gauss(0, 0.5)))
        generations, runs[0] = candidates // 100, f"{folder}/runs"
        more = ("ideate.candidates=32", f"stop.generations={generations + 1}", "llm.kind=replay")
        context = search_in(Path(folder), clock, cluster, *more)
        past(context, generations)
        started = time.process_time()
        # As a restarted controller: once from the files, to write the summaries that it would have, then from these.
        context.run.own()
        context.run.reader.read()
        from_files_s = time.process_time() - started
        started = time.process_time()
        context.run.own()
        context.run.reader.read()
        from_summaries_s = time.process_time() - started
        archive = context.run.reader.read()
        newest = archive.generations[-1].selection
        assert newest is not None
        # Once, as when a controller starts: the prior is fitted; later fits are rare.
        estimates_s = spent_s(lambda: (elites(context, archive), ranked(archive, context.metric, newest.seen)))
        context = replace(context, ideator=Both(context))
        sys.addaudithook(count)
        counted[0], ticks, everything, looks = 0, time.thread_time(), time.process_time(), 0
        while not advance(context, clock, cluster, 30.0):  # a poll every half minute of trials of ten minutes
            looks += 1
        ticks_ms, all_ms = (
            1000 * spent / 32 for spent in (time.thread_time() - ticks, time.process_time() - everything)
        )
        operations = counted[0] / 32
        context.background.close()
        memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        shown = [python_s("status", context.run.paths.folder)]
        shown.append(python_s("show", context.run.paths.generation(0).candidate(1).folder))
    print(
        f"| archive of {candidates:,}: CPU of all ticks and file operations a candidate ({looks} looks) | "
        f"{ticks_ms:.1f} ms, {operations:.0f} | ≤ 10 ms, ≤ 100 |\n"
        f"| archive of {candidates:,}: the same with writing and smoke-testing variants | {all_ms:.1f} ms | – |\n"
        f"| archive of {candidates:,}: memory; CPU to read it from files, from summaries; to estimate | "
        f"{memory_gb:.2f} GB; {from_files_s:.1f} s, {from_summaries_s:.1f} s; {estimates_s:.1f} s | ≤ 1 GB |\n"
        f"| archive of {candidates:,}: CPU of `status`, of `show` | {shown[0]:.1f} s, {shown[1]:.1f} s | ≤ 2 s at 10,000 |"
    )


def python_s(command: str, place: Path) -> float:
    """CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "pipeline", command, str(place)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def analysis(candidates: int = 10_000) -> Iterator[str]:
    """Tables, report and live page of a large archive, without cached tables."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Clock(1e9)
        context = search_in(folder, clock, SimulatedCluster(clock, 32, lambda rng: 600.0), "llm.kind=replay")
        past(context, candidates // 100)
        run = context.run.paths.folder
        context.background.close()
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        yield f"| tables of {candidates:,}, cold from files | {spent_s(lambda: load(run)):.1f} s | ≤ 5 s |"
        context.run.own()
        context.run.reader.read()  # writes the summaries
        yield f"| tables of {candidates:,}, cold from summaries | {spent_s(lambda: load(run)):.1f} s | ≤ 5 s |"
        yield f"| tables of {candidates:,}, warm | {spent_s(lambda: load(run)):.1f} s | ≤ 1 s |"
        memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        yield f"| memory after that, with the archive | {memory_gb:.2f} GB | ≤ 1 GB |"
        took_s = spent_s(lambda: report(run, output=folder / "report.html"))
        size_mb = (folder / "report.html").stat().st_size / 1e6
        yield f"| report of {candidates:,} | {size_mb:.1f} MB, {took_s:.1f} s | ≤ 20 MB |"
        door = Door(context.run.paths)
        first_s, later_s = spent_s(lambda: door.state(run.name)), spent_s(lambda: door.state(run.name))
        yield f"| live page of {candidates:,}: first reading, a refresh | {first_s:.1f} s, {later_s:.2f} s | ≤ 0.3 s |"


def spent_s(work: Callable[[], object]) -> float:
    """CPU seconds of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


class Canned:
    """A language model whose answer to every prompt is ten new ideas."""

    trouble: Trouble | None = None
    delay: Trouble | None = None

    def __init__(self) -> None:
        self.prompts, self._rng = 0, random.Random(0)

    def _word(self) -> str:
        return "".join(self._rng.choices("abcdefgh", k=6))

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        self.prompts += 1
        ideas = [
            {
                "title": f"{self.prompts}.{k}",
                "text": " ".join("".join(self._rng.choices("abcdefgh", k=6)) for _ in range(60)),
            }
            for k in range(10)
        ]
        parents = re.findall(r"^(g\d+/c\d+): ", prompt.messages[-1].text, re.M)
        for idea in ideas:
            idea["parents"] = parents[:1]  # type: ignore[assignment]
        return Completion(json.dumps(ideas), "stop", "canned")


class Both:
    """Each idea comes from the bank, and for each batch the language model's prompt is also made and its answer
    read."""

    needs_model = slow = False

    def __init__(self, context: Context) -> None:
        tools = Tools(context.config, context.metric, context.run.paths.ideas, code_reader(context.run.paths), Canned())
        self._bank, self._llm = BankIdeator(tools), LlmIdeator(tools)
        archive = context.run.reader.read()  # done once when a controller starts
        ranked(archive, context.metric, knowledge(archive))
        self._llm._known.update(archive, archive.complete)
        if archive.newest is not None:
            self._bank._tried.update(Brief(archive, archive.newest, (), 0, False, range(0)))

    def propose(self, brief: Brief) -> Idea:
        if brief.number % 10 == 0:
            self._llm.propose(brief)
        return self._bank.propose(brief)

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        self._bank.learn(outcomes)


def past(context: Context, generations: int) -> None:
    """An archive with 100 candidates per generation: half of them scored, a tenth duplicates of others, the rest failed
    in training or before; ideas of typical length that change settings and build on the previous generation."""
    rng, order = random.Random(0), 0
    tree = read_tree(context.run.paths.pristine)
    assert isinstance(tree, dict)
    text = tree["settings.py"].data.decode().replace("batch: int = 4", "batch: int = 8")
    patch = diff(tree, {**tree, "settings.py": Entry(text.encode())})
    for number in range(generations):
        paths = context.run.paths.generation(number)
        paths.folder.mkdir()
        known = Knowledge(order, number, Standing("baseline", 1.0, 0.05, 3), 0.05)
        before = [f"generation_{number - 1:03d}/candidate_{k:03d}" for k in (0, 2, 4, 6)] if number else []
        write(paths.parents, Parents(tuple(before), 0.5 if before else 0.0, 100, (), known))
        ended = context.clock() - 3600.0 * (generations - number)
        for k in range(100):
            order += 1
            parents = (rng.choice(before),) if before and k < 50 else ()
            change = Change(settings={"learning_rate": rng.random(), "momentum": rng.random()})
            text = " ".join(f"{rng.choice(WORDS)}{rng.randrange(400)}" for _ in range(80))
            candidate, name = paths.candidate(k), f"idea {number}.{k}"
            write(candidate.idea, Idea(name, text, "exploit" if parents else "explore", parents, change=change))
            if k % 10 == 9:
                twin = f"generation_{number:03d}/candidate_{k - 9:03d}/attempt_0"
                reason = f"the same code as g{number}/c{k - 9}"
                write(
                    candidate.failure,
                    replace(FAILED, kind=FailureKind.DUPLICATE, reason=reason, twin=twin, order=order),
                )
                continue
            attempt = candidate.attempt(0)
            write(attempt.implementation, Implementation("benchmark", ("settings.py",), name))
            attempt.patch.write_text(patch)
            write(attempt.smoke, Smoke(1.0))
            trial = attempt.trial(0)
            write(trial.try_(0).job, Job(name, 0, "validation", job_id=name, submitted_at=ended - 700))
            write(trial.try_(0).claim, Claim(name, "n1", 1, ended - 600))
            if k % 2 == 0:
                score = Score("squared error", 1.2 - 0.3 * rng.random(), 0.01, 100, "validation", 0, order=order)
                write(
                    trial.try_(0).result,
                    replace(SCORED, score=score, host="n1", started_at=ended - 600, ended_at=ended),
                )
                write(trial.score, score)
            else:
                failure = replace(
                    FAILED, reason="exit code 1: ValueError: no\n" + "a line of a log\n" * 12, try_="try_0"
                )
                result = Result(Ended.FAILED, failure=failure, host="n1", started_at=ended - 600, ended_at=ended)
                write(trial.try_(0).result, result)
                for place in (trial.failure, attempt.failure):
                    write(place, failure)
                write(candidate.failure, replace(failure, attempt="attempt_0", order=order))
        known = Knowledge(order, number + 1, known.baseline, 0.05)
        write(
            paths.selection, Selection(tuple(f"generation_{number:03d}/candidate_{k:03d}" for k in (0, 2, 4, 6)), known)
        )


WORDS = ("loss", "clip", "warm", "rank", "batch", "norm", "rate", "gate", "head", "token", "mask", "seed")
FAILED = Failure(Stage.TRAIN, FailureKind.EXCEPTION, "")
SCORED = Result(Ended.SCORED, versions={"python": "3.11.7", "torch": "2.13.0", "transformers": "5.0.0"})


def write(path: Path, record: object) -> None:
    """Write a file of the past, without syncing it to disk, which would take the benchmark hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(files.to_json(record))


def latency(run: Path) -> str:
    """From the end of a job, by its own clock, to its score in the archive, for a finished run."""
    waits = [
        trial.paths.score.stat().st_mtime - trial.tries[-1].result.ended_at
        for holder in read_archive(run).holders()
        for trial in holder.trials
        if trial.score is not None and trial.tries[-1].result is not None
    ]
    middle = statistics.median(waits)
    return f"| seconds from the end of a job to its score, {len(waits)} trials | median {middle:.1f} | ≤ 5 |"


if __name__ == "__main__":
    main(sys.argv[1:])
