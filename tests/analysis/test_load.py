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


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run folder of one's own."""
    return Path(shutil.copytree(toy_run, tmp_path / "runs" / "mine"))


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
    baseline = [json.loads(path.read_text())["value"] for path in toy_run.glob("baseline/trial_*/score.json")]
    scored = table[table["state"] == "scored"]
    expected = sum(baseline) / len(baseline) - scored["value"]
    assert len(baseline) == 3
    assert scored["gain"].to_list() == pytest.approx(expected.to_list())
    # The same numbers as in the selection that the run wrote.
    standings = json.loads((toy_run / "generation_001/selection.json").read_text())["standings"]
    errors = dict(zip(scored["candidate"], scored["gain_error"], strict=True))
    assert {one["candidate"]: one["gain_error"] for one in standings} == pytest.approx(errors)


def test_trials_are_all_there(toy_run: Path) -> None:
    table = trials(toy_run)
    assert list(table.columns) == list(TRIALS)
    on_disk = {path.parent.relative_to(toy_run).as_posix() for path in toy_run.glob("**/try_*")}
    assert set(table["folder"]) == on_disk
    assert table["folder"].is_unique
    assert set(table.loc[table["folder"].str.endswith("/test"), "split"]) == {"test"}
    assert table.loc[table["candidate"] == "baseline", "seed"].to_list() == [0, 0, 1, 1, 2, 2]
    result = json.loads((toy_run / "baseline/trial_0/try_0/result.json").read_text())
    assert table.loc[0, "train_s"] == result["seconds"]["train"]
    assert (table["wait_s"] >= 0).all()


def test_tables_of_several_runs_stand_below_each_other(toy_run: Path, copy: Path) -> None:
    both = candidates(toy_run, copy)
    assert list(both["run"].unique()) == ["toy", "mine"]
    assert len(both) == 2 * len(candidates(toy_run))
    assert len(trials(toy_run, copy)) == 2 * len(trials(toy_run))


def test_columns_and_types_are_the_same_with_no_rows(toy_run: Path) -> None:
    assert candidates().dtypes.to_dict() == candidates(toy_run).dtypes.to_dict()
    assert trials().dtypes.to_dict() == trials(toy_run).dtypes.to_dict()


def test_a_run_can_be_read_at_any_moment(copy: Path) -> None:
    """Take the files away again, newest first: what is left is a run that was looked at while it went on."""
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
    assert (trials(copy)["tries"] == 0).all()  # empty folders, as a killed program leaves them


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


def test_newest_goes_by_when_a_run_was_begun(toy_run: Path, copy: Path) -> None:
    shutil.copytree(toy_run, copy.parent / "older")
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(facts | {"created_at": facts["created_at"] + 1}))
    assert newest(copy.parent) == copy
    with pytest.raises(BadInput, match="no run folders"):
        newest(copy)
