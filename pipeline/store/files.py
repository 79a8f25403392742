"""All writes to a run folder: each is atomic, and none overwrites a decision.

`create` makes a file once; `replace` is for the few files that change (live.json, job.json, the heartbeat). Both write
a temporary file beside the target first, so that no reader sees half a file and no killed program leaves one.
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
"""Prefix of the names of temporary files; readers skip them."""


def create(path: Path, record: object) -> bool:
    """Write a record as JSON; false if the file exists already.

    Raises `CannotContinue` when the disk is full or the folder is not writable.
    """
    return create_bytes(path, to_json(record))


def create_bytes(path: Path, data: bytes) -> bool:
    """Like `create`, for bytes."""
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
    """Write a record as JSON, replacing the file if it exists. Raises `CannotContinue` like `create`."""
    with _one_line_errors(path):
        os.replace(_part(path, to_json(record) if indent else _encode(record)), path)


def append(path: Path, record: object) -> None:
    """Append one line of JSON. For events only: a torn last line is possible and harmless."""
    with _one_line_errors(path), path.open("ab") as file:
        file.write(_encode(record) + b"\n")


def set_aside(path: Path, elsewhere: Callable[[int], Path]) -> None:
    """Rename a file to the first of `elsewhere(0)`, `elsewhere(1)`, … that does not exist."""
    number = 0
    while elsewhere(number).exists():
        number += 1
    with _one_line_errors(path):
        os.replace(path, elsewhere(number))


def read(path: Path, kind: type[T]) -> T:
    """A record of type `kind`. Raises `Damaged` if the content is invalid, FileNotFoundError if the file is missing."""
    data = path.read_bytes()
    try:
        return msgspec.json.decode(_TRY.sub(rb'"try_"\1', data), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged ({error}); restore the file from a copy, or move its folder away, then run again"
        ) from error


def read_if_there(path: Path, kind: type[T]) -> T | None:
    """Like `read`, but none if the file is missing."""
    try:
        return read(path, kind)
    except FileNotFoundError:
        return None


def to_json(record: object) -> bytes:
    """Indented JSON with a final newline. Lone surrogates, which UTF-8 cannot encode, become U+FFFD."""
    return msgspec.json.format(_encode(record), indent=2) + b"\n"


def through_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain data, as they would be read back from a file."""
    back: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return back


def folders(path: Path, prefix: str) -> list[Path]:
    """Subfolders `PREFIX_N`, sorted by N."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(path):
            head, _, number = entry.name.rpartition("_")
            if head == prefix and number.isdigit() and entry.is_dir():
                found.append((int(number), Path(entry.path)))
    return [folder for _, folder in sorted(found)]


def in_folder(folder: Path, write: Callable[[], T]) -> T:
    """Call `write`, which writes into a folder; if the folder is missing, create it and call again."""
    try:
        return write()
    except FileNotFoundError:
        make_folder(folder)
        return write()


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they are missing. Raises `CannotContinue` like `create`."""
    with _one_line_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill. It is renamed to `path` if the block succeeds, and removed otherwise.

    An existing `path`, left by an earlier call that was killed, is replaced.
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
    """Whether this is the name of a temporary file or folder, as a killed write leaves it."""
    return name.startswith(_PART)


def check_space(folder: Path, gb: float, count: int) -> None:
    """Raise `CannotContinue` unless the disk of a folder is writable and has room for `gb` GB in `count` files.

    One MiB is written, because a quota takes effect only on a write."""
    with _one_line_errors(folder / "probe"):
        part = _part(folder / "probe", bytes(2**20))
        part.unlink()
    disk = os.statvfs(folder)
    free_gb = disk.f_bavail * disk.f_frsize / 1e9
    if free_gb < gb:
        raise CannotContinue(
            f"the disk of {folder} has {free_gb:.1f} GB free, but the next jobs may write {gb:.1f} GB (train.disk_gb each); "
            f"free space with `python -m pipeline clean RUN`, or lower cluster.max_parallel"
        )
    if disk.f_files and disk.f_favail < count:  # file systems without a fixed number report 0
        raise CannotContinue(
            f"the disk of {folder} has room for {disk.f_favail} more files, but the next jobs need {count}; "
            f"free some with `python -m pipeline clean RUN`, or lower cluster.max_parallel"
        )


def paths_below(folder: Path) -> list[str]:
    """Relative paths, with `/`, of all files and links below a folder, sorted. Links to folders are not followed."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def tree_hash(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder, except Python caches."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(path.relative_to(folder).as_posix().encode(errors="surrogateescape") + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file that a variant may have made. Raises `OSError` for a link or any other file that is not regular, and
    does not block on a pipe."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def head(path: Path, most_bytes: int = 50_000_000) -> bytes:
    """The begin of a file that a variant may have made. Raises `OSError` as `open_regular` does."""
    with open_regular(path) as file:
        return file.read(most_bytes)


def tail(path: Path, lines: int = 20, most_bytes: int = 20_000) -> str:
    """The last lines of a log, made safe to display; empty if there is no log."""
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
        os.unlink(name)  # on a full disk it would occupy the little space that is left
        raise
    return Path(name)


@contextlib.contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn disk errors into a one-line `CannotContinue` that says what to do."""
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
    except UnicodeEncodeError:  # a file name or line of code whose bytes are not valid UTF-8
        data = writable(json.dumps(msgspec.to_builtins(record), ensure_ascii=False, separators=(",", ":"))).encode()
    return data.replace(b'"try_":', b'"try":')


# `try` is a Python keyword, so the field is `try_`; the key in the file is `try`. Inside a JSON string every quote has
# a backslash before it, so that neither pattern can match there.
_TRY = re.compile(rb'"try"(\s*:)')
