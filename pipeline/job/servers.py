"""Processes that serve the variant's model to the evaluator during one evaluation.

The variant's code is not trusted, so it runs outside the evaluator's process, as in training. Its answers pass through an
exchange folder. Each process has its own, so that they share nothing that they can write.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pipeline.records import Failure, Stage
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits, make_sandbox
from pipeline.sandbox.command_lines import fill, variant_environment
from pipeline.sandbox.diagnose import failure_of
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.run import Run

_MEMORY = Path("/dev/shm")
_LATER_S = 60.0
_LAST_LINES_S = 30.0


@dataclass(frozen=True)
class Servers:
    """The processes of one evaluation; none if the baseline has no `serve`."""

    places: dict[str, object]
    """Values for the placeholders in the command line of `evaluate`."""
    limits: RunLimits
    """Limits of each process."""
    exchanges: list[Path]
    """Folders that `evaluate` may write to exchange data."""
    logs: list[Path]
    """Log of each process."""
    outcomes: "list[Future[Outcome]]"
    """Outcome of each process."""

    def one_died(self) -> bool:
        """Whether a process failed by itself, so that the evaluation cannot succeed."""
        return self.failure() is not None

    def let_end(self) -> None:
        """Wait briefly for processes that end by themselves after the evaluator is gone. A dying process closes its exchange
        first, and prints the reason only after that."""
        wait(self.outcomes, _LAST_LINES_S)

    def failure(self) -> Failure | None:
        """The failure of the first process that failed by itself, with the end of its log; none if none did."""
        for log, future in zip(self.logs, self.outcomes, strict=True):
            if future.done() and (outcome := future.result()).ended is not End.STOPPED:
                failure = failure_of(Stage.EVALUATE, outcome, self.limits, files.tail(log))
                if failure is not None:
                    return failure
        return None


@contextlib.contextmanager
def serving(run: Run, variant: Path, checkpoint: Path, paths: TryPaths) -> Iterator[Servers]:
    """Start the baseline's `serve` processes in the variant's folder, and end them all on leaving the block."""
    config, commands = run.config, run.config.baseline.commands
    # The evaluator has the shorter limit, so that it is reported as late first.
    limits = RunLimits(60 * config.evaluate.limit_min + _LATER_S, config.train.resources.mem_gb)
    if not commands.serve:
        yield Servers({}, limits, [], [], [])
        return
    logs = [paths.serve_log(number) for number in range(commands.servers)]
    stop = threading.Event()
    sandbox = make_sandbox(config.train.sandbox)
    # In memory if others cannot write there: the exchanged data is large, short-lived and not needed afterwards.
    where = _MEMORY if sandbox.private_memory and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="exchange-", dir=where) as exchange, ThreadPoolExecutor(len(logs)) as pool:
        try:
            outcomes = []
            for number, log in enumerate(logs):
                own = Path(exchange) / str(number)
                own.mkdir()
                places = {"exchange": own, "checkpoint": checkpoint, "size": run.paths.size}
                command = Command(
                    fill(config.baseline, commands.serve, places),
                    variant,
                    variant_environment(config.baseline, config.train.resources.cpus_per_task),
                    log,
                )
                access = Access(read=(variant, checkpoint, run.paths.size), write=(own,), devices=True)
                outcomes.append(pool.submit(sandbox.run, command, access, limits, stop.is_set))
            yield Servers({"exchange": exchange}, limits, [Path(exchange)], logs, outcomes)
        finally:
            stop.set()  # the pool waits for them
