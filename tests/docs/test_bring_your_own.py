"""The how-to describes a repository: its files are written and its commands run."""

from pathlib import Path

import pytest

from pipeline.records import Failure
from pipeline.store.reader import read_archive
from tests.docs.pages import ROOT, blocks, command_lines, type_page, write_files

PAGE = ROOT / "docs/how-to/bring-your-own-training-code.md"
TEXT = PAGE.read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's repository, made from the page alone."""
    folder = tmp_path_factory.mktemp("my-project")
    write_files(TEXT, folder)
    return folder


@pytest.fixture(scope="module")
def typed(project: Path) -> str:
    """Output of the page's commands, run in order in one shell at the root of the checkout."""
    return type_page(TEXT, project)


def test_the_page_holds_every_file_of_its_tree(project: Path) -> None:
    tree = next(block.text for block in blocks(TEXT) if block.language == "text")
    named = {word for word in tree.replace("/", " ").split() if word.endswith((".py", ".yaml"))}
    files = {path.name for path in project.rglob("*") if path.is_file()}
    assert {"train.py", "evaluate.py", "bigram.yaml"} < named
    assert named <= files


def test_the_contract_is_kept(typed: str) -> None:
    assert "the baseline fulfils its contract" in typed
    for file in ("train.py", "settings.py"):
        assert f"ok   a broken {file} is detected" in typed


def test_the_search_ends_with_a_report(typed: str, project: Path) -> None:
    archive = read_archive(project / "runs/first")
    assert archive.report is not None
    assert len(archive.candidates) == 4
    assert not any(isinstance(candidate.failure, Failure) for candidate in archive.candidates)
    titles = {candidate.idea.title for candidate in archive.candidates}
    assert any("Decaying step size" in title for title in titles), titles
    assert "first: stop.generations=2 reached" in typed


def test_only_its_own_files_are_named() -> None:
    """The page's commands use the reader's folders, so that nothing is left in the checkout."""
    runs = [line for line in command_lines(TEXT) if "pipeline.run" in line or "check_baseline" in line]
    assert runs
    assert all("data=$PROJECT/data" in line and "runs=$PROJECT/runs" in line for line in runs)
