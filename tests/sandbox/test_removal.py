"""What a variant leaves is removed, however deeply it is nested, and nothing beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.sandbox.removal import remove_tree, temporary_folder
from tests.toy import ROOT


def nested(folder: Path, name: str, count: int) -> None:
    """Nested folders, deeper than a path can name."""
    before = Path.cwd()
    os.chdir(folder)
    for _ in range(count):
        os.mkdir(name)
        os.chdir(name)
        Path("file").touch()
    os.chdir(before)


@pytest.mark.parametrize(("name", "count"), [("d", 1100), ("d" * 200, 30)], ids=["many", "long names"])
def test_deeply_nested_folders_are_removed(name: str, count: int, tmp_path: Path) -> None:
    with temporary_folder("x-", tmp_path) as folder:
        nested(folder, name, count)
        (folder / "moved-0").mkdir()
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "gone/inside").mkdir(parents=True)
    for link in ("gone/link", "gone/inside/link", "top"):
        (tmp_path / link).symlink_to(tmp_path / "kept")
    os.mkfifo(tmp_path / "gone/pipe")
    remove_tree(tmp_path / "gone")
    remove_tree(tmp_path / "top")
    remove_tree(tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "kept", "top"]


CLOSED = """
import ctypes, os, sys
from pathlib import Path
from pipeline.job.outputs import admit, sweep, walk
from pipeline.sandbox.removal import remove_tree
folder = Path(sys.argv[1])
libc = ctypes.CDLL(None)
for capability in (1, 2):  # of root, to read and write what modes forbid
    libc.prctl(24, capability)
if len(sys.argv) == 2:
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "again"])
(folder / "checkpoint").mkdir()
(folder / "checkpoint/model.json").touch(mode=0)
(folder / "closed/inside").mkdir(parents=True)
(folder / "closed/inside/file").touch()
(folder / "closed/inside").chmod(0)
(folder / "closed").chmod(0)
print(admit(folder / "checkpoint", ["*.json"], 1.0).reason)
print([entry.name for entry in walk(folder)])
(folder / "closed/inside").chmod(0)
(folder / "closed").chmod(0)
sweep(folder)
(folder / "closed/inside").chmod(0)
(folder / "closed").chmod(0)
remove_tree(folder)
print(folder.exists())
"""


def test_unreadable_files_do_not_prevent_removal(tmp_path: Path) -> None:
    """As a user other than root, or as root without the capabilities that ignore modes."""
    folder = tmp_path / "output"
    folder.mkdir()
    argv = [sys.executable, "-c", CLOSED, str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "output/checkpoint: model.json cannot be read (Permission denied)",
        "['checkpoint', 'checkpoint/model.json', 'closed', 'closed/inside', 'closed/inside/file']",
        "False",
    ]
