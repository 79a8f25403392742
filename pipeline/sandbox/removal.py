"""Removes what a variant left, whatever it is: folders inside folders without end, folders that nobody may read."""

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; no link is followed. What cannot be removed stays.

    Folders inside are moved up before they are emptied, so that no path gets too long and no call goes too deep, as in
    `shutil.rmtree`. Call it when all processes of the variant are gone."""
    if folder.is_symlink():
        return
    numbers = itertools.count()
    with contextlib.suppress(OSError):
        while inside := [entry.path for entry in _emptied(folder)]:
            moved = 0
            for place in inside:
                for entry in _emptied(Path(place)):
                    with contextlib.suppress(OSError):
                        os.chmod(entry.path, stat.S_IRWXU)  # what moves to another folder has to be writable itself
                        os.rename(entry.path, _unused(folder, numbers))
                        moved += 1
                with contextlib.suppress(OSError):
                    os.rmdir(place)
                    moved += 1
            if not moved:
                return
        os.rmdir(folder)


def _emptied(folder: Path) -> list["os.DirEntry[str]"]:
    """The folders that are left in a folder once all else in it is removed."""
    with contextlib.suppress(OSError):
        os.chmod(folder, stat.S_IRWXU)
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
    return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]


def _unused(folder: Path, numbers: "itertools.count[int]") -> Path:
    return next(path for path in (folder / f"moved-{number}" for number in numbers) if not os.path.lexists(path))


@contextmanager
def temporary_folder(prefix: str, parent: str | Path | None = None) -> Iterator[Path]:
    """A new folder, removed in the end with all that a variant put there."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)
