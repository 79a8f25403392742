"""What no patch may contain, whoever wrote it and whatever the globs allow."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.patching import Refusal, Rules
from pipeline.patching.planted import REFUSED, check_planted
from pipeline.patching.replies import judge
from pipeline.patching.trees import Entry, Tree, apply, read_tree

BASE: Tree = {
    "train.py": Entry(b"import problems\nimport model\n"),
    "model.py": Entry(b"x = 1\n"),
    "evaluate.py": Entry(b"import json, os.path\nimport safetensors\nfrom problems import ask\nfrom .near import z\n"),
    "problems.py": Entry(b"import random\n"),
    "lib/__init__.py": Entry(b""),
    "lib/score.py": Entry(b"import statistics\n"),
    "old": Entry(b"model.py", "120000"),
}
RULES = Rules(["*", "!/evaluate.py", "!/problems.py", "!/lib/**"])
CODE = Entry(b"y = 2\n")


def at(path: str, entry: Entry = CODE) -> Tree:
    return dict(sorted({**BASE, path: entry}.items()))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("rows\x1b[2J.txt", "characters that cannot be shown"),
        ("sub/.git/config", "repository inside the code"),
        (".GIT/hooks/pre-commit", "repository inside the code"),
        (".gitmodules", "repository inside the code"),
        (".gitattributes", "repository inside the code"),
        ("vendor/.hg/store", "repository inside the code"),
        ("model.pyc", "cannot be reviewed"),
        ("__pycache__/evaluate.cpython-311.pyc", "cannot be reviewed"),
        ("fast.cpython-311-x86_64-linux-gnu.so", "cannot be reviewed"),
        ("libx.so.1.2", "cannot be reviewed"),
        ("wheel.WHL", "cannot be reviewed"),
        ("sitecustomize.py", "at the start of every process"),
        ("deep/usercustomize/__init__.py", "at the start of every process"),
        ("more.pth", "import paths"),
        ("python311._pth", "import paths"),
        ("pyvenv.cfg", "import paths"),
        ("json.py", "shadow the module json, which evaluate.py imports"),
        ("os/__init__.py", "shadow the module os, which evaluate.py imports"),
        ("safetensors.py", "shadow the module safetensors, which evaluate.py imports"),
        ("random.py", "shadow the module random, which problems.py imports"),
        ("statistics.py", "shadow the module statistics, which lib/score.py imports"),
        ("problems/__init__.py", "shadow the protected module problems.py"),
        ("lib.py", "shadow the protected module lib/__init__.py"),
        ("lib/score/__init__.py", "shadow the protected module lib/score.py"),
    ],
)
def test_a_planted_file_is_refused_with_a_reason(path: str, why: str) -> None:
    refusal = check_planted(BASE, at(path), RULES)
    assert refusal is not None and refusal.kind == "planted" and why in refusal.reason


def test_a_link_is_refused_also_in_place_of_a_file_and_one_of_the_baseline_is_kept() -> None:
    for path in ("new", "model.py"):
        refusal = judge(BASE, at(path, Entry(b"train.py", "120000")), RULES)
        assert refusal is not None and "it is a link" in refusal.reason
    assert judge(BASE, at("model.py"), RULES) is None


HONEST = """optimizer.py collections.py model/__init__.py docs/json.md json.yaml tests/sites.py .gitignore so.py data/json.py
json/rows.txt gitmodules.py"""


@pytest.mark.parametrize("path", HONEST.split())
def test_honest_files_are_accepted(path: str) -> None:
    """A standard-library module that no protected code imports, and names in their own folders, are harmless."""
    assert check_planted(BASE, at(path), RULES) is None


def test_each_kind_of_the_table_has_its_own_reason() -> None:
    assert len({kind for kind, _, _ in REFUSED}) == len({reason for _, _, reason in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")], ids=["a pipe", "a link outside"]
)
def test_special_files_are_not_code(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "x.py")
    assert isinstance(read_tree(tmp_path), Refusal)


def test_a_nested_repository_is_not_part_of_a_diff() -> None:
    commit = "1234567890" * 4
    gitlink = f"diff --git a/sub b/sub\nnew file mode 160000\nindex {'0' * 40}..{commit}\n--- /dev/null\n+++ b/sub\n"
    made = apply(BASE, f"{gitlink}@@ -0,0 +1 @@\n+Subproject commit {commit}\n")
    assert isinstance(made, Refusal) or made == BASE
