"""Exported runs, read back by the programs they are for."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from analysis.exports import exported, to_mlflow, to_tensorboard, to_wandb
from tests.analysis.finished_run import copy_of

RECORDED = Path(__file__).with_name("recorded")


def test_the_exported_values_of_a_run() -> None:
    found = exported(RECORDED)
    values = {one.step: one.value for one in found.points if one.name == "search/value"}
    (best,) = [one for one in found.points if one.name == "search/best"]  # no later value is better
    assert len(values) == 12 and best.value == values[1] == min(values.values())
    assert {one.name.partition("/")[0] for one in found.points} == {"search", "train"}
    assert any(one.name.startswith("train/baseline/") for one in found.points)
    assert found.summary["candidates"] == 16 and found.settings["baseline.name"] == "toy"


def test_tensorboard_reads_it_and_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = exported(RECORDED)
    for _ in range(2):
        assert to_tensorboard(run, tmp_path) == f"tensorboard --logdir {tmp_path}"
    read = events.EventAccumulator(str(tmp_path / run.name), {"tensors": 0})
    read.Reload()
    values = {one.step: one.value for one in run.points if one.name == "search/value"}
    assert values.pop(3) > 1e100  # a training that diverged: too large for TensorBoard's numbers
    assert [one.step for one in read.Tensors("search/value")] == list(values)


def test_mlflow_reads_it(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run = exported(RECORDED)
    for _ in range(2):
        to_mlflow(run, tmp_path)
    client = tracking.MlflowClient(tmp_path.as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("groundwork").experiment_id])
    assert found.data.params["seed"] == "1" and found.data.metrics["run/scored"] == run.summary["scored"]
    assert len(client.get_metric_history(found.info.run_id, "search/value")) == 12


def test_wandb_writes_an_offline_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    with redirect_stdout(io.StringIO()):
        sync = to_wandb(exported(RECORDED), tmp_path)
    assert sync.startswith("wandb sync ") and list(Path(sync.split()[-1]).glob("*.wandb"))


def test_a_run_without_a_score_is_exported(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "open")
    for path in run.glob("**/score.json"):
        path.unlink()
    (run / "report.json").unlink()
    found = exported(run)
    assert {one.name.partition("/")[0] for one in found.points} <= {"train"}
    assert json.dumps(dict(found.summary))  # finite numbers only
