"""A run for the programs that show experiments: TensorBoard, MLflow and Weights & Biases.

It is read from the run folder, also while it is in progress; called again, it is written anew. Nothing is sent anywhere."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.columns import BASELINE, LEARNING
from analysis.load import Tables, load
from analysis.readings import by_order, of_run, steps
from pipeline.store.paths import short
from pipeline.store.run import open_run

_FLOAT32 = 3.4e38
"""TensorBoard keeps no larger numbers."""


@dataclass(frozen=True)
class Point:
    """One number."""

    name: str
    step: int
    value: float
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Exported:
    """What is written of a run. Curves: the baseline's first trial, and the candidates that improved the best."""

    name: str
    group: str
    settings: Mapping[str, str]
    """Fixed settings, as `group.key` to text."""
    summary: Mapping[str, float]
    """Numbers about the whole run."""
    points: tuple[Point, ...]
    """By outcome: `search/…`; by step of the policy: `learning/…`; by step of training: `train/CANDIDATE/…`."""


def exported(folder: Path) -> Exported:
    """What is written of a run, with curves of the baseline and of the candidates that improved the best."""
    tables = load(folder)
    (run,) = tables.paths
    about = tables.about(run)
    numbers = ("value", "standard_error", "candidates", "scored", "failed", "device_h")
    summary = {
        f"baseline/{name}" if name in ("value", "standard_error") else name: float(about[name])
        for name in numbers
        if about[name] is not None
    }
    points = [*_search(tables, run), *_learning(tables, run), *_curves(tables, run)]
    settings = {
        str(key): str(value)
        for key, value in pd.json_normalize(dict(open_run(tables.paths[run]).facts.config)).iloc[0].items()
    }
    found = sorted((one for one in points if math.isfinite(one.value)), key=lambda one: (one.name, one.step))
    return Exported(run, about["group"] or "", settings, summary, tuple(found))


def _search(tables: Tables, run: str) -> Iterator[Point]:
    candidates, metric = by_order(of_run(tables, run)), tables.metric(run)
    ended = dict(zip(candidates["order"], candidates["ended_at"].fillna(0.0), strict=True))
    for column in ("value", "gain"):
        known = candidates[candidates[column].notna()]
        for order, value in zip(known["order"], known[column], strict=True):
            yield Point(f"search/{column}", int(order), float(value), float(ended[order]))
    for name, column in (("best", "value"), ("best_confirmed", "confirmed")):
        for one in steps(candidates, metric, column):
            yield Point(f"search/{name}", one.outcome, one.value, float(ended[one.outcome]))


def _learning(tables: Tables, run: str) -> Iterator[Point]:
    table = tables.learning[tables.learning["run"] == run]
    for row in table.to_dict("records"):
        for name, value in row.items():
            if LEARNING[str(name)].dtype in ("Float64", "Int64") and name != "step" and value is not pd.NA:
                yield Point(f"learning/{name}", int(row["step"]), float(value), 0.0)


def _curves(tables: Tables, run: str) -> Iterator[Point]:
    names = [BASELINE, *(one.candidate for one in steps(of_run(tables, run), tables.metric(run)))]
    curves = tables.curves(run, names)
    for name, ours in curves.groupby("candidate", sort=False):
        first = ours[ours["folder"] == ours["folder"].iloc[0]]
        label = short(str(name)).replace("/", "_")
        for step, metric, value in zip(first["step"], first["metric"], first["value"], strict=True):
            yield Point(f"train/{label}/{metric}", int(step), float(value), 0.0)


def to_tensorboard(run: Exported, output: Path) -> str:
    """Event files in `output/NAME`; returns what to type to see them."""
    from tensorboard.summary import Writer

    folder = output / run.name
    shutil.rmtree(folder, ignore_errors=True)  # event files are only added to
    writer = Writer(str(folder))
    for one in run.points:
        if abs(one.value) < _FLOAT32:
            writer.add_scalar(one.name, one.value, one.step, wall_time=one.at or None)
    for name, value in run.summary.items():
        writer.add_scalar(f"run/{name}", value, 0)
    writer.close()
    return f"tensorboard --logdir {output}"


def to_mlflow(run: Exported, output: Path) -> str:
    """A run of the experiment `groundwork`, or that of its group, in a file store; returns what to type to see it."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(output.resolve().as_uri())
    name = run.group or "groundwork"
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known is not None else client.create_experiment(name)
    for before in client.search_runs([experiment], f"attributes.run_name = '{run.name}'"):
        client.delete_run(before.info.run_id)
    made = client.create_run(experiment, run_name=run.name).info.run_id
    metrics = [Metric(one.name, one.value, round(one.at * 1000), one.step) for one in run.points]
    metrics += [Metric(f"run/{name}", value, 0, 0) for name, value in run.summary.items()]
    params = [Param(key, value[:500]) for key, value in run.settings.items()]
    for start in range(0, max(len(metrics), len(params)), 100):  # at most so many parameters in a request
        client.log_batch(made, metrics[start : start + 100], params[start : start + 100])
    client.set_terminated(made)
    return f"mlflow ui --backend-store-uri {output}"


def to_wandb(run: Exported, output: Path) -> str:
    """An offline run of Weights & Biases below `output`; returns what to type to send it there."""
    import wandb

    output.mkdir(parents=True, exist_ok=True)
    made = wandb.init(
        project="groundwork",
        name=run.name,
        group=run.group or None,
        config=dict(run.settings),
        dir=str(output),
        mode="offline",
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    for prefix in ("search", "learning", "train"):  # each counts its own steps
        made.define_metric(f"{prefix}/*", step_metric=f"{prefix}_step")
    for one in run.points:
        made.log({one.name: one.value, f"{one.name.partition('/')[0]}_step": one.step})
    made.summary.update({f"run/{name}": value for name, value in run.summary.items()})
    made.finish()
    return f"wandb sync {Path(made.dir).parent}"


WRITERS: Mapping[str, Callable[[Exported, Path], str]] = {
    "tensorboard": to_tensorboard,
    "mlflow": to_mlflow,
    "wandb": to_wandb,
}
"""Name of a program to what writes for it."""
