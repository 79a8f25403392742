"""Tables of settled generations as Parquet files in the user's cache. They are derived data and can be deleted at any time.

They are in `$XDG_CACHE_HOME/groundwork/tables` (default `~/.cache`), one folder for each run. A row is used only while the
summary of its generation is the same file as the one from which it was made."""

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
"""Identity of the summary file by number of the generation."""


def read_cache(run: Path, names: tuple[str, ...]) -> tuple[Marks, dict[str, pd.DataFrame]]:
    """The generations in the cache of a run, and the cached tables; both empty if there is no usable cache."""
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
    except (OSError, ValueError, KeyError):  # missing, incomplete, or of another version
        return {}, {}
    if len(marks) != 1:
        return {}, {}  # two programs wrote at the same time
    return {int(number): mark for number, _, mark in (one.partition(" ") for one in marks.pop().splitlines())}, found


def write_cache(run: Path, marks: Marks, tables: Mapping[str, pd.DataFrame]) -> None:
    """Cache the tables of the generations in `marks`; does nothing if the cache cannot be written."""
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
    """A hash of the code that makes the rows."""
    return hashlib.sha256(b"".join(Path(str(one.__file__)).read_bytes() for one in (columns, rows))).hexdigest()
