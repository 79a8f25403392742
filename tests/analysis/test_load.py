"""The tables agree with the files, for finished, unfinished and damaged runs."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.columns import CANDIDATES, TABLES, TRIALS
from analysis.load import candidates, load, metric_of, newest, trials
from pipeline.errors import BadInput
from pipeline.metric import Direction
from tests.analysis.finished_run import copy_of


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run folder to modify."""
    return copy_of(toy_run, tmp_path / "runs" / "mine")


def test_candidates_agree_with_the_files(toy_run: Path) -> None:
    table = candidates(toy_run)
    assert list(table.columns) == list(CANDIDATES)
    assert list(table["candidate"]) == [f"generation_00{g}/candidate_00{c}" for g in (0, 1) for c in (0, 1, 2)]
    for _, row in table.iterrows():
        folder = toy_run / row["candidate"]
        idea = json.loads((folder / "idea.json").read_text())
        assert (row["title"], row["origin"]) == (idea["title"], idea["origin"])
        assert row["parents"] == idea["parents"]
        if row["state"] == "scored":
            score = json.loads((folder / "attempt_0/trial_0/score.json").read_text())
            assert (row["value"], row["standard_error"]) == (score["value"], score["standard_error"])
            assert row["sandbox"] == score["sandbox"] == "none"
            assert pd.isna(row["kind"])
        else:
            failure = json.loads((folder / "failure.json").read_text())
            assert (row["stage"], row["kind"], row["reason"]) == tuple(
                failure[key] for key in ("stage", "kind", "reason")
            )
            assert pd.isna(row["value"])
    assert set(table["state"]) == {"scored", "failed"}  # otherwise half of the above was not checked


def test_gain_is_positive_for_a_lower_error(toy_run: Path) -> None:
    table = candidates(toy_run)
    files = [json.loads(path.read_text()) for path in toy_run.glob("baseline/trial_*/score.json")]
    baseline = [score["value"] for score in files if score["split"] == "validation"]
    scored = table[table["state"] == "scored"]
    expected = sum(baseline) / len(baseline) - scored["value"]
    assert (len(baseline), len(files)) == (3, 6)
    assert scored["gain"].to_list() == pytest.approx(expected.to_list())
    # The numbers that the last selection of the run was based on.
    seen = json.loads((toy_run / "generation_001/selection.json").read_text())["seen"]
    assert scored["gain"].to_list() == pytest.approx((seen["baseline"]["value"] - scored["value"]).to_list())
    errors = [
        math.hypot(seen["seed_sd"], error, seen["baseline"]["standard_error"]) for error in scored["standard_error"]
    ]
    assert scored["gain_error"].to_list() == pytest.approx(errors)
    assert min(errors) > 0


def test_all_trials_are_listed(toy_run: Path) -> None:
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


def test_tables_of_several_runs_are_concatenated(toy_run: Path, copy: Path) -> None:
    both = candidates(toy_run, copy)
    assert list(both["run"].unique()) == ["toy", "mine"]
    assert len(both) == 2 * len(candidates(toy_run))
    assert len(trials(toy_run, copy)) == 2 * len(trials(toy_run))


def test_summaries_change_no_table(toy_run: Path, copy: Path) -> None:
    assert any(toy_run.glob("*/summary.json")) and not any(copy.glob("*/summary.json"))
    for table in (candidates, trials):
        pd.testing.assert_frame_equal(table(toy_run).drop(columns="run"), table(copy).drop(columns="run"))


def test_the_cache_changes_no_table(toy_run: Path) -> None:
    plain, first, second = load(toy_run, cache=False), load(toy_run), load(toy_run)
    for name in set(TABLES) - {"curves", "completions", "events"}:
        for other in (first, second):
            pd.testing.assert_frame_equal(getattr(plain, name), getattr(other, name))


