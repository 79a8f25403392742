"""The tables say what the files say, for finished, unfinished and damaged runs."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import CANDIDATES, TRIALS, candidates, metric_of, newest, trials
from pipeline.errors import BadInput, Damaged
from pipeline.metric import Direction
from tests.analysis.finished_run import copy_of


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run folder to change."""
    return copy_of(toy_run, tmp_path / "runs" / "mine")


def test_candidates_are_what_the_files_say(toy_run: Path) -> None:
    table = candidates(toy_run)
    assert list(table.columns) == list(CANDIDATES)
    assert list(table["candidate"]) == [f"generation_00{g}/candidate_00{c}" for g in (0, 1) for c in (0, 1, 2)]
    for _, row in table.iterrows():
        folder = toy_run / row["candidate"]
        idea = json.loads((folder / "idea.json").read_text())
        assert (row["title"], row["origin"]) == (idea["title"], idea["origin"])
        assert row["parents"].split() == idea["parents"]
        if row["state"] == "scored":
            score = json.loads((folder / "attempt_0/trial_0/score.json").read_text())
            assert (row["value"], row["standard_error"]) == (score["value"], score["standard_error"])
            assert pd.isna(row["kind"])
        else:
            failure = json.loads((folder / "failure.json").read_text())
            assert (row["stage"], row["kind"], row["reason"]) == tuple(
                failure[key] for key in ("stage", "kind", "reason")
            )
            assert pd.isna(row["value"])
    assert set(table["state"]) == {"scored", "failed"}  # else half of the above was not looked at


def test_gain_is_positive_where_less_error_is_better(toy_run: Path) -> None:
    table = candidates(toy_run)
    files = [json.loads(path.read_text()) for path in toy_run.glob("baseline/trial_*/score.json")]
    baseline = [score["value"] for score in files if score["split"] == "validation"]
    scored = table[table["state"] == "scored"]
    expected = sum(baseline) / len(baseline) - scored["value"]
    assert (len(baseline), len(files)) == (3, 6)
    assert scored["gain"].to_list() == pytest.approx(expected.to_list())
    # The same numbers as those that the last selection of the run was based on.
    seen = json.loads((toy_run / "generation_001/selection.json").read_text())["seen"]
    assert scored["gain"].to_list() == pytest.approx((seen["baseline"]["value"] - scored["value"]).to_list())
    errors = [
        math.hypot(seen["seed_sd"], error, seen["baseline"]["standard_error"]) for error in scored["standard_error"]
    ]
    assert scored["gain_error"].to_list() == pytest.approx(errors)
    assert min(errors) > 0


def test_trials_are_all_there(toy_run: Path) -> None:
    table = trials(toy_run)
    assert list(table.columns) == list(TRIALS)
    on_disk = {path.parent.relative_to(toy_run).as_posix() for path in toy_run.glob("**/try_*")}
    assert set(table["folder"]) == on_disk
    assert table["folder"].is_unique
    assert set(table.loc[table["purpose"] == "test", "split"]) == {"test"}
    assert set(table.loc[table["purpose"] != "test", "split"]) == {"validation"}
    ours = table[table["candidate"] == "baseline"]
    assert sorted(zip(ours["purpose"], ours["seed"], strict=True)) == [
        *(("baseline", seed) for seed in (0, 1, 2)),
        *(("test", seed) for seed in (0, 1, 2)),
    ]
    assert set(table.loc[table["candidate"] != "baseline", "purpose"]) == {"search", "confirm", "test"}
    result = json.loads((toy_run / "baseline/trial_0/try_0/result.json").read_text())
    assert table.loc[0, "train_s"] == result["seconds"]["train"]
    assert (table["wait_s"] >= 0).all()


def test_tables_of_several_runs_stand_below_each_other(toy_run: Path, copy: Path) -> None:
    both = candidates(toy_run, copy)
    assert list(both["run"].unique()) == ["toy", "mine"]
    assert len(both) == 2 * len(candidates(toy_run))
    assert len(trials(toy_run, copy)) == 2 * len(trials(toy_run))


def test_summaries_change_no_table(toy_run: Path, copy: Path) -> None:
    assert any(toy_run.glob("*/summary.json")) and not any(copy.glob("*/summary.json"))
    for table in (candidates, trials):
        pd.testing.assert_frame_equal(table(toy_run).drop(columns="run"), table(copy).drop(columns="run"))


def test_a_resumed_run_is_read_again(toy_run: Path, copy: Path) -> None:
    first = len(candidates(copy))
    shutil.rmtree(copy / "generation_001")
    assert len(candidates(copy)) == first  # a finished run is read once
    report = (copy / "report.json").read_bytes()
    (copy / "report.json").rename(copy / "report_0.json")
    assert len(candidates(copy)) == first - 3
    shutil.copytree(toy_run / "generation_001", copy / "generation_001")
    assert len(candidates(copy)) == first
    shutil.rmtree(copy / "generation_001")
    (copy / "report.json").write_bytes(report)
    assert len(candidates(copy)) == first - 3
    assert len(trials(copy)) == len(trials(toy_run)) - len(list(toy_run.glob("generation_001/**/try_0")))


def test_columns_and_types_are_the_same_with_no_rows(toy_run: Path) -> None:
    assert candidates().dtypes.to_dict() == candidates(toy_run).dtypes.to_dict()
    assert trials().dtypes.to_dict() == trials(toy_run).dtypes.to_dict()


def test_a_run_can_be_read_at_any_moment(copy: Path) -> None:
    """Remove the files, newest first: what is left is a run that was read while it was in progress."""
    written = [path for path in copy.rglob("*.json") if "code" not in path.relative_to(copy).parts]
    written = [path for path in written if path.name != "run.json" and "output" not in path.parts]
    rows = [(len(candidates(copy)), len(trials(copy)))]
    for number, path in enumerate(sorted(written, key=lambda path: path.stat().st_mtime_ns, reverse=True)):
        path.unlink()
        if number % 8 == 0:
            table = candidates(copy)
            assert set(table.loc[table["value"].notna(), "state"]) <= {"scored"}
            rows.append((len(table), len(trials(copy))))
    assert rows == sorted(rows, reverse=True)
    assert len(candidates(copy)) == 0
    assert any(copy.glob("**/try_0")) and len(trials(copy)) == 0  # empty folders, as a killed program leaves them


def test_a_damaged_file_is_named(copy: Path) -> None:
    path = copy / "generation_000/candidate_000/attempt_0/trial_0/score.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(Damaged, match=str(path)):
        candidates(copy)


def test_other_numbers_of_the_evaluator_are_columns(copy: Path) -> None:
    path = copy / "baseline/trial_1/score.json"
    score = json.loads(path.read_text())
    path.write_text(json.dumps(score | {"secondary": {"length": 3.5}}))
    table = trials(copy)
    assert table["secondary.length"].dropna().to_list() == [3.5]
    assert list(table.columns)[: len(TRIALS)] == list(TRIALS)


def test_metric(toy_run: Path) -> None:
    metric = metric_of(toy_run)
    assert (metric.name, metric.direction, metric.low, metric.high) == (
        "squared error",
        Direction.minimize,
        0,
        math.inf,
    )


def test_newest_is_the_run_created_last(toy_run: Path, copy: Path) -> None:
    shutil.copytree(toy_run, copy.parent / "older")
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(facts | {"created_at": facts["created_at"] + 1}))
    assert newest(copy.parent) == copy
    with pytest.raises(BadInput, match="no run folders"):
        newest(copy)
