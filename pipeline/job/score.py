"""Score a checkpoint with the pristine evaluator: in the job that trained it, or later with the command `evaluate`."""

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.job.outputs import admit
from pipeline.job.servers import serving
from pipeline.metric import Metric
from pipeline.records import Failure, FailureKind, Score, Stage
from pipeline.sandbox.base import Access, Command, End, RunLimits, make_sandbox
from pipeline.sandbox.command_lines import fill, scratch_folder, variant_environment
from pipeline.sandbox.diagnose import failure_of
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.run import Run


@dataclass(frozen=True)
class _EvaluatorFailure:
    """The evaluator's reason for giving no score."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class _Evaluation:
    """The evaluator's answer: a value, or a failure."""

    value: float | None = None
    standard_error: float = 0.0
    n: int = 0
    secondary: dict[str, float] = field(default_factory=dict)
    failure: _EvaluatorFailure | None = None


def score_checkpoint(
    run: Run, variant: Path, checkpoint: Path, data: Path, split: str, seed: int, paths: TryPaths
) -> Score | Failure:
    """Run `evaluate` of the pristine baseline on a checkpoint, with `serve` of the variant in parallel if the baseline has
    it. The evaluator's answer and the logs are written to the folder of a try."""
    config, metric = run.config, run.config.baseline.metric.metric
    admitted = admit(checkpoint, config.baseline.checkpoint, config.train.disk_gb)
    if isinstance(admitted, Failure):
        return admitted
    limits = RunLimits(60 * config.evaluate.limit_min, config.train.resources.mem_gb)
    with scratch_folder() as scratch, serving(run, variant, checkpoint, paths) as servers:
        own = Path(scratch["TMPDIR"])
        places = {
            "evaluator_data": data / "evaluator",
            "checkpoint": checkpoint,
            "split": split,
            "seed": seed,
            "size": run.paths.size,
            "result": own / paths.evaluation.name,
        }
        outcome = make_sandbox(config.train.sandbox).run(
            Command(
                fill(config.baseline, config.baseline.commands.evaluate, {**places, **servers.places}),
                run.paths.pristine,
                variant_environment(config.baseline, config.train.resources.cpus_per_task, scratch),
                paths.evaluate_log,
            ),
            Access(
                read=(run.paths.pristine, run.paths.size, data / "evaluator", checkpoint),
                write=(own, *servers.exchanges),
                devices=True,
            ),
            limits,
            enough=servers.one_died,
        )
        if outcome.ended is End.EXIT and not outcome.good:
            servers.let_end()
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(own / paths.evaluation.name, paths.evaluation)
    if not outcome.good and (died := servers.failure()) is not None:
        return died
    failure = failure_of(Stage.EVALUATE, outcome, limits, files.tail(paths.evaluate_log))
    if failure is not None:
        return failure
    found = _answer(metric, paths)
    if isinstance(found, Failure):
        return found
    assert found.value is not None
    return Score(
        metric.name,
        found.value,
        found.standard_error,
        found.n,
        split,
        seed,
        secondary=found.secondary,
        checkpoint=admitted,
    )


def _answer(metric: Metric, paths: TryPaths) -> _Evaluation | Failure:
    """The evaluator's answer if it has a plausible value, else the failure."""
    try:
        found = files.read(paths.evaluation, _Evaluation)
    except (FileNotFoundError, Damaged) as error:
        return Failure(Stage.EVALUATE, FailureKind.EXCEPTION, f"the evaluator wrote no readable result: {error}")
    if found.failure is not None:
        return Failure(Stage.EVALUATE, found.failure.kind, found.failure.reason)
    if found.value is None or not metric.plausible(found.value):
        reason = f"{metric.name} {found.value} is outside {metric.low:g} to {metric.high:g}"
        return Failure(Stage.EVALUATE, FailureKind.IMPLAUSIBLE, reason)
    return found
