"""What a sandbox adds to a trial: `python -m tests.benchmarks sandbox_cost`.

A short command, and a whole trial of the toy baseline (training and scoring, a sandbox for each), run under each kind in
turn and are compared with the run without a sandbox beside it: the median of the differences of wall time, and the ratio
of the medians.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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
TRIALS = 8
NAMES = ["none", *(name for name, trouble in reversed(kinds().items()) if not trouble)]


def report() -> Iterator[str]:
    """A table, line by line."""
    yield "| sandbox | added to a command | ratio to `none` | added to a trial of the toy | ratio to `none` |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        data = ["baseline=toy", "scale=tiny", f"data={folder}/data", f"runs={folder}/runs"]
        program("prepare", "--config-dir", str(CONF), *data).ok()
        runs = {}
        for kind in NAMES:
            config = compose_config([*data, f"run={kind}", f"train.sandbox={kind}"], CONF)
            runs[kind], _ = open_or_create(config)
        boxes = {kind: make_sandbox(run.config.train.sandbox) for kind, run in runs.items()}
        commands = _taken(ROUNDS, lambda kind: _command_s(boxes[kind], Path(folder)))
        trials = _taken(TRIALS, lambda kind: _trial_s(runs[kind], data_path(config)))
    for kind in NAMES[1:]:
        cells = [cell for taken in (commands, trials) for cell in _compared(taken, kind)]
        yield f"| `{kind}` | {' | '.join(cells)} |"


def _taken(rounds: int, seconds: Callable[[str], float]) -> Mapping[str, list[float]]:
    taken: dict[str, list[float]] = {kind: [] for kind in NAMES}
    for _ in range(rounds):
        for kind in NAMES:
            taken[kind].append(seconds(kind))
    return taken


def _compared(taken: Mapping[str, list[float]], kind: str) -> tuple[str, str]:
    added = statistics.median(here - bare for here, bare in zip(taken[kind], taken["none"], strict=True))
    ratio = statistics.median(taken[kind]) / statistics.median(taken["none"])
    return f"{1000 * added:.0f} ms", f"{ratio:.2f}"


def _command_s(sandbox: Sandbox, folder: Path) -> float:
    command = Command([sys.executable, "-S", "-c", "pass"], folder, allowed_environment(), folder / "log")
    started = time.monotonic()
    outcome = sandbox.run(command, Access(write=(folder,)), RunLimits(60.0, 1.0))
    assert outcome.good
    return time.monotonic() - started


def _trial_s(run: Run, data: Path) -> float:
    trial = run.paths.baseline.trial(0)
    paths = trial.try_(0)
    shutil.rmtree(trial.folder, ignore_errors=True)
    paths.folder.mkdir(parents=True)
    job = Job("cost", 0, "validation")
    files.create(paths.job, job)
    started = time.monotonic()
    result = perform(run, paths, job, data)
    assert result.score is not None, result.failure
    return time.monotonic() - started