def test_a_settled_generation_is_read_from_the_cache_while_its_summary_stays(toy_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    before = candidates(run)
    for idea in run.glob("generation_000/candidate_*/idea.json"):
        idea.write_text("no longer JSON")
    pd.testing.assert_frame_equal(candidates(run), before)
    (run / "generation_000/summary.json").unlink()  # as the controller does before it adds to the generation
    tables = load(run)
    assert set(tables.candidates["generation"]) == {1}
    assert len(tables.damaged) == 3


def test_a_run_that_lost_a_generation_has_lost_its_rows(toy_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    assert len(candidates(run)) == 6
    shutil.rmtree(run / "generation_001")
    assert set(candidates(run)["generation"]) == {0}


def test_a_cache_that_cannot_be_read_or_written_is_not_used(toy_run: Path, tmp_path: Path, monkeypatch) -> None:
    expected = candidates(toy_run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "broken"))
    candidates(toy_run)
    kept = sorted((tmp_path / "broken").rglob("*.parquet"))
    assert len(kept) == 5
    kept[0].write_bytes(b"half a file")
    pd.testing.assert_frame_equal(candidates(toy_run), expected)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pd.testing.assert_frame_equal(candidates(toy_run), expected)


def test_other_tables_agree_with_the_files(toy_run: Path) -> None:
    tables = load(toy_run)
    for name in ("runs", "generations", "attempts", "jobs", "completions", "events"):
        assert list(getattr(tables, name).columns) == list(TABLES[name])
    jobs = {path.parent.relative_to(toy_run).as_posix() for path in toy_run.glob("**/try_*/job.json")}
    assert set(tables.jobs["folder"]) == jobs
    assert (tables.jobs["ended_at"] >= tables.jobs["started_at"]).all()
    assert set(tables.jobs["ended"]) <= {"scored", "bad_checkpoint"}
    assert len(tables.events) == len((toy_run / "events.jsonl").read_text().splitlines())
    assert tables.generations["candidates"].to_list() == [3, 3]
    report = json.loads((toy_run / "report.json").read_text())
    row = tables.runs.iloc[0]
    assert (row["value"], row["seed_sd"], row["stopped"]) == (
        report["baseline"]["value"],
        report["seed_sd"],
        report["stopped"],
    )


def test_elites_have_the_numbers_of_the_report(toy_run: Path) -> None:
    report = json.loads((toy_run / "report.json").read_text())
    table = candidates(toy_run).set_index("candidate")
    assert set(table.index[table["elite"]]) == {one["candidate"] for one in report["elites"]}
    for one in report["elites"]:
        row = table.loc[one["candidate"]]
        ours = (
            row["confirmed"],
            row["confirmed_error"],
            row["confirmed_gain"],
            row["confirmed_gain_error"],
            row["seeds"],
        )
        assert ours == pytest.approx([one[key] for key in ("value", "standard_error", "gain", "gain_error", "trials")])
    for one in report["elites_test"]:
        assert table.loc[one["candidate"], "test_gain"] == one["gain"]


def test_gain_over_the_parent(copy: Path) -> None:
    """By hand: lower is better, the child has 0.4 and the parent 0.5, both with an error of 0.03, and the standard
    deviation between seeds of the baseline is 0.1."""
    for seed, value in enumerate((0.9, 1.0, 1.1)):
        _score(copy / f"baseline/trial_{seed}/score.json", value, 0.0)
    (child, *_) = [path.parents[2] for path in sorted(copy.glob("generation_001/*/attempt_0/trial_0/score.json"))]
    parent = copy / "generation_000/candidate_000"
    idea = json.loads((child / "idea.json").read_text())
    (child / "idea.json").write_text(json.dumps(idea | {"parents": ["generation_000/candidate_000"]}))
    _score(child / "attempt_0/trial_0/score.json", 0.4, 0.03)
    _score(parent / "attempt_0/trial_0/score.json", 0.5, 0.03)
    row = candidates(copy).set_index("candidate").loc[f"generation_001/{child.name}"]
    assert row["gain_parent"] == pytest.approx(0.1)
    assert row["gain_parent_error"] == pytest.approx(math.sqrt(2 * (0.1**2 + 0.03**2)))


def _score(path: Path, value: float, error: float) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"value": value, "standard_error": error}))


def test_curves_omit_values_that_are_not_numbers(copy: Path) -> None:
    path = copy / "baseline/trial_0/try_0/output/metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5, "note": "x"}\n[1]\nnot JSON\n{"step": 2, "loss": NaN, "lr": 1e-3}\n')
    table = load(copy).curves("mine")
    ours = table[table["folder"] == "baseline/trial_0/try_0"]
    assert list(zip(ours["step"], ours["metric"], ours["value"], strict=True)) == [(1, "loss", 2.5), (2, "lr", 1e-3)]


def test_runs_of_one_name_are_distinguished(toy_run: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        shutil.copytree(toy_run, tmp_path / place / "toy")
    assert load(tmp_path / "a/toy", tmp_path / "b/toy").runs["run"].to_list() == ["a/toy", "b/toy"]
    with pytest.raises(BadInput, match="twice"):
        load(toy_run, toy_run)


def test_columns_and_types_are_the_same_with_no_rows(toy_run: Path) -> None:
    assert candidates().dtypes.to_dict() == candidates(toy_run).dtypes.to_dict()
    assert trials().dtypes.to_dict() == trials(toy_run).dtypes.to_dict()


def test_a_run_can_be_read_at_any_moment(copy: Path) -> None:
    """Remove the files, newest first: what remains equals a run that is read while in progress."""
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


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("generation_000/candidate_000/attempt_0/trial_0/score.json", (1, 1)),
        ("generation_000/candidate_000/idea.json", (1, 1)),
        ("generation_000/parents.json", (0, 0)),
        ("generation_001/selection.json", (0, 0)),
        ("baseline/trial_1/score.json", (0, 1)),
        ("report.json", (0, 0)),
    ],
)
def test_a_damaged_file_loses_its_row_and_is_reported(copy: Path, name: str, lost: tuple[int, int]) -> None:
    before = load(copy)
    (copy / name).write_text((copy / name).read_text()[:20])
    after = load(copy)
    assert len(after.damaged) == 1 and str(copy / name) in after.damaged[0]
    own = before.trials[before.trials["candidate"] == "generation_000/candidate_000"]
    trials_lost = len(own) if lost[0] else lost[1]
    assert len(before.candidates) - len(after.candidates) == lost[0]
    assert len(before.trials) - len(after.trials) == trials_lost


def test_a_run_without_its_facts_is_refused(copy: Path) -> None:
    (copy / "run.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        load(copy)
    shutil.rmtree(copy)
    with pytest.raises(BadInput, match="not a run folder"):
        load(copy)


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
