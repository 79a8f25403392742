"""The how-to for code with its own config: its files are written and its commands run, on a library by other
authors."""

import importlib.util
import json
from pathlib import Path

import pytest

from pipeline.records import Failure
from pipeline.store.reader import read_archive
from tests.docs.pages import ROOT, blocks, command_lines, type_page, write_files

PAGE = ROOT / "docs/how-to/training-code-with-its-own-config.md"
TEXT = PAGE.read_text()
missing = [name for name in ("neat", "numpy", "safetensors") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"the page's code needs packages that are absent: {missing}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's repository, made from the page alone."""
    folder = tmp_path_factory.mktemp("my-project")
    write_files(TEXT, folder)
    return folder


@pytest.fixture(scope="module")
def typed(project: Path) -> str:
    """Output of the page's commands, run in order in one shell at the root of the checkout."""
    return type_page(TEXT, project, timeout=280)


def test_the_page_holds_every_file_of_its_tree(project: Path) -> None:
    tree = next(block.text for block in blocks(TEXT) if block.language == "text")
    named = {word for word in tree.replace("/", " ").split() if word.endswith((".py", ".yaml", ".cfg"))}
    assert {"train.py", "evolve.cfg", "points.yaml"} < named
    assert named == {path.name for path in project.rglob("*") if path.is_file()}


def test_the_contract_is_kept_as_far_as_it_was_checked(typed: str) -> None:
    joined = " ".join(typed.split())
    assert "not checked stop and resume: training finished before it wrote output/resume" in joined
    assert "the baseline fulfils its contract, as far as it was checked" in joined
    assert "ok a broken evolve.py is detected" in joined


def test_settings_of_the_yaml_file_are_tuned(typed: str, project: Path) -> None:
    archive = read_archive(project / "runs/tuned")
    assert archive.report is not None and len(archive.candidates) == 2
    assert not any(isinstance(one.failure, Failure) for one in archive.candidates)
    for one in archive.candidates:
        assert one.attempt is not None and one.idea.change is not None
        patch = one.attempt.paths.patch.read_text()
        assert "--- a/points" not in patch and "settings.yaml" in patch and "evolve.cfg" not in patch
        (added,) = [line for line in patch.splitlines() if line.startswith("+  node_add_prob")]
        assert f"node_add_prob: {one.idea.change.settings['DefaultGenome.node_add_prob']}  # new nodes" in added


def test_metrics_are_read_from_the_programs_output(typed: str, project: Path) -> None:
    rows = [
        json.loads(line)
        for path in (project / "runs/tuned").glob("baseline/trial_0/try_0/**/metrics.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == list(range(1, 16)) and rows[-1]["error"] <= rows[0]["error"]


def test_only_its_own_files_are_named() -> None:
    runs = [line for line in command_lines(TEXT) if "pipeline.run" in line or "check_baseline" in line]
    assert runs and all("data=$PROJECT/data" in line and "runs=$PROJECT/runs" in line for line in runs)
