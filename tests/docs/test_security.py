"""SECURITY.md names the tests of its guarantees: they exist."""

import re
from pathlib import Path

import pytest

from tests.attacks.table import FAILING, GROUPS
from tests.docs.pages import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
TABLE = PAGE.partition("| guarantee | test |\n|---|---|\n")[2].partition("\n\n")[0]
ROWS = dict(re.findall(r"^\| (.+) \| (.*) \|$", TABLE, re.M))


def names(path: Path) -> set[str]:
    """Names of the tests in a file or folder as words, and those of the attacks that they try."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    found = {name for file in files for name in re.findall(r"^def test_(\w+)", file.read_text(), re.M)}
    attacks = {*GROUPS, *FAILING, *(name for group in GROUPS.values() for name in group)}
    return {name.replace("_", " ") for name in found} | (attacks if path.name == "attacks" else set())


@pytest.mark.parametrize("guarantee", ROWS, ids=lambda text: text[:50])
def test_each_guarantee_names_tests_that_exist(guarantee: str) -> None:
    parts = re.findall(r"`([^`]+)`|\"([^\"]+)\"", ROWS[guarantee])
    assert parts and parts[0][0]
    known: set[str] = set()
    for path, phrase in parts:
        if path:
            assert (ROOT / path).exists(), path
            known = names(ROOT / path)
            assert known, f"{path} has no tests"
        else:
            assert any(phrase in name for name in known), phrase


def test_every_test_that_the_page_names_exists() -> None:
    assert len(ROWS) > 10
    assert [path for path in re.findall(r"`((?:tests/|test_)[\w/.]+)`", PAGE) if not (ROOT / path).exists()] == []
