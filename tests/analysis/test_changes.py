"""The changes of a patch, for hand-made patches and patches by git."""

import subprocess
from pathlib import Path

import pytest

from analysis.changes import Change, changes, on_parent, sort_of

CODE = "a = 1\nb = 2\n\n\ndef f(x):\n    return x * a\n"


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    folder = tmp_path / "pristine"
    folder.mkdir()
    (folder / "train.py").write_text(CODE)
    (folder / "size.yaml").write_text("width: 4\n")
    return folder


def patch(pristine: Path, tmp_path: Path, files: dict[str, str | None]) -> str:
    """The diff that git makes of a changed copy."""
    work = tmp_path / "work"
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["cp", "-r", pristine, work], check=True)
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "pristine"], check=True)
    for name, text in files.items():
        (work / name).unlink(missing_ok=True) if text is None else (work / name).write_text(text)
    subprocess.run([*git, "add", "-A"], check=True)
    return subprocess.run([*git, "diff", "--cached", "--no-renames"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "text",
    [
        CODE.replace("1", "3"),
        "first = 0\n" + CODE + "last = 9\n",
        CODE.rstrip("\n"),
        CODE + "no end",
        CODE.replace("b = 2\n", ""),
        "\n".join(f"x{k} = {k}" for k in range(30)) + "\n" + CODE,
        "",
    ],
    ids=["value", "both ends", "end of file lost", "no end of file", "line lost", "many", "emptied"],
)
def test_a_patch_by_git_gives_the_new_text(pristine: Path, tmp_path: Path, text: str) -> None:
    assert changes(pristine, patch(pristine, tmp_path, {"train.py": text})) == {"train.py": Change(CODE, text)}


def test_files_are_added_and_removed(pristine: Path, tmp_path: Path) -> None:
    found = changes(pristine, patch(pristine, tmp_path, {"new.py": "x = 1\n", "size.yaml": None}))
    assert found == {"new.py": Change("", "x = 1\n"), "size.yaml": Change("width: 4\n", "")}


def test_a_patch_that_does_not_fit_is_refused(pristine: Path, tmp_path: Path) -> None:
    text = patch(pristine, tmp_path, {"train.py": CODE.replace("1", "3")})
    (pristine / "train.py").write_text("something else\n")
    with pytest.raises(ValueError, match="does not fit"):
        changes(pristine, text)
    outside = text.replace("b/train.py", "b/../../secret")
    assert changes(pristine, outside.replace("a/train.py", "a/../../secret")) == {}


@pytest.mark.parametrize(
    ("path", "after", "sort"),
    [
        ("train.py", CODE.replace("a = 1", "a = 3e-4  # smaller"), "settings"),
        ("train.py", CODE.replace("a = 1", "a = -1"), "settings"),
        ("train.py", CODE.replace("x * a", "x + a"), "algorithm"),
        ("train.py", CODE + "c = 3\n", "algorithm"),
        ("train.py", "a = (", "algorithm"),
        ("size.yaml", "width: 8\n", "settings"),
        ("size.yaml", "", "algorithm"),
    ],
)
def test_settings_and_algorithms_are_distinguished_by_the_syntax_tree(path: str, after: str, sort: str) -> None:
    before = CODE if path == "train.py" else "width: 4\n"
    assert sort_of({path: Change(before, after)}) == sort


def test_no_change_has_no_kind() -> None:
    assert sort_of({}) is None


def test_what_a_child_changed_on_its_parent() -> None:
    parent = {"train.py": Change("a\nb\nc\n", "a\nB\nc\n"), "gone.py": Change("x\n", "y\n")}
    child = {"train.py": Change("a\nb\nc\n", "a\nB\nC\n")}
    lines = on_parent(child, parent).splitlines()
    assert [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))] == [
        "-y",
        "+x",
        "-c",
        "+C",
    ]
