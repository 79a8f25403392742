"""What a sandbox adds to a trial: `python -m tests.benchmarks sandbox_cost`.

A short command, and a whole trial of the toy baseline (training and scoring, a sandbox for each), run under each kind
in turn, paired with a run without a sandbox. The table shows the median of the differences and the ratio of the
medians. CPU time is that of all processes; a busy machine affects it less than wall time.
"""

import functools
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.job.trial import perform
from pipeline.records import Job
from pipeline.sandbox.auto import kinds
from pipeline.sandbox.base import Access, Command, RunLimits, Sandbox, allowed_environment, make_sandbox
from pipeline.setup.build import data_path
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.store import files
from pipeline.store.run import Run
from tests.toy import CONF, program

ROUNDS = 20
TRIALS = 6
Taken = dict[str, list[tuple[float, float]]]
"""CPU and wall seconds of each round, by kind."""


@functools.cache
def names() -> list[str]:
    """`none` and the kinds that work on this machine."""
    return ["none", *(name for name, trouble in reversed(kinds().items()) if not trouble)]


def report() -> Iterator[str]:
    """A table, line by line."""
    yield "| sandbox | | CPU time added | ratio to `none` | wall time added | ratio to `none` |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        data = ["baseline=toy", "scale=tiny", f"data={folder}/data", f"runs={folder}/runs"]
        program("prepare", "--config-dir", str(CONF), *data).ok()
        runs = {}
        for kind in names():
            config = compose_config([*data, f"run={kind}", f"train.sandbox={kind}"], CONF)
            runs[kind], _ = open_or_create(config)
        boxes = {kind: make_sandbox(run.config.train.sandbox) for kind, run in runs.items()}
        commands = _taken(ROUNDS, lambda kind: _command(boxes[kind], Path(folder)))
        trials = _taken(TRIALS, lambda kind: _trial(runs[kind], data_path(config)))
    for what, taken in (("a command", commands), ("a trial of the toy", trials)):
        for kind in names()[1:]:
            cells = (cell for clock in (0, 1) for cell in _compared(taken, kind, clock))
            yield f"| `{kind}` | {what} | {' | '.join(cells)} |"


def _taken(rounds: int, work: Callable[[str], None]) -> Taken:
    taken: Taken = {kind: [] for kind in names()}
    for _ in range(rounds):
        for kind in names():
            before = (_cpu_s(), time.monotonic())
            work(kind)
            taken[kind].append((_cpu_s() - before[0], time.monotonic() - before[1]))
    return taken


def _cpu_s() -> float:
    """CPU time of the child processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compared(taken: Taken, kind: str, clock: int) -> tuple[str, str]:
    ours, bare = ([one[clock] for one in taken[name]] for name in (kind, "none"))
    added = statistics.median(here - there for here, there in zip(ours, bare, strict=True))
    return f"{1000 * added:.0f} ms", f"{statistics.median(ours) / statistics.median(bare):.2f}"


def _command(sandbox: Sandbox, folder: Path) -> None:
    command = Command([sys.executable, "-S", "-c", "pass"], folder, allowed_environment(), folder / "log")
    outcome = sandbox.run(command, Access(write=(folder,)), RunLimits(60.0, 1.0))
    assert outcome.good


def _trial(run: Run, data: Path) -> None:
    trial = run.paths.baseline.trial(0)
    paths = trial.try_(0)
    shutil.rmtree(trial.folder, ignore_errors=True)
    paths.folder.mkdir(parents=True)
    job = Job("cost", 0, "validation")
    files.create(paths.job, job)
    result = perform(run, paths, job, data)
    assert result.score is not None, result.failure
