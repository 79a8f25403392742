"""Which files of a baseline's folder are its code."""

import os
from pathlib import Path

import pytest

from pipeline.config import BaselineConfig
from pipeline.errors import BadInput
from pipeline.setup.code import code_files
from tests.toy import TOY, Bench, baseline


def tree(folder: Path, *names: str) -> BaselineConfig:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return BaselineConfig(name="mine", folder=str(folder))


@pytest.mark.parametrize(
    ("ignored", "kept"),
    [
        pytest.param(".venv/lib/torch.py", "train.py", id="a virtual environment"),
        pytest.param("__pycache__/train.cpython-311.pyc", "train.py", id="caches of Python"),
        pytest.param(".git/HEAD", ".github/x", id="git"),
        pytest.param("outputs/1/log", "outputs.py", id="outputs of Hydra"),
        pytest.param("weights/last.safetensors", "weights/README", id="weights"),
        pytest.param("secret/key", "secrets.py", id="names in .gitignore"),
        pytest.param("sub/local.txt", "local.txt", id="names in the .gitignore of a folder"),
        pytest.param("sub/deep/tmp/x", "tmp/x", id="at any depth below that folder"),
    ],
)
def test_what_is_left_out(ignored: str, kept: str, tmp_path: Path) -> None:
    config = tree(tmp_path, ignored, kept)
    (tmp_path / ".gitignore").write_text("# mine\n/secret/\n")
    (tmp_path / "sub").mkdir(exist_ok=True)
    (tmp_path / "sub/.gitignore").write_text("/local.txt\ntmp/\n")
    found = code_files(config).paths
    assert kept in found and ignored not in found


def test_a_folder_that_holds_more_than_code_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    config = tree(tmp_path, "train.py")
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(BadInput, match=r"holds 2 files, 60 MB.*largest are data\.bin, train\.py.*baseline\.ignore"):
        code_files(config)
    config.ignore = ["data.bin"]
    assert code_files(config).paths == ("train.py",)


def test_special_files_are_refused(tmp_path: Path) -> None:
    config = tree(tmp_path, "train.py")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="pipe is neither a file, a folder nor a link"):
        code_files(config)


@pytest.mark.parametrize("goal", ["/etc", "../other", "nowhere/../../other"])
def test_a_link_out_of_the_folder_is_refused(goal: str, tmp_path: Path) -> None:
    config = tree(tmp_path, "train.py")
    (tmp_path / "inside").symlink_to("train.py")
    assert code_files(config).paths == ("inside", "train.py")
    (tmp_path / "data").symlink_to(goal)
    with pytest.raises(BadInput, match=f"the link data leaves the folder: it points to {goal}; .*baseline.ignore"):
        code_files(config)
    config.ignore = ["data"]
    assert code_files(config).paths == ("inside", "train.py")


def test_an_invalid_line_of_gitignore_is_ignored(tmp_path: Path) -> None:
    config = tree(tmp_path, "train.py", "out/x")
    (tmp_path / ".gitignore").write_bytes(b"[\n!\n\\\n\xff\nout/\n")
    assert code_files(config).paths == (".gitignore", "train.py")
    config.ignore = ["!"]
    with pytest.raises(BadInput, match=r"baseline\.ignore: '!' is not a pattern"):
        code_files(config)


def test_a_run_copies_only_code_and_reports_its_size(tmp_path: Path, toy_data: Path) -> None:
    conf = baseline(tmp_path)
    tree(tmp_path / "toy", ".venv/lib/big.py", "notes/.gitignore", "notes/x.md")
    (tmp_path / "toy/notes/.gitignore").write_text("*\n")
    bench = Bench(tmp_path / "runs", toy_data, conf)
    done = bench.run("r", "--once", "select.baseline_seeds=1", "ideate.candidates=1").ok()
    assert "code of the baseline: " in done.out and " files, 0.0 MB" in done.out
    copied = {path.name for path in (tmp_path / "runs/r/code/baseline").iterdir()}
    assert copied == {path.name for path in TOY.iterdir() if path.is_file()}


def test_a_colon_in_the_path_is_refused(tmp_path: Path, toy_data: Path) -> None:
    bench = Bench(tmp_path / "runs", toy_data)
    bench.run("2026-11-25T21:00").refused(2, "in its path", "run=")
    assert not (tmp_path / "runs").exists()
