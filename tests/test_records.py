"""Records are finite, frozen and documented, and survive a round trip through their files."""

import ast
import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any

import pytest

from pipeline import metric, records
from pipeline.records import (
    Change,
    Failure,
    FailureKind,
    Idea,
    Knowledge,
    Parents,
    Result,
    Score,
    Seconds,
    Selection,
    Stage,
    Standing,
)
from pipeline.store import files

GOOD: dict[str, Any] = {
    "metric": "loss",
    "value": 1.0,
    "standard_error": 0.1,
    "n": 3,
    "split": "validation",
    "seed": 0,
    "secondary": {"size": 1.0},
}


@pytest.mark.parametrize(
    "change",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"standard_error": math.nan},
        {"standard_error": -0.1},
        {"n": 0},
        {"secondary": {"size": math.nan}},
    ],
)
def test_a_score_is_finite(change: dict[str, Any]) -> None:
    Score(**GOOD)
    with pytest.raises(ValueError):
        Score(**{**GOOD, **change})


def test_kinds_of_machines_and_of_ideas() -> None:
    machine = {kind.value for kind in FailureKind if kind.infrastructure}
    retried = {"cancelled", "interrupted", "vanished", "node_fail", "preempted", "file_system", "device"}
    assert machine == retried | {"other_gpu", "spoiled", "altered"}


SCORE = Score(**GOOD)
FAILURE = Failure(Stage.TRAIN, FailureKind.NAN, 'it is "try": NaN\nline', "try_1", "attempt_0")
STANDING = Standing("generation_000/candidate_001", 1.0, 0.1, 1, 0.5, 0.2)


@pytest.mark.parametrize(
    "record",
    [
        SCORE,
        FAILURE,
        Idea("t", "x", "exploit", ("a", "b"), "s", Change("p", {"a": 1, "b": 0.5, "c": True, "d": "x"}, True)),
        Idea("only words", "x", "human"),
        Result(records.Ended.SCORED, SCORE, None, Seconds(1.0, 2.0, 3.0), "node", "H100", {"python": "3"}, 1.0, 2.0),
        Result(records.Ended.FAILED, failure=FAILURE),
        Selection(("a",), Knowledge(3, 1, STANDING, 0.1, {"b": "it cheats"})),
        Parents(("a",), 0.5, 4, ("human-1",), Knowledge(3, 1, STANDING, 0.1)),
        records.Job("n", 1, "test", "trial_1", None, 0.0, "12_3", 5.0, None, records.Purpose.TEST),
        records.Report("why", 3, {"train/nan": 1}, STANDING, (STANDING,), None, (), 0.1),
        records.EliteTest("a", 0.5, 3, 0, 0.1, 0.02, None, None, 0.01, 0.02, True, False, 0.6, 0.1, 3, "none"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_survives_a_round_trip_through_its_file(record: Any, tmp_path: Path) -> None:
    assert files.create(tmp_path / "x.json", record)
    assert files.read(tmp_path / "x.json", type(record)) == record


def test_the_keyword_try_is_plain_in_files(tmp_path: Path) -> None:
    files.create(tmp_path / "failure.json", FAILURE)
    assert '"try": "try_1"' in (tmp_path / "failure.json").read_text()
    assert 'try_"' not in (tmp_path / "failure.json").read_text()


@pytest.mark.parametrize("module", [records, metric], ids=lambda module: module.__name__)
def test_every_record_is_frozen_and_every_field_documented(module: Any) -> None:
    found = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    assert found
    for node in found:
        made = getattr(module, node.name)
        if not dataclasses.is_dataclass(made):
            continue
        assert made.__dataclass_params__.frozen, node.name  # type: ignore[attr-defined]
        assert undocumented(node) == [], node.name


def undocumented(node: ast.ClassDef) -> list[str]:
    """Fields of a class that have no docstring."""
    after = [*node.body[1:], None]
    return [
        ast.unparse(line.target)
        for line, following in zip(node.body, after, strict=True)
        if isinstance(line, ast.AnnAssign)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
