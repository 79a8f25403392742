"""Training data and evaluator data are apart: no file of the one is one of the other, by whatever name or link."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadInput

Identity = tuple[int, int]
"""Device and number of a file or folder, which all its names and links share."""


def check_apart(data: Path, train: str = "train", evaluator: str = "evaluator") -> None:
    """Raises `BadInput` if `train/` and `evaluator/` of a data folder share a file or folder."""
    seen = dict(_reachable(data / train, set()))
    for identity, path in _reachable(data / evaluator, set()):
        if identity in seen:
            raise BadInput(
                f"{seen[identity]} and {path} are the same: training could read, or change, what scores it; let `prepare` "
                f"write both apart, copies where need be, remove {data} and prepare again"
            )


def _reachable(path: Path, passed: set[Identity]) -> Iterator[tuple[Identity, Path]]:
    """Every file and folder that can be read through a path, links followed; each folder once."""
    try:
        found = path.stat()
    except FileNotFoundError:  # not there, or a link to nothing
        return
    identity = (found.st_dev, found.st_ino)
    yield identity, path
    if path.is_dir() and identity not in passed:
        passed.add(identity)
        for entry in sorted(os.scandir(path), key=lambda one: one.name):
            yield from _reachable(Path(entry.path), passed)
