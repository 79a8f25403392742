"""Trees of code as values: writing is atomic, and a diff applied to its base gives the variant, byte for byte."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from pipeline.patching import Refusal, apply_diff, changed_paths, copy_tree, diff_trees, merge_trees
from pipeline.patching.trees import Entry, Tree, apply, diff, merge, read_tree, write_tree


def tree(**files: str | bytes) -> Tree:
    """`tree(a_py="x")` is a tree with the file a.py."""
    named = {name.replace("_py", ".py"): text for name, text in files.items()}
    return {name: Entry(text if isinstance(text, bytes) else text.encode()) for name, text in named.items()}


PAIRS: dict[str, tuple[Tree, Tree]] = {
    "one line": (tree(a_py="x = 1\ny = 2\n"), tree(a_py="x = 1\ny = 3\n")),
    "equal": (tree(a_py="x\n"), tree(a_py="x\n")),
    "both empty": ({}, {}),
    "new file": ({}, tree(a_py="x\n")),
    "deleted file": (tree(a_py="x\n", b_py="y\n"), tree(b_py="y\n")),
    "all deleted": (tree(a_py="x\n"), {}),
    "empty file": ({}, tree(a_py="")),
    "nested": ({"m/a.py": Entry(b"1\n")}, {"m/a.py": Entry(b"2\n"), "m/n/o/b.py": Entry(b"3\n")}),
    "no final newline": (tree(a_py="x"), tree(a_py="x\ny")),
    "final newline goes": (tree(a_py="x\n"), tree(a_py="x")),
    "crlf": (tree(a_py="x\r\ny\r\nz\r\n"), tree(a_py="x\r\nY\r\nz\r\n")),
    "crlf to lf": (tree(a_py="x\r\ny\r\n"), tree(a_py="x\ny\n")),
    "odd names": (
        {"a b/ñ é.py": Entry(b"1\n"), 'q"uote\\.py': Entry(b"1\n"), "tab\there": Entry(b"1\n")},
        {"a b/ñ é.py": Entry(b"2\n"), 'q"uote\\.py': Entry(b"2\n"), "tab\there": Entry(b"2\n")},
    ),
    "binary": ({"w.bin": Entry(bytes(range(256)))}, {"w.bin": Entry(bytes(range(255, -1, -1)))}),
    "not utf-8": ({"a.py": Entry(b"# \xe9\nx\n")}, {"a.py": Entry(b"# \xe9\ny\n")}),
    "program": ({"run.sh": Entry(b"x\n")}, {"run.sh": Entry(b"x\n", "100755")}),
    "link": (tree(a_py="x\n"), {"a.py": Entry(b"x\n"), "m/l.py": Entry(b"../a.py", "120000")}),
    "file becomes folder": ({"a": Entry(b"x\n")}, {"a/b": Entry(b"x\n")}),
    "content of markers": (tree(a_py="-- a/x\n@@ -1 +1 @@\n"), tree(a_py="-- b/x\n@@ -1 +1 @@\n++ c\n")),
    "white space": (tree(a_py="x \n\t y\t\n\n\n"), tree(a_py="x\n\t y\n\n")),
    "attributes in the code": (
        {".gitattributes": Entry(b"* text eol=crlf -diff ident\n"), "a.py": Entry(b"x\n$Id$\n")},
        {".gitattributes": Entry(b"* text eol=crlf -diff ident\n"), "a.py": Entry(b"y\n$Id$\n")},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_diff_on_its_base_gives_the_variant(name: str, tmp_path: Path) -> None:
    base, variant = PAIRS[name]
    write_tree(base, tmp_path / "base")
    write_tree(variant, tmp_path / "variant")
    text = diff_trees(tmp_path / "base", tmp_path / "variant")
    assert not isinstance(text, Refusal)
    assert (text == "") == (base == variant)
    assert apply_diff(tmp_path / "base", text, tmp_path / "out") is None
    assert read_tree(tmp_path / "out") == dict(sorted(variant.items()))
    changed = {path for path in {*base, *variant} if base.get(path) != variant.get(path)}
    assert changed_paths(text) == tuple(sorted(changed))


def test_random_trees_survive_diff_and_apply() -> None:
    draw = random.Random(0)
    lines = [b"x\n", b"\n", b"  y\r\n", b"-- z\n", b"\x00\n", b"\xff\n", b"same\n", b"\t\n"]

    def content() -> bytes:
        text = b"".join(draw.choices(lines, k=draw.randrange(12)))
        return text[:-1] if draw.random() < 0.2 else text

    for _ in range(25):
        names = ["a.py", "b c.py", "m/d.py", "m/n/é.py"]
        base = {name: Entry(content()) for name in names if draw.random() < 0.8}
        variant = {name: Entry(content()) for name in names if draw.random() < 0.8}
        assert apply(base, diff(base, variant)) == dict(sorted(variant.items()))


def test_the_users_git_settings_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, variant = PAIRS["one line"]
    plain = diff(base, variant)
    (tmp_path / ".gitconfig").write_text("[diff]\nnoprefix = true\nexternal = false\n[core]\nautocrlf = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert diff(base, variant) == plain
    assert plain.startswith("diff --git a/a.py b/a.py\n")


def test_apply_works_inside_a_users_repository(tmp_path: Path) -> None:
    """git silently skips files if it finds a repository above the folder."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    base, variant = PAIRS["nested"]
    write_tree(base, tmp_path / "base")
    assert apply_diff(tmp_path / "base", diff(base, variant), tmp_path / "out") is None
    assert read_tree(tmp_path / "out") == dict(sorted(variant.items()))


