"""Comparison of methods, with numbers worked by hand."""

import json
import math
from pathlib import Path

import pytest

from analysis.arms import Arm, arms, difference, differences, interval
from analysis.load import load
from analysis.report import html
from pipeline.metric import Direction, Metric
from tests.analysis.finished_run import copy_of

RECORDED = Path(__file__).with_name("recorded")
LOSS = Metric("loss", Direction.minimize)
ACCURACY = Metric("accuracy", Direction.maximize)


def arm(label: str, *values: float) -> Arm:
    return Arm(label, tuple(f"{label}{k}" for k in range(len(values))), values)


def test_an_interval_of_means_is_by_students_t() -> None:
    """Values 1 and 3: deviation sqrt(2), half width 12.706 * sqrt(2) / sqrt(2)."""
    assert interval([1.0, 3.0]) == pytest.approx(12.7062, abs=1e-4)


def test_a_difference_by_hand() -> None:
    """Variances 1 and 4 over three runs each: error sqrt(5/3), degrees of freedom (5/3)^2 / ((1/3)^2 / 2 + (4/3)^2 / 2)
    = 50/17; the 97.5 % quantile of Student's t is 3.2214 there."""
    found = difference(arm("a", 9.0, 10.0, 11.0), arm("b", 1.0, 3.0, 5.0), ACCURACY)
    assert found.gain == pytest.approx(7.0)
    assert found.half == pytest.approx(3.2214 * math.sqrt(5 / 3), rel=1e-3)
    assert found.said == "better"
    assert difference(arm("a", 9.0, 10.0, 11.0), arm("b", 1.0, 3.0, 5.0), LOSS).said == "worse"
    assert difference(arm("a", 9.0, 11.0), arm("b", 9.5, 11.0), LOSS).said == "not clear"


def test_one_run_gives_no_interval() -> None:
    found = difference(arm("a", 1.0), arm("b", 2.0, 2.1), LOSS)
    assert found.gain == pytest.approx(1.05) and found.half is None and found.said.startswith("unknown")


def test_every_pair_is_compared_once() -> None:
    found = differences([arm("a", 1.0), arm("b", 2.0), arm("c", 3.0)], LOSS)
    assert [(one.ours, one.theirs) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_runs_are_compared_by_scores_that_all_of_them_have(tmp_path: Path) -> None:
    """By the test split; if a run has no score there, by the trials with other seeds."""
    other = copy_of(RECORDED, tmp_path / "other")
    facts = json.loads((other / "run.json").read_text())
    facts["config"]["select"]["method"]["_target_"] = "mine.Sampling"
    (other / "run.json").write_text(json.dumps(facts))
    tables = load(RECORDED, other)
    said, found = arms(tables)
    report = json.loads((RECORDED / "report.json").read_text())
    assert said == "on the test split"
    assert [(one.label, one.values) for one in found] == [
        ("Thompson, LlmIdeator", (report["elites_test"][0]["value"],)),
        ("Sampling, LlmIdeator", (report["elites_test"][0]["value"],)),
    ]
    assert "Which method is better?" in html(tables)
    (other / "report.json").write_text(json.dumps(report | {"elites_test": [], "tests": []}))
    assert arms(load(RECORDED, other))[0] == "with other seeds"
    assert "Which method is better?" not in html(load(RECORDED))
