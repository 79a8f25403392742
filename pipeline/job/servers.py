"""The variant's model as processes that answer the evaluator, for the time of one evaluation.

The variant's code is not trusted, so it runs outside of the evaluator's process, as training does. What it answers passes
through a folder of exchange; each process has its own, so that they have nothing in common that they could write.
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
    """The processes of one evaluation; none where the baseline has no `serve`."""

    places: dict[str, object]
    """Their places in the command line of `evaluate`."""
    limits: RunLimits
    """Of each."""
    exchanges: list[Path]
    """Their folders of exchange."""
    logs: list[Path]
    """What each printed."""
    outcomes: "list[Future[Outcome]]"
    """How each ended."""

    def one_died(self) -> bool:
        """Whether one of them failed by itself; then the evaluation cannot succeed."""
        return self.failure() is not None

    def let_end(self) -> None:
        """Wait for those that end by themselves, once the evaluator is gone. One that died closed its exchange first,
        and prints the reason after that."""
        wait(self.outcomes, _LAST_LINES_S)

    def failure(self) -> Failure | None:
        """The first that failed by itself, with the end of its log."""
        for log, future in zip(self.logs, self.outcomes, strict=True):
            if future.done() and (outcome := future.result()).ended is not End.STOPPED:
                failure = failure_of(Stage.EVALUATE, outcome, self.limits, files.tail(log))
                if failure is not None:
                    return failure
        return None


@contextlib.contextmanager
def serving(run: Run, variant: Path, checkpoint: Path, paths: TryPaths) -> Iterator[Servers]:
    """Starts the `serve` processes of the baseline in the variant's folder, and ends them all when the block is left."""
    config, commands = run.config, run.config.baseline.commands
    # The evaluator has the shorter limit, so it is the one that is reported as late.
    limits = RunLimits(60 * config.evaluate.limit_min + _LATER_S, config.train.resources.mem_gb)
    if not commands.serve:
        yield Servers({}, limits, [], [], [])
        return
    logs = [paths.serve_log(number) for number in range(commands.servers)]
    stop = threading.Event()
    # In memory where that is possible: what is exchanged is large, short-lived and of no use afterwards.
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
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
                sandbox = make_sandbox(config.train.sandbox)
                outcomes.append(pool.submit(sandbox.run, command, access, limits, stop.is_set))
            yield Servers({"exchange": exchange}, limits, [Path(exchange)], logs, outcomes)
        finally:
            stop.set()  # the pool waits for them
