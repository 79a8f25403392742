"""Check that training data and evaluator data share no file, by whatever name or link."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadInput

Identity = tuple[int, int]
"""Device and inode number of a file or folder, which all its names and links share."""


def check_apart(data: Path, train: str = "train", evaluator: str = "evaluator") -> None:
    """Raise `BadInput` if `train/` and `evaluator/` of a data folder share a file or folder."""
    seen = dict(_reachable(data / train, set()))
    for identity, path in _reachable(data / evaluator, set()):
        if identity in seen:
            raise BadInput(
                f"{seen[identity]} and {path} are the same: training could read, or change, the data that scores it; make "
                f"`prepare` write separate copies, remove {data} and prepare again"
            )


def _reachable(path: Path, passed: set[Identity]) -> Iterator[tuple[Identity, Path]]:
    """Every file and folder reachable from a path, links followed. The contents of each folder are listed once."""
    try:
        found = path.stat()
    except FileNotFoundError:  # missing, or a dangling link
        return
    identity = (found.st_dev, found.st_ino)
    yield identity, path
    if path.is_dir() and identity not in passed:
        passed.add(identity)
        for entry in sorted(os.scandir(path), key=lambda one: one.name):
            yield from _reachable(Path(entry.path), passed)
