"""The list of runs."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.analysis.finished_run import copy_of
from tests.benchmarks.__main__ import search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster
from tests.toy import ROOT, command, environment

RECORDED = ROOT / "tests/analysis/recorded"


def listed(folder: Path, *more: str) -> str:
    done = subprocess.run(
        command("status", *more), cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_run_that_cannot_be_read_has_a_line_of_its_own(tmp_path: Path) -> None:
    clock = Clock(1e9)
    search_in(tmp_path, clock, SimulatedCluster(clock, 1, lambda rng: 1.0)).background.close()
    for name, text in (("older", '{"format": 1, "config": {}}'), ("torn", '{"form'), ("empty", "")):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.json").write_text(text)
    lines = {line.split()[0]: line for line in listed(tmp_path).splitlines()}
    assert set(lines) == {"r", "older", "torn", "empty"} and "[stopped]" in lines["r"]
    assert all("[unreadable]" in lines[name] for name in ("older", "torn", "empty"))
    assert "runs/torn/run.json is damaged" in lines["torn"]
    rows = {row["run"]: row for row in json.loads(listed(tmp_path, "--json"))}
    assert set(rows) == set(lines) and rows["r"]["held_by"] == "" and "damaged" in rows["torn"]["error"]


@pytest.mark.parametrize("which", [["--best", "2"], ["--failed"]], ids=" ".join)
def test_each_list_of_candidates_announces_missing_isolation(which: list[str], tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    score = next(run.glob("generation_000/candidate_*/attempt_0/trial_0/score.json"))
    score.write_text(json.dumps(json.loads(score.read_text()) | {"sandbox": "none"}))
    assert "\nNO SANDBOX: 1 scored candidate could read" in listed(tmp_path, str(run), *which)


def test_the_sandbox_is_named_for_programs(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "runs/run")
    trials = sorted(run.glob("generation_000/candidate_*/attempt_0/trial_0/score.json"))[:3]
    for trial, kind in zip(trials, ("none", "bubblewrap", "none"), strict=True):
        trial.write_text(json.dumps(json.loads(trial.read_text()) | {"sandbox": kind}))
    assert json.loads(listed(tmp_path, "run", "--json"))["sandbox"] == "bubblewrap, none"
    assert [row["sandbox"] for row in json.loads(listed(tmp_path, "--json"))] == ["bubblewrap, none"]
    best = json.loads(listed(tmp_path, "run", "--best", "100", "--json"))
    assert sorted(row["sandbox"] for row in best if row["sandbox"]) == ["bubblewrap", "none", "none"]
