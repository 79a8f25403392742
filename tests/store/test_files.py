"""Files are written completely or not at all, and decisions are never overwritten."""

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.errors import CannotContinue, Damaged
from pipeline.records import Failure, FailureKind, Job, Score, Stage
from pipeline.store import files

SCORE = Score("loss", 1.0, 0.1, 3, "validation", 0)


@dataclass(frozen=True)
class Number:
    number: int


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_create_writes_once(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert files.create(path, Number(1)) is True
    assert files.create(path, Number(2)) is False
    assert files.read(path, Number) == Number(1)
    assert path.read_text() == '{\n  "number": 1\n}\n'
    assert names(tmp_path) == ["x.json"]


def test_of_many_concurrent_creators_one_wins(tmp_path: Path) -> None:
    start, won = threading.Barrier(16), []

    def create(number: int) -> None:
        start.wait()
        if files.create(tmp_path / "x.json", Number(number)):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [files.read(tmp_path / "x.json", Number).number] == won
    assert names(tmp_path) == ["x.json"]


def test_replace_is_atomic_for_every_reader(tmp_path: Path) -> None:
    path, stop = tmp_path / "x.json", threading.Event()
    files.replace(path, Number(0))
    seen: list[Number] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(files.read(path, Number))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(200):
        files.replace(path, Number(number))
    stop.set()
    reader.join()
    assert [one.number for one in seen] == sorted(one.number for one in seen)
    assert names(tmp_path) == ["x.json"]


def test_append_adds_lines(tmp_path: Path) -> None:
    for number in range(3):
        files.append(tmp_path / "x.jsonl", Number(number))
    assert (tmp_path / "x.jsonl").read_text() == '{"number":0}\n{"number":1}\n{"number":2}\n'


def test_set_aside_takes_the_first_free_name(tmp_path: Path) -> None:
    for number in range(3):
        files.create(tmp_path / "report.json", Number(number))
        files.set_aside(tmp_path / "report.json", lambda number: tmp_path / f"report_{number}.json")
    assert names(tmp_path) == ["report_0.json", "report_1.json", "report_2.json"]
    assert files.read(tmp_path / "report_2.json", Number) == Number(2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"number": 1',
        "null",
        "[]",
        '{"metric": "loss"}',
        '{"metric": 1, "value": 1.0, "standard_error": 0.1, "n": 3, "split": "validation", "seed": 0}',
        '{"metric": "loss", "value": NaN, "standard_error": 0.1, "n": 3, "split": "validation", "seed": 0}',
        '{"metric": "loss", "value": 1.0, "standard_error": -1.0, "n": 3, "split": "validation", "seed": 0}',
        '{"metric": "loss", "value": 1e999, "standard_error": 0.1, "n": 3, "split": "validation", "seed": 0}',
        "\x00\x00\x00",
        "\xff",
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "score.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(Damaged) as caught:
        files.read(path, Score)
    words = str(caught.value)
    assert words.startswith(f"{path} is damaged (") and "\n" not in words and "restore the file" in words
    assert path.read_text(encoding="latin-1") == text


def test_an_absent_file(tmp_path: Path) -> None:
    assert files.read_if_there(tmp_path / "x.json", Score) is None
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "x.json", Score)


def test_folders_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("try_10", "try_2", "try_0", "try_x", "trial_1", ".part-abc", "try_"):
        (tmp_path / name).mkdir()
    (tmp_path / "try_3").write_text("no folder")
    assert [path.name for path in files.folders(tmp_path, "try")] == ["try_0", "try_2", "try_10"]
    assert files.folders(tmp_path / "nothing", "try") == []


def test_a_new_folder_appears_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep/code"
    with files.new_folder(target) as part:
        (part / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert target.stat().st_mode & 0o777 == 0o755
    with files.new_folder(target) as part:
        (part / "b").write_text("2")
    assert names(target) == ["b"]
    with pytest.raises(KeyError), files.new_folder(target) as part:
        raise KeyError
    assert names(target) == ["b"] and names(target.parent) == ["code"]


def test_the_hash_of_a_tree_covers_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for number, (name, text) in enumerate([("a", "1"), ("a", "2"), ("b", "1"), ("a1", "")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        hashes.add(files.tree_hash(folder))
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__/x.pyc").write_text("x")
        assert files.tree_hash(folder) in hashes
    assert len(hashes) == 4


def test_names_that_are_not_text_are_hashed_and_recorded(tmp_path: Path) -> None:
    """A file name chosen by a variant, and a reason that quotes it."""
    for folder, name in (("a", b"caf\xe9"), ("b", b"caf\xe8")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / os.fsdecode(name)).write_text("x")
    assert files.tree_hash(tmp_path / "a") != files.tree_hash(tmp_path / "b")
    (path,) = (tmp_path / "a").iterdir()
    reason = Failure(Stage.EVALUATE, FailureKind.BAD_CHECKPOINT, f"{path.name} is in the way", "try_0")
    files.create(tmp_path / "failure.json", reason)
    read = files.read(tmp_path / "failure.json", Failure)
    assert read == replace(reason, reason="caf\N{REPLACEMENT CHARACTER} is in the way")


def test_the_tail_of_a_log_is_clean_text(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n" * 5000 + b"\x1b[31mred\xff\x00\nlast\n\n")
    assert files.tail(log).splitlines()[-2:] == ["\ufffd[31mred\ufffd\ufffd", "last"]
    assert len(files.tail(log)) < 20_000
    assert files.tail(tmp_path / "nothing.log") == ""


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without free space."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        (folder / "live.json").write_text('{"number": 1}')
        with pytest.raises(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(full_disk: Path) -> None:
    before = names(full_disk)
    for write in (
        lambda: files.create(full_disk / "x.json", SCORE),
        lambda: files.replace(full_disk / "live.json", SCORE),
        lambda: files.append(full_disk / "events.jsonl", Job("x" * 9000, 0, "test")),
    ):
        with pytest.raises(CannotContinue) as caught:
            write()
        assert str(caught.value).startswith("no space to write ") and "\n" not in str(caught.value)
    assert files.read(full_disk / "live.json", Number) == Number(1)
    assert [name for name in names(full_disk) if name != "events.jsonl"] == before


def test_a_folder_without_write_permission_is_one_line(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(CannotContinue, match=r"cannot write .* choose a folder that can be written"):
            files.create(tmp_path / "x.json", SCORE)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_beginning_of_a_variants_file(tmp_path: Path) -> None:
    """Whatever length it claims to have; a link or a pipe in its place blocks nothing."""
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    assert files.head(tmp_path / "hole", 10) == bytes(10)
    (tmp_path / "link").symlink_to("hole")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "absent"):
        with pytest.raises(OSError):
            files.head(tmp_path / name)
