"""Code written as a git repository, read back by git itself."""

import subprocess
from pathlib import Path

import pytest

from pipeline.patching.history import Commit, write_history
from pipeline.patching.trees import Entry, read_tree

BASE = {"a.py": Entry(b"a = 1\n"), "run.sh": Entry(b"#!/bin/sh\n", "100755"), "link": Entry(b"a.py", "120000")}
LEFT = {**BASE, "b.py": Entry(b"\xff\x00\n")}
RIGHT = {"a.py": Entry(b"a = 2\r\n")}
BOTH = {"a.py": Entry(b"a = 2\r\n"), "b.py": Entry(b"\xff\x00\n"), ".gitattributes": Entry(b"* text eol=lf\n")}
COMMITS = [
    Commit(BASE, "Base\n", "Groundwork", 1_000),
    Commit(LEFT, "Left\n\nWhy: <b>ä</b>.\n", "some/model-1 <x@y>\n", 2_000, (0,)),
    Commit(RIGHT, "Right\n", "", 3_000, (0,)),
    Commit(BOTH, "Both\n", "a person", 4_000, (1, 2)),
]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout


def test_git_reads_every_commit_back(tmp_path: Path) -> None:
    out = tmp_path / "new/out"
    write_history(COMMITS, out)
    log = git(out, "log", "--topo-order", "--reverse", "--format=%s|%an|%ae|%at|%b").split("\n")
    assert [line for line in log if line] == [
        "Base|Groundwork||1000|",
        "Left|some/model-1 x@y||2000|Why: <b>ä</b>.",
        "Right|unknown||3000|",
        "Both|a person||4000|",
    ]
    assert len(git(out, "rev-list", "--parents", "-1", "main").split()) == 3  # a merge
    assert git(out, "status", "--short", "--branch") == "## main\n" and git(out, "fsck", "--strict") == ""
    assert read_tree(out) == BOTH
    for number, commit in ((3, BASE), (2, LEFT)):
        (tmp_path / str(number)).mkdir()
        hashes = git(out, "log", "--topo-order", "--format=%H").split()
        git(out, "worktree", "add", "--quiet", str(tmp_path / str(number) / "tree"), hashes[number])
        assert read_tree(tmp_path / str(number) / "tree") == dict(sorted(commit.items()))


def test_the_same_commits_are_the_same_history_and_nothing_is_overwritten(tmp_path: Path) -> None:
    write_history(COMMITS, tmp_path / "one")
    (tmp_path / "two").mkdir()
    write_history(COMMITS, tmp_path / "two")
    assert git(tmp_path / "one", "rev-parse", "main") == git(tmp_path / "two", "rev-parse", "main")
    with pytest.raises(FileExistsError, match="one exists"):
        write_history(COMMITS[:1], tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
