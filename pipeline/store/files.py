"""Every write of a run folder: whole or not at all, and never over something that was decided.

`create` makes a file once; `replace` is for the few that change (live.json, job.json, the heartbeat). Both write a
temporary file beside the target first, so that a reader, or a program killed in between, never meets half a file.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pipeline.errors import CannotContinue, Damaged
from pipeline.text import plain, writable

T = TypeVar("T")

_LONGEST_LOG_LINE = 1000
_PART = ".part-"
"""Begins the name of a temporary file; readers list no such names."""


def create(path: Path, record: object) -> bool:
    """Write a record as JSON unless the file is already there; returns whether this call created it.

    Raises `CannotContinue` when the disk is full or the folder cannot be written.
    """
    return create_bytes(path, to_json(record))


def create_bytes(path: Path, data: bytes) -> bool:
    """Like `create`, for a text that is no record."""
    with _one_line_errors(path):
        part = _part(path, data)
        try:
            os.link(part, path)  # atomic and exclusive, on NFS too; os.replace would overwrite a decision
        except FileExistsError:
            return False
        finally:
            part.unlink()
    return True


def replace(path: Path, record: object, indent: bool = True) -> None:
    """Write a record as JSON in place of what is there. Raises `CannotContinue` like `create`."""
    with _one_line_errors(path):
        os.replace(_part(path, to_json(record) if indent else _encode(record)), path)


def append(path: Path, record: object) -> None:
    """Add one line of JSON. For events only: a torn last line is possible and harmless."""
    with _one_line_errors(path), path.open("ab") as file:
        file.write(_encode(record) + b"\n")


def set_aside(path: Path, elsewhere: Callable[[int], Path]) -> None:
    """Rename a file to the first of `elsewhere(0)`, `elsewhere(1)`, … that is free."""
    number = 0
    while elsewhere(number).exists():
        number += 1
    with _one_line_errors(path):
        os.replace(path, elsewhere(number))


def read(path: Path, kind: type[T]) -> T:
    """Read a record. Raises `Damaged` when the file is not what it should be, FileNotFoundError when absent."""
    data = path.read_bytes()
    try:
        return msgspec.json.decode(_TRY.sub(rb'"try_"\1', data), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged ({error}); put the file back from a copy, or move its folder away, then run again"
        ) from error


def read_if_there(path: Path, kind: type[T]) -> T | None:
    """Like `read`, but none when the file is absent."""
    try:
        return read(path, kind)
    except FileNotFoundError:
        return None


def to_json(record: object) -> bytes:
    """Indented JSON that ends with a newline. Halves of characters, which no file can hold, become U+FFFD."""
    return msgspec.json.format(_encode(record), indent=2) + b"\n"


def through_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data as it comes back from a file."""
    back: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return back


def folders(path: Path, prefix: str) -> list[Path]:
    """Sub-folders `PREFIX_N` in order of N."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(path):
            head, _, number = entry.name.rpartition("_")
            if head == prefix and number.isdigit() and entry.is_dir():
                found.append((int(number), Path(entry.path)))
    return [folder for _, folder in sorted(found)]


def in_folder(folder: Path, write: Callable[[], T]) -> T:
    """Write something into a folder, which is made if it is missing."""
    try:
        return write()
    except FileNotFoundError:
        make_folder(folder)
        return write()


def make_folder(path: Path) -> None:
    """A folder and those around it, where they are missing. Raises `CannotContinue` like `create`."""
    with _one_line_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` when the block ends well, and is removed when not.

    What an earlier, killed call left under `path` is replaced.
    """
    with _one_line_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=path.parent))
        part.chmod(0o755)
        try:
            yield part
            if path.exists():
                old = Path(tempfile.mkdtemp(prefix=_PART, dir=path.parent))
                os.replace(path, old / "old")
                shutil.rmtree(old)
            os.replace(part, path)
        finally:
            if part.exists():
                shutil.rmtree(part)


def is_part(name: str) -> bool:
    """Whether a killed write left this file or folder."""
    return name.startswith(_PART)


def check_space(folder: Path, gb: float, count: int) -> None:
    """Raise `CannotContinue` unless the disk of a folder can be written and has room for so many GB in so many files.

    A quota shows only in a write: so one megabyte is written."""
    with _one_line_errors(folder / "probe"):
        part = _part(folder / "probe", bytes(2**20))
        part.unlink()
    disk = os.statvfs(folder)
    free_gb = disk.f_bavail * disk.f_frsize / 1e9
    if free_gb < gb:
        raise CannotContinue(
            f"the disk of {folder} has {free_gb:.1f} GB free and the next jobs may write {gb:.1f} (train.disk_gb each); "
            f"free some with `python -m pipeline clean RUN`, or set cluster.max_parallel lower"
        )
    if disk.f_files and disk.f_favail < count:  # file systems without a fixed number say 0
        raise CannotContinue(
            f"the disk of {folder} has room for {disk.f_favail} more files, the next jobs need {count}"
        )


def paths_below(folder: Path) -> list[str]:
    """Relative paths, with `/`, of all files and links below a folder, sorted. Links to folders are not followed."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def tree_hash(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder, caches of Python left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(path.relative_to(folder).as_posix().encode(errors="surrogateescape") + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file that a variant may have made. Raises `OSError` for a link and for what is no regular file, without waiting
    for it as for a pipe."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def tail(path: Path, lines: int = 20, most_bytes: int = 20_000) -> str:
    """The last lines of a log as they may be shown; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return plain("\n".join(text.rstrip().split("\n")[-lines:]), _LONGEST_LOG_LINE)


def _part(path: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=_PART, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except BaseException:
        os.unlink(name)  # on a full disk it would hold what little room is left
        raise
    return Path(name)


@contextlib.contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CannotContinue(f"no space to write {path}; free some, then type the same command again") from error
        if error.errno == errno.EROFS:
            raise CannotContinue(
                f"cannot write {path} ({error.strerror}); choose a folder that can be written"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise CannotContinue(f"cannot write {path} ({error.strerror}); check its owner and mode") from error
        raise


def _encode(record: object) -> bytes:
    try:
        data = msgspec.json.encode(record)
    except UnicodeEncodeError:  # a name of a file or a line of code, whose bytes are no text
        data = writable(json.dumps(msgspec.to_builtins(record), ensure_ascii=False, separators=(",", ":"))).encode()
    return data.replace(b'"try_":', b'"try":')


# `try` is a keyword of Python, so the field is `try_`; the key in the file is `try`. Inside a JSON string every quote has
# a backslash before it, so that neither pattern can match there.
_TRY = re.compile(rb'"try"(\s*:)')
