"""Reinforcement learning in tables, plots and the report."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.load import load
from analysis.plots import learning_plot
from analysis.report import html
from analysis.summary import summary
from pipeline.errors import BadInput
from pipeline.records import StepMeasures, UpdateMeasures
from pipeline.store import files
from pipeline.store.paths import RunPaths
from tests.analysis.finished_run import copy_of

RECORDED = Path(__file__).with_name("recorded")
UPDATE = UpdateMeasures(4, 0.1, 2.0, 1.0, 1.2, 0.05, 1.0, 0.0, 0.02)
STEP = StepMeasures(
    0, 4, 3, 0.5, (0.2, 0.5, 0.8, 0.9), 0.9, 4, 0.25, 0, 2.0, 10.0, 30.0, {"nan": 1}, {"0": 3}, 1.0, 2.0, 0.5, UPDATE
)
STEPS = (
    STEP,
    replace(STEP, step=1, reward_mean=0.6, staleness={}, update=None, update_h=0.0),
    replace(
        STEP,
        step=2,
        known=0,
        reward_mean=None,
        reward_quantiles=(),
        failures={"nan": 1, "smoke": 2},
        staleness={"0": 2, "1": 1, "2": 1},
        alarms=("the entropy fell",),
    ),
)


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """The recorded run, modified as if its ideator had learned."""
    run = copy_of(RECORDED, tmp_path / "learned")
    for one in STEPS:
        path = RunPaths(run).policy_step(one.step).measures
        files.in_folder(path.parent, lambda path=path, one=one: files.create(path, one))  # type: ignore[misc]
    return run


def test_the_table_has_every_step_and_reports_a_damaged_one(learned: Path) -> None:
    tables = load(learned)
    assert tables.learning["step"].to_list() == [0, 1, 2]
    assert tables.learning["reward_best"].isna().to_list() == [False, False, True]
    assert tables.learning["kl"].isna().to_list() == [False, True, False]
    assert tables.learning["failures"].to_list() == [["nan: 1"], ["nan: 1"], ["nan: 1", "smoke: 2"]]
    assert tables.learning["failed"].to_list() == [1, 1, 3]
    assert tables.learning["staleness"].fillna(-1).to_list() == [0.0, -1, 0.75]
    RunPaths(learned).policy_step(1).measures.write_text("{")
    tables = load(learned)
    assert tables.learning["step"].to_list() == [0, 2] and "step_001" in tables.damaged[0]


def test_hours_of_learning_count_for_the_search(learned: Path) -> None:
    before, after = load(RECORDED).candidates, load(learned).candidates
    added = (after["search_h"] - before["search_h"]).groupby(after["generation"]).sum()
    assert added.round(6).to_list() == [1.5, 1.0, 1.5, 0.0]


def test_it_is_plotted_and_a_collapse_is_reported_first(learned: Path) -> None:
    tables = load(learned)
    figure = learning_plot(tables)
    figure.savefig(io.BytesIO())
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "reward",
        "share of all ideas",
        "nats per token",
        "tokens",
        "share of the update, or steps",
        "core hours",
    ]
    assert "The policy may collapse: the entropy fell." in summary(tables, "learned", {}, None).warnings
    assert "The policy may collapse" in html(tables)
    with pytest.raises(BadInput, match="no step of reinforcement learning"):
        learning_plot(load(RECORDED))
