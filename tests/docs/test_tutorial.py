"""The tutorial's tables of files match a run folder, and its script runs."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks, shell_environment
from tests.toy import listing

TEXT = (ROOT / "docs/tutorial.md").read_text()
SECTION = TEXT.partition("## 4.")[2].partition("\n## ")[0]
GOES = {"controller.json", "waiting.json", "resume/"}
"""Files that exist only temporarily."""


def test_every_file_that_it_names_exists(toy_run: Path) -> None:
    named = [path for row in re.findall(r"^\| (.+?) \|", SECTION, re.M) for path in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 20
    there = [path for path in named if path not in GOES]
    assert [path for path in there if not any(toy_run.glob(f"**/{path}"))] == []
    assert [path for path in GOES if any(toy_run.glob(f"**/{path}"))] == []


def test_every_existing_file_is_named(toy_run: Path) -> None:
    ours = [path for path in listing(toy_run, ("code/", "jobs/")) if not {"variant", "checkpoint"} & {*path.split("/")}]
    assert len(ours) > 50
    assert {path.rpartition("/")[2] for path in ours if path.rpartition("/")[2] not in SECTION} == set()


def test_the_script_runs(toy_run: Path, tmp_path: Path) -> None:
    (script,) = [block.text for block in blocks(TEXT) if block.language == "python"]
    assert script.count('"runs/first"') == 1
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/first").symlink_to(toy_run)
    environment = shell_environment(tmp_path) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "generation_001/candidate_002" in done.stdout
    assert (tmp_path / "best.png").stat().st_size > 5000
