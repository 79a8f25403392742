"""The report as a file: what it shows first, what it escapes, what it refuses. Its behaviour is tested in
test_browser.py."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import analysis.report as made
from analysis.load import load
from analysis.readings import of_run, sorts
from analysis.summary import Summary, summary
from tests.analysis.finished_run import copy_of
from tests.toy import program

RECORDED = Path(__file__).with_name("recorded")


def said(run: Path, usd: float | None = None) -> Summary:
    tables = load(run)
    name = next(iter(tables.paths))
    kinds = dict(zip(of_run(tables, name)["candidate"], sorts(tables, name), strict=True))
    return summary(tables, name, kinds, usd)


def without_end(folder: Path) -> Path:
    """The recorded run as it was before its last trainings."""
    run = copy_of(RECORDED, folder / "run")
    (run / "report.json").unlink()
    for score in list(run.glob("**/score.json")):
        if json.loads(score.read_text())["purpose"] in ("confirm", "test"):
            shutil.rmtree(score.parent)
    return run


def test_the_recorded_run_contains_everything_that_a_report_shows() -> None:
    tables = load(RECORDED, cache=False)
    kinds = set(tables.candidates["kind"].dropna())
    assert {"refused", "duplicate", "smoke", "exception"} <= kinds and tables.damaged == []
    assert tables.candidates["elite"].sum() == 2 and len(tables.completions) > 10
    assert tables.candidates["gain_parent"].notna().any()
    assert sum(path.stat().st_size for path in RECORDED.rglob("*") if path.is_file()) < 2e6


def test_the_summary_of_a_finished_run() -> None:
    found = said(RECORDED, usd=1.5)
    report = json.loads((RECORDED / "report.json").read_text())
    best = report["elites"][0]["candidate"]
    assert [step.candidate for step in found.lineage][:: len(found.lineage) - 1] == ["baseline", best]
    assert f"{report['elites_test'][0]['value']:.4f}" in found.headline and "on the test split" in found.headline
    assert re.match(r"0\.0\d+ core hours, \$1\.50 for language models, ", dict(found.facts)["cost"])
    assert dict(found.failures) == report["failures"]
    assert found.warnings[0].startswith("scale=tiny")


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_code_without_a_sandbox_is_announced_first(kind: str, tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    for path in run.glob("generation_000/candidate_*/attempt_*/trial_0/score.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sandbox": kind}))
    assert said(run).warnings[0].startswith("NO SANDBOX: ") is (kind == "none")


def test_the_elites_on_the_test_split_are_a_table(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    report = json.loads((run / "report.json").read_text())
    report["tests"][0] |= {"sandbox": "bubblewrap", "corrected": 0.0123, "touches": 4}
    (run / "report.json").write_text(json.dumps(report))
    first = report["tests"][0]
    table = (
        made.html(load(run)).partition("On the test split, which selection never saw</h2>")[2].partition("</table>")[0]
    )
    heads, _, row, *_ = [re.findall(r"<t[hd]>(.*?)</t[hd]>", line) for line in table.split("<tr>")[1:]]
    assert heads == ["candidate", "squared error", *"gain (90 % interval)|p|seeds|excess|touches|sandbox".split("|")]
    assert row == [
        "g0/c0",
        f"{first['value']:.4f}",
        f"{first['gain']:+.4f} ({first['low']:+.4f} to {first['high']:+.4f})",
        "0.012",
        "3",
        f"{first['excess']:+.4f}",
        "4",
        "bubblewrap",
    ]


@pytest.mark.parametrize(
    ("change", "answer", "words"),
    [
        (
            {},
            "yes",
            "p-value below 0.001, corrected for 2 tests; 3 seeds that chose nothing; the gain is at least +0.2840",
        ),
        ({"significant": False, "corrected": 0.2}, "unclear", "p-value 0.200"),
        ({"significant": False, "gain": -0.1}, "no", "p-value"),
        ({"significant": False, "failed": 1}, "unclear", "1 final trial failed because of the code"),
        (None, "likely", "Not tested"),
    ],
)
def test_only_tested_gains_are_claimed(
    tmp_path: Path, change: dict[str, object] | None, answer: str, words: str
) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    report = json.loads((run / "report.json").read_text())
    tests = [one | change for one in report["tests"]] if change is not None else []
    (run / "report.json").write_text(json.dumps(report | {"tests": tests}))
    found = said(run)
    assert found.answer == answer and words in found.basis


def test_the_first_elite_with_a_claim_is_shown(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    report = json.loads((run / "report.json").read_text())
    report["tests"][0] |= {"significant": False, "corrected": 0.3}
    (run / "report.json").write_text(json.dumps(report))
    found = said(run)
    assert found.answer == "yes" and found.headline.startswith("g1/c1")


def test_the_summary_of_a_run_in_progress(tmp_path: Path) -> None:
    run = without_end(tmp_path)
    found = said(run)
    assert (found.answer, "by one trial" in found.headline, "luck" in found.basis) == ("open", True, True)
    assert "not finished" in found.advice[0].text
    for path in run.glob("baseline/trial_*"):
        shutil.rmtree(path)
    assert "the baseline has no score" in said(run).headline


@pytest.mark.parametrize(
    ("metric", "question", "reason"),
    [
        pytest.param("squared error", True, "", id="one metric"),
        pytest.param("log error", False, "the runs have different metrics", id="different metrics"),
    ],
)
def test_only_runs_of_one_metric_are_compared(tmp_path: Path, metric: str, question: bool, reason: str) -> None:
    other = copy_of(RECORDED, tmp_path / "other")
    run = json.loads((other / "run.json").read_text())
    run["config"]["arm"] = "another method"
    run["config"]["baseline"]["metric"]["name"] = metric
    (other / "run.json").write_text(json.dumps(run))
    text = made.html(load(RECORDED, other))
    assert ("Which method is better?" in text) is question
    (packed,) = re.findall(r'id="data">([^<]+)<', text)
    compared = json.loads(gzip.decompress(base64.b64decode(packed)))["compare"]
    assert compared["why_not"] == reason and bool(compared["lines"]) is question


def test_failures_by_node(tmp_path: Path) -> None:
    nodes = "<tbody><tr><td>vm</td><td>30</td><td>2</td></tr></tbody>"
    assert nodes in made.html(load(RECORDED))
    tables = load(RECORDED)
    fine = tables.jobs[tables.jobs["ended"] == "scored"]
    assert "Jobs by node" not in made.html(replace(tables, jobs=fine))


def test_its_policy_allows_its_own_scripts_only(tmp_path: Path) -> None:
    text = made.report(RECORDED, output=tmp_path / "r.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    scripts = [one for kind, one in re.findall(r"<script( [^>]*)?>(.*?)</script>", text, re.S) if not kind]
    assert len(scripts) == 3
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy
    assert not re.search(r'(src|href)="(?!#|data:,")', text)  # nothing is fetched


def test_a_file_at_its_size_limit_omits_pages_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "MOST_MB", 1.0)  # all of it for the scripts
    text = made.html(load(RECORDED))
    assert 'class="block"' not in text
    assert "16 pages are left out" in text


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "run")
    (run / "generation_000/candidate_000/idea.json").write_text("{")
    text = made.html(load(run))
    assert "1 damaged file is left out" in text and "candidate_000/idea.json is damaged" in text


def test_the_command_writes_a_file_or_refuses_in_one_line(tmp_path: Path) -> None:
    done = program("report", str(RECORDED), "--output", str(tmp_path / "new/r.html")).ok()
    assert done.out.startswith(str(tmp_path / "new/r.html"))
    assert "Did it get better?" in (tmp_path / "new/r.html").read_text()
    program("report", str(tmp_path), "--output", str(tmp_path / "x.html")).refused(2, "not in a run folder")
    assert not (tmp_path / "x.html").exists()
