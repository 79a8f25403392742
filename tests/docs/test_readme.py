"""README's tree and CONTRIBUTING's tour match the repository. (Links and commands are checked on all pages
together.)"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from pipeline.metric import Direction, Metric
from pipeline.records import Report
from pipeline.report.final_table import final_table
from pipeline.store import files
from tests.docs.pages import ROOT, blocks

TEXT = (ROOT / "README.md").read_text() if (ROOT / "README.md").is_file() else ""
_CONTINUED = 10
"""A line with a larger indentation continues the text of the line above."""


def tree_block(text: str) -> str:
    """The fenced block of the section `The tree`."""
    section = text.partition("\n## The tree\n")[2].partition("\n## ")[0]
    found = [block.text for block in blocks(section)]
    assert len(found) == 1, "README needs one fenced block under `## The tree`"
    return found[0]


def entries(tree: str) -> Iterator[str]:
    """Paths of a tree: two spaces per level; one or more names, then at least two spaces, then their description."""
    above: list[str] = []
    for line in filter(str.strip, tree.splitlines()):
        indent = len(line) - len(line.lstrip())
        if indent > _CONTINUED:
            continue
        names = [name for name in re.split(r" {2,}", line.strip())[0].split() if name not in ("…", "·")]
        depth = indent // 2
        assert indent % 2 == 0 and depth <= len(above), f"indentation of: {line}"
        above = [*above[:depth], names[0] if len(names) == 1 else ""]
        for name in names:
            yield "".join(above[:depth]) + name


def missing(tree: str) -> list[str]:
    """Entries that do not exist as stated: as a folder if they end with a slash, else as a file."""
    wrong = []
    for entry in entries(tree):
        found = list(ROOT.glob(entry.rstrip("/")))
        if not found or not all(path.is_dir() == entry.endswith("/") for path in found):
            wrong.append(entry)
    return wrong


def top_level() -> set[str]:
    """First components of the paths that git tracks."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    return {name.partition("/")[0] for name in listed.stdout.splitlines()}


def test_every_path_of_the_tree_exists() -> None:
    assert missing(tree_block(TEXT)) == []


def test_every_top_level_entry_is_in_the_tree() -> None:
    named = {entry.partition("/")[0] for entry in entries(tree_block(TEXT))}
    assert top_level() - named == set()


def rooms() -> set[str]:
    """Folders of the program."""
    return {path.parent.name + "/" for path in (ROOT / "pipeline").glob("*/__init__.py")}


def test_every_room_is_in_the_tree() -> None:
    assert {"methods/", "store/"} < rooms()
    assert rooms() - {entry.removeprefix("pipeline/") for entry in entries(tree_block(TEXT))} == set()


def test_every_room_is_in_the_tour() -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text().partition("## A tour of the code")[2].partition("\n## ")[0]
    named = {room for row in re.findall(r"^\| \d \| (.+?) \|", tour, re.M) for room in re.findall(r"`(\w+/)`", row)}
    assert rooms() == named


def test_no_placeholders_are_left() -> None:
    assert re.findall(r"^[A-Z][A-Z_]{3,}$|\b[A-Z]+_T(?:ABLE|EXT)\b", TEXT, re.M) == []


def test_two_commands_come_first() -> None:
    first = next(block for block in blocks(TEXT) if block.language == "bash")
    assert [line.split()[:2] for line in first.text.splitlines()] == [["make", "evolve"], ["make", "test"]]


def test_a_claim_is_worded_as_the_program_words_it() -> None:
    report = files.read(ROOT / "tests/analysis/recorded/report.json", Report)
    claimed = replace(report.tests[0], candidate="generation_001/candidate_003", significant=True)
    table = final_table(replace(report, tests=(claimed,)), Metric("accuracy", Direction.maximize))
    assert table is not None and table.lines[0] in TEXT.splitlines()


# ---- the tools of these tests ----


def test_a_tree_is_parsed() -> None:
    tree = (
        "README.md  the page\n"
        "conf/      values\n"
        "  ideate/ implement/ …    one group per stage\n"
        "  nothing.yaml            not there\n"
        "           more words about it\n"
        "baselines/\n"
        "  */ideas/\n"
        "setup.cfg/\n"
    )
    assert list(entries(tree)) == [
        "README.md",
        "conf/",
        "conf/ideate/",
        "conf/implement/",
        "conf/nothing.yaml",
        "baselines/",
        "baselines/*/ideas/",
        "setup.cfg/",
    ]
    assert missing(tree) == ["conf/nothing.yaml", "setup.cfg/"]
