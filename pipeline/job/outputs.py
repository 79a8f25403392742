"""Outputs of a variant are treated as hostile data: only regular files count, and no link is followed."""

import contextlib
import fnmatch
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.records import Failure, FailureKind, Stage
from pipeline.store import files

_MOST_FILES = 10_000


@dataclass(frozen=True)
class Entry:
    """One file or folder, as `lstat` reports it."""

    path: Path
    """Full path."""
    name: str
    """Path relative to the walked folder."""
    mode: int
    """File type and permissions."""
    size: int
    """Apparent size in bytes, including holes."""
    links: int
    """Number of hard links."""

    @property
    def regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


def walk(folder: Path, inside: str = "") -> Iterator[Entry]:
    """All entries below a folder, each folder before its content, sorted by name; no link is followed."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        seen = entry.stat(follow_symlinks=False)
        path, name = Path(entry.path), f"{inside}{entry.name}"
        yield Entry(path, name, seen.st_mode, seen.st_size, seen.st_nlink)
        if stat.S_ISDIR(seen.st_mode):
            yield from walk(path, f"{name}/")


def admit(checkpoint: Path, allowed: Sequence[str], most_gb: float) -> str | Failure:
    """The hash of a checkpoint's names and contents, or why the evaluator must not read it.

    `allowed` are globs of file names. To be called after all processes of the variant have ended."""
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        return _bad("it is not a folder")
    size, count, total = 0, 0, hashlib.sha256()
    for entry in walk(checkpoint):
        if entry.folder:
            continue
        size, count = size + entry.size, count + 1
        if not entry.regular or entry.links > 1:
            return _bad(f"{entry.name} is a link or a special file; only regular files are read")
        if not any(fnmatch.fnmatch(entry.path.name, pattern) for pattern in allowed):
            return _bad(f"{entry.name} matches none of {', '.join(allowed)} (baseline.checkpoint)")
        if size > 1e9 * most_gb or count > _MOST_FILES:
            return _bad(f"it has more than {most_gb:g} GB (train.disk_gb) or {_MOST_FILES} files")
        with files.open_regular(entry.path) as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{entry.name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest() if count else _bad("it is empty")


def _bad(reason: str) -> Failure:
    return Failure(Stage.EVALUATE, FailureKind.BAD_CHECKPOINT, f"output/checkpoint: {reason}")


def copy_regular(source: Path, target: Path) -> None:
    """Copy the folders and regular files below a folder, and nothing else."""
    target.mkdir(exist_ok=True)
    for entry in walk(source):
        place = target / entry.name
        if entry.folder:
            place.mkdir(exist_ok=True)
        elif entry.regular:
            with files.open_regular(entry.path) as file, place.open("wb") as copy:
                shutil.copyfileobj(file, copy)


def sweep(folder: Path) -> None:
    """Remove links and special files, which could lead a later reader out of the folder or block it forever."""
    for entry in walk(folder):
        if not entry.regular and not entry.folder:
            with contextlib.suppress(FileNotFoundError):
                entry.path.unlink()