@pytest.mark.parametrize(
    "text",
    [
        "no diff at all\n",
        diff(tree(a_py="other\n"), tree(a_py="code\n")),
        diff(tree(a_py="x\n"), {"a.py": Entry(b"x\n"), "l": Entry(b"../../etc", "120000")}),
        diff(tree(a_py="x\n"), tree(a_py="y\n")) + diff(tree(b_py="x\n"), tree(b_py="y\n")),
        "--- /dev/null\n+++ b/../escaped.py\n@@ -0,0 +1 @@\n+x\n",
    ],
)
def test_a_diff_is_applied_completely_or_not_at_all(text: str, tmp_path: Path) -> None:
    write_tree(tree(a_py="x\n"), tmp_path / "base")
    assert isinstance(apply_diff(tmp_path / "base", text, tmp_path / "out"), Refusal)
    assert os.listdir(tmp_path) == ["base"]


def test_copy_omits_caches_and_repositories(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in ("a.py", ".git/config", "m/__pycache__/a.pyc", "m/b.py"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (source / "m").chmod(0o555)
    (source / "a.py").chmod(0o444)
    assert copy_tree(source, tmp_path / "target") is None
    copied = read_tree(tmp_path / "target", ignore=())
    assert not isinstance(copied, Refusal)
    assert list(copied) == ["a.py", "m/b.py"]
    assert (tmp_path / "target/a.py").stat().st_mode & 0o200, "a copy of a read-only folder is writable"
    (source / "m").chmod(0o755)


@pytest.mark.parametrize("goal", ["/etc/passwd", "..", "../x", "m/../../x", "m/up/../x"])
def test_copy_refuses_links_out_of_the_folder(goal: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "m/n").mkdir(parents=True)
    (source / "m/up").symlink_to("n")
    (source / "link").symlink_to(goal)
    refusal = copy_tree(source, tmp_path / "target")
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, "link" in refusal.reason) == ("outside", True)
    assert os.listdir(tmp_path) == ["source"]


def test_copy_keeps_an_internal_link_and_never_overwrites(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("x")
    (source / "link.py").symlink_to("a.py")
    assert copy_tree(source, tmp_path / "target") is None
    assert os.readlink(tmp_path / "target/link.py") == "a.py"
    with pytest.raises(FileExistsError):
        copy_tree(source, tmp_path / "target")


TEN = "".join(f"line {number}\n" for number in range(10))
FIRST, LAST = TEN.replace("line 1\n", "first\n"), TEN.replace("line 8\n", "last\n")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        (tree(a_py=TEN), tree(a_py=FIRST), tree(a_py=LAST), tree(a_py=FIRST.replace("line 8\n", "last\n"))),
        (tree(a_py=TEN), tree(a_py=FIRST), tree(a_py=FIRST), tree(a_py=FIRST)),
        (tree(), tree(a_py="x\n"), tree(b_py="y\n"), tree(a_py="x\n", b_py="y\n")),
        (tree(a_py="x\n"), tree(), tree(a_py="x\n"), tree()),
        (tree(a_py="x\n"), tree(), tree(), tree()),
        (tree(a_py="x\n"), tree(a_py="x\n", b_py="y\n"), tree(), tree(b_py="y\n")),
    ],
)
def test_merge(base: Tree, ours: Tree, theirs: Tree, expected: Tree, tmp_path: Path) -> None:
    for name, side in (("base", base), ("ours", ours), ("theirs", theirs)):
        write_tree(side, tmp_path / name)
    assert merge_trees(*(tmp_path / name for name in ("base", "ours", "theirs")), tmp_path / "out") is None
    assert read_tree(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "reason"),
    [
        (tree(a_py=TEN), tree(a_py=FIRST), tree(a_py=TEN.replace("line 1", "1st")), "a.py (lines 2-2)"),
        (tree(a_py=TEN), tree(), tree(a_py=FIRST), "a.py (deleted by one of them)"),
        (tree(), tree(a_py="x\n"), tree(a_py="y\n"), "a.py (lines 1-1)"),
        (tree(a_py=b"\0"), tree(a_py=b"\0\0"), tree(a_py=b"\0a"), "a.py (not a text file)"),
        (tree(), {"a": Entry(b"x\n")}, {"a/b": Entry(b"x\n")}, "a (a file and a folder)"),
    ],
)
def test_merge_conflicts_name_files_and_lines(base: Tree, ours: Tree, theirs: Tree, reason: str) -> None:
    refusal = merge(base, ours, theirs)
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, refusal.reason) == ("conflict", f"both sides changed {reason}")
