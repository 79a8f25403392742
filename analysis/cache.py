"""Tables of settled generations as Parquet files in the user's cache: derived, and removed at any time without loss.

They lie in `$XDG_CACHE_HOME/groundwork/tables` (`~/.cache` without it), a folder for each run. A row is used only while the
summary of its generation is the very file that it was made from."""

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis import columns, rows

Marks = Mapping[int, str]
"""Number of a generation to what identifies the file it was read from."""


def read_cache(run: Path, names: tuple[str, ...]) -> tuple[Marks, dict[str, pd.DataFrame]]:
    """What was kept of a run, and of which generations; nothing where there is no usable cache."""
    marks: set[str] = set()
    found: dict[str, pd.DataFrame] = {}
    try:
        for name in names:
            found[name] = pd.read_parquet(_folder(run) / f"{name}.parquet")
            for column in found[name].select_dtypes("object"):
                found[name][column] = found[name][column].map(list, na_action="ignore")  # lists come back as arrays
            marks.add(str(found[name].attrs.pop("marks")))
            if found[name].attrs.pop("code") != _code():
                return {}, {}
    except (OSError, ValueError, KeyError):  # absent, half a file, or of another version
        return {}, {}
    if len(marks) != 1:
        return {}, {}  # two programs wrote at once
    return {int(number): mark for number, _, mark in (one.partition(" ") for one in marks.pop().splitlines())}, found


def write_cache(run: Path, marks: Marks, tables: Mapping[str, pd.DataFrame]) -> None:
    """Keep tables of the generations that `marks` name. Where nothing can be written, nothing is kept."""
    folder = _folder(run)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            kept = table.copy(deep=False)
            kept.attrs = {"marks": "\n".join(f"{number} {mark}" for number, mark in marks.items()), "code": _code()}
            handle, part = tempfile.mkstemp(dir=folder)
            os.close(handle)
            try:
                kept.to_parquet(part)
                os.replace(part, folder / f"{name}.parquet")
            finally:
                Path(part).unlink(missing_ok=True)


def _folder(run: Path) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "groundwork/tables" / hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]


@functools.cache
def _code() -> str:
    """Identifies the code that made the rows."""
    return hashlib.sha256(b"".join(Path(str(one.__file__)).read_bytes() for one in (columns, rows))).hexdigest()
