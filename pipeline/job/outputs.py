"""Outputs of a variant are treated as hostile data: only regular files count, and no link is followed."""

import contextlib
import fnmatch
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.records import Failure, FailureKind, Stage
from pipeline.sandbox.removal import remove_tree
from pipeline.store import files

_MOST_FILES = 10_000
_DEEPEST = 32


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

    @property
    def too_deep(self) -> bool:
        """Whether it is a folder inside so many others that nobody looks into it."""
        return self.folder and self.name.count("/") >= _DEEPEST


def walk(folder: Path) -> Iterator[Entry]:
    """All that is below a folder, each folder before its content, in the order of names. No link is followed, and no folder
    that is too deep. A folder that its owner may not read is made readable."""
    open_ = [(iter(_entries(folder)), "")]
    while open_:
        entries, inside = open_[-1]
        entry = next(entries, None)
        if entry is None:
            open_.pop()
            continue
        seen = entry.stat(follow_symlinks=False)
        found = Entry(Path(entry.path), f"{inside}{entry.name}", seen.st_mode, seen.st_size, seen.st_nlink)
        yield found
        if found.folder and not found.too_deep:
            open_.append((iter(_entries(found.path)), f"{found.name}/"))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    if not os.access(folder, os.R_OK | os.X_OK):
        os.chmod(folder, stat.S_IRWXU)
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def admit(checkpoint: Path, allowed: Sequence[str], most_gb: float) -> str | Failure:
    """The hash of a checkpoint's names and contents, or why the evaluator must not read it.

    `allowed` are globs of file names. To be called after all processes of the variant have ended."""
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        return _bad("it is not a folder")
    size, count, regular, total = 0, 0, 0, hashlib.sha256()
    for entry in walk(checkpoint):
        count += 1
        if count > _MOST_FILES or entry.too_deep:
            return _bad(f"it has more than {_MOST_FILES} files and folders, or {_DEEPEST} inside each other")
        if entry.folder:
            continue
        size, regular = size + entry.size, regular + 1
        if not entry.regular or entry.links > 1:
            return _bad(f"{entry.name} is a link or a special file; only regular files are read")
        if not any(fnmatch.fnmatch(entry.path.name, pattern) for pattern in allowed):
            return _bad(f"{entry.name} matches none of {', '.join(allowed)} (baseline.checkpoint)")
        if size > 1e9 * most_gb:
            return _bad(f"it has more than {most_gb:g} GB (train.disk_gb)")
        try:
            with files.open_regular(entry.path) as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return _bad(f"{entry.name} cannot be read ({error.strerror})")
        total.update(f"{entry.name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest() if regular else _bad("it is empty")


def _bad(reason: str) -> Failure:
    return Failure(Stage.EVALUATE, FailureKind.BAD_CHECKPOINT, f"output/checkpoint: {reason}")


def copy_regular(source: Path, target: Path, most_gb: float) -> None:
    """Copy the regular files below a folder; all else stays behind. Nothing is copied if they are larger together, holes
    included, or too many."""
    if source.is_symlink() or not source.is_dir():
        return
    entries = list(itertools.islice(walk(source), _MOST_FILES + 1))
    if len(entries) > _MOST_FILES or sum(entry.size for entry in entries if entry.regular) > 1e9 * most_gb:
        return
    target.mkdir(exist_ok=True)
    for entry in entries:
        place = target / entry.name
        if entry.folder:
            place.mkdir(exist_ok=True)
        elif entry.regular:
            with contextlib.suppress(OSError), files.open_regular(entry.path) as file, place.open("wb") as copy:
                shutil.copyfileobj(file, copy)


def sweep(folder: Path) -> None:
    """Remove what could harm a later reader or another user: links and special files, folders that are too deep, and the
    right to run a program as this user."""
    for entry in list(walk(folder)):
        if entry.too_deep:
            remove_tree(entry.path)
        elif not entry.regular and not entry.folder:
            with contextlib.suppress(FileNotFoundError):
                entry.path.unlink()
        elif entry.mode & (stat.S_ISUID | stat.S_ISGID):
            entry.path.chmod(stat.S_IMODE(entry.mode) & ~(stat.S_ISUID | stat.S_ISGID))
