"""Replies of models: every reply of the corpus gives its tree or its refusal, and none does harm."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.patching import KINDS, Refusal, Rules, apply_reply, patched_tree
from pipeline.patching.__main__ import main
from pipeline.patching.replies import is_placeholder
from pipeline.patching.trees import Entry, Tree, diff, read_tree, write_tree
from tests.patching.cases import CORPUS, RULES, Case, base, cases

CASES = cases()
BASE = base()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus(case: Case) -> None:
    result = patched_tree(BASE, case.reply.decode(), RULES)
    if case.expected is None:
        assert isinstance(result, Refusal), diff(BASE, result)
        assert (result.kind, case.reason in result.reason) == (case.kind, True), result
        assert "\n" not in result.reason
    else:
        assert not isinstance(result, Refusal), result
        assert result == case.expected, diff(case.expected, result)


def test_the_corpus_is_large_and_covers_every_kind() -> None:
    assert len(CASES) >= 60
    seen = {case.kind for case in CASES}
    assert seen - {""} == set(KINDS) - {"unknown_setting", "bad_value", "near"}
    for name in ("diff", "blocks", "files"):
        assert {case.expected is None for case in CASES if case.format == name} == {True, False}


@pytest.mark.parametrize("evolvable", [["train.py"], ["*.py", "!utils.py"]])
def test_only_evolvable_files_change(evolvable: list[str]) -> None:
    reply = (CORPUS / "files/plain/reply.md").read_text()
    refusal = patched_tree(BASE, reply, Rules(evolvable))
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, "utils.py is not evolvable" in refusal.reason) == ("protected", True)
    assert not isinstance(patched_tree(BASE, reply, Rules(["utils.py"])), Refusal)


def test_a_diff_of_git_is_a_valid_reply() -> None:
    """A result of the corpus, written as a diff by git, gives the same result."""
    for case in CASES[::3]:  # two processes each
        if case.expected is not None:
            text = diff(BASE, case.expected)
            result = patched_tree(BASE, f"Here it is:\n```diff\n{text}```\n" if "```" not in text else text, RULES)
            assert result == case.expected, (case.name, result)


def test_every_line_of_a_random_change_is_applied() -> None:
    """The invariant behind the tables: a true diff of random code applies wherever its position is unambiguous."""
    draw = random.Random(0)
    words = ["x = 1", "", "y = 2", "    z = 3", "\tt = 4"] + [f"v{number} = {number}" for number in range(30)]
    for _ in range(60):
        old = draw.choices(words, k=draw.randrange(1, 40))
        new = [line for line in old if draw.random() < 0.9]
        for _ in range(draw.randrange(1, 4)):
            new.insert(draw.randrange(len(new) + 1), draw.choice(words))
        before: Tree = {"a.txt": Entry(("\n".join(old) + "\n").encode())}
        after: Tree = {"a.txt": Entry(("\n".join(new) + "\n").encode())}
        if old != new and any(new):
            assert patched_tree(before, diff(before, after)) == after


def spoiled(draw: random.Random, text: str) -> str:
    """A reply with lines lost, repeated, swapped, shortened or moved, cut off, or with another reply inserted."""
    lines = text.split("\n")
    for _ in range(draw.randrange(1, 5)):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(7):
            case 0:
                del lines[at:other]
                lines = lines or [""]
            case 1:
                lines.insert(other, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = lines[at][1:]
            case 4:
                lines[at] = draw.choice([" ", "\t", "+", "-", "@@", "```", "=======", "../", "\\"]) + lines[at]
            case 5:
                lines[at] = draw.choice([chr(draw.randrange(0x10FFFF)), "\0", "\ud800", "\r", "\f"]) + lines[at]
            case 6:
                lines = "\n".join(lines)[: draw.randrange(len(text) + 1)].split("\n")
    return "\n".join(lines)


def test_spoiled_replies_do_no_harm() -> None:
    """Nothing raises, and an accepted reply changes no protected file, leaves no folder and compiles."""
    draw = random.Random(1)
    texts = [case.reply.decode() for case in CASES]
    for _ in range(600):
        text = spoiled(draw, draw.choice(texts) + (draw.choice(texts) if draw.random() < 0.2 else ""))
        result = patched_tree(BASE, text, RULES)
        if isinstance(result, Refusal):
            assert result.kind in KINDS
            assert result.reason
            assert "\n" not in result.reason
            continue
        assert result["evaluate.py"] == BASE["evaluate.py"]
        assert result["linked"] == BASE["linked"]
        for path in result:
            assert not path.startswith(("/", "~", "linked/"))
            assert not {"..", ".", "", ".git"} & set(path.split("/"))
            if path.endswith(".py"):
                compile(result[path].data, path, "exec")


def test_a_change_cut_off_in_a_fence_is_never_partly_applied() -> None:
    """A reply that ends in the middle of its change is refused, or gives no file that the whole reply does not give."""
    for name in ("diff/fence_and_prose", "blocks/path_above_the_fence", "files/heading_and_prose"):
        text = (CORPUS / name / "reply.md").read_text()
        whole = patched_tree(BASE, text, RULES)
        for end in range(len(text)):
            result = patched_tree(BASE, text[:end], RULES)
            assert isinstance(result, Refusal) or result == whole, text[:end]


@pytest.mark.timeout(60)
def test_a_change_that_fits_nowhere_is_refused_quickly() -> None:
    lines = [f"    value_{number} = compute(value_{number - 1}, {number})" for number in range(4000)]
    before: Tree = {"a.txt": Entry("\n".join(lines).encode())}
    hunk = "".join(f" {line.replace('compute', 'calculate')}\n" for line in lines[2000:2060])
    result = patched_tree(before, f"--- a/a.txt\n+++ b/a.txt\n@@ -1,60 +1,60 @@\n{hunk}-    gone = 1\n+    come = 1\n")
    assert isinstance(result, Refusal)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# ... existing code ...", True),
        ("    # ... (rest of the function)", True),
        ("// rest of file unchanged", True),
        ("<!-- ... -->", True),
        ("# …", True),
        ("[... same as before ...]", True),
        ("# The remaining methods stay the same", True),
        ("# (unchanged)", True),
        ("# keep the rest of the batch on the CPU", False),
        ("# and so on, see above...", False),
        ("x = rest  # unchanged", False),
        ("...", False),
        ("# existing codes are reused by the loader", False),
        ("Wait ...", False),
    ],
)
def test_placeholders(line: str, expected: bool) -> None:
    assert is_placeholder(line) is expected


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    write_tree(BASE, tmp_path / "base")
    return tmp_path / "base", tmp_path / "reply.md", tmp_path / "out"


def test_command_writes_the_tree(folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, reply, out = folders
    reply.write_bytes((CORPUS / "diff/plain/reply.md").read_bytes())
    assert main([str(source), str(reply), str(out), "--json"]) == 0
    written = read_tree(out)
    assert not isinstance(written, Refusal)
    assert diff(BASE, written) == (CORPUS / "diff/plain/expected.diff").read_text()
    assert json.loads(capsys.readouterr().out) == {"diff": diff(BASE, written)}
    assert read_tree(source) == BASE


@pytest.mark.parametrize("name", ["diff/protected", "diff/partial", "files/outside", "diff/does_not_parse"])
def test_command_refuses_in_one_line(
    name: str, folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, reply, out = folders
    reply.write_bytes((CORPUS / name / "reply.md").read_bytes())
    assert main([str(source), str(reply), str(out), "--protected", "evaluate.py", "*.json"]) == 3
    assert sorted(os.listdir(source.parent)) == ["base", "reply.md"], "nothing is written"
    error = capsys.readouterr().err
    assert error.startswith("refused: ")
    assert error.count("\n") == 1


def test_command_reports_what_is_wrong_with_its_input(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, reply, out = folders
    reply.write_bytes((CORPUS / "diff/plain/reply.md").read_bytes())
    full = source.parent / "full"
    write_tree(BASE, full)
    for arguments, said in (
        ([source / "missing", reply, out], "is not a folder"),
        ([source, source / "missing", out], "missing"),
        ([source, source, out], "directory"),
        ([source, reply, full], "exists; name a new folder"),
        ([source, reply, reply], "exists; name a new folder"),
        ([source, reply, out, "--protected", "a\\"], "a glob cannot be read"),
    ):
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not out.exists()
    reply.write_bytes(b"\xff\xfe")
    assert main([str(source), str(reply), str(out)]) == 3
    assert "not UTF-8" in capsys.readouterr().err


def test_command_runs_as_a_module(folders: tuple[Path, Path, Path]) -> None:
    source, _, out = folders
    command = [sys.executable, "-m", "pipeline.patching", source, "-", out]
    done = subprocess.run(
        command, input=(CORPUS / "files/plain/reply.md").read_bytes(), capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (out / "utils.py").exists()
    help_text = subprocess.run([*command[:3], "--help"], capture_output=True, check=True).stdout.decode()
    assert all(kind in help_text for kind in KINDS[:12])


def test_apply_reply_writes_everything_or_nothing(folders: tuple[Path, Path, Path]) -> None:
    source, _, out = folders
    good, bad = (
        (CORPUS / name / "reply.md").read_text() for name in ("diff/several_files_in_one_fence", "diff/partial")
    )
    assert isinstance(apply_reply(source, bad, out), Refusal)
    assert sorted(os.listdir(source.parent)) == ["base"]
    assert apply_reply(source, good, out) is None
    with pytest.raises(FileExistsError):
        apply_reply(source, good, out)
