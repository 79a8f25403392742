"""Prepared data in `data/BASELINE/SCALE/`, closed by a manifest. Runs share it and never change it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.store import files

EVALUATOR = "evaluator"
"""Subfolder with the data used for scoring. It is small enough to be hashed at every check."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """Facts about one file of prepared data."""

    sha256: str
    """SHA-256 of its content."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Last change of its content, nanoseconds since 1970."""
    ctime_ns: int
    """Last change of its content or metadata, nanoseconds since 1970. No program can set it."""


@dataclass(frozen=True)
class Manifest:
    """Summary of a prepared data folder (manifest.json), written last."""

    hash: str
    """SHA-256 over names and contents of all files."""
    bytes: int
    """Total size of all files."""
    files: int
    """Number of files."""
    facts: Mapping[str, FileFact] = field(default_factory=dict)
    """Path relative to the folder to the facts about that file; empty for data prepared by an earlier version."""
    repeats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Part of the data to the number of texts that `prepare` removed from it because they repeat held-out ones, by kind
    of repeat (`exact` and `near`), as recorded in `evaluator/duplicates.json`; empty if nothing was recorded."""


def manifest_path(folder: Path) -> Path:
    """The manifest of a data folder."""
    return folder / "manifest.json"


def write_manifest(folder: Path) -> Manifest:
    """Hash the files of a data folder and close it with a manifest."""
    path = manifest_path(folder)
    path.unlink(missing_ok=True)
    facts = data_facts(folder)
    repeats = files.read_if_there(folder / EVALUATOR / "duplicates.json", dict[str, dict[str, int]]) or {}
    size = sum(fact.size for fact in facts.values())
    manifest = Manifest(files.tree_hash(folder), size, len(facts), facts, repeats)
    files.create(path, manifest)
    return manifest


def check_data(folder: Path, prepare: str) -> str:
    """The hash of prepared data. Raises `BadInput` with the command that prepares it if the folder holds none."""
    manifest = files.read_if_there(manifest_path(folder), Manifest)
    if manifest is None:
        raise BadInput(f"{folder} holds no prepared data; make it with: {prepare}")
    return manifest.hash


def verified_facts(folder: Path) -> dict[str, FileFact]:
    """Facts about all files of a closed data folder. Raises `BadInput` naming a file that changed since it was
    prepared."""
    known = files.read(manifest_path(folder), Manifest).facts
    found = data_facts(folder, known)
    wrong = difference(hashes_of(known), hashes_of(found)) if known else None
    if wrong is not None:
        raise BadInput(f"{folder}/{wrong} since the data was prepared; delete {folder} and prepare the data again")
    return found


def data_facts(folder: Path, known: Mapping[str, FileFact] | None = None) -> dict[str, FileFact]:
    """Facts about every file of a data folder except its manifest. Outside `evaluator/`, the hash in `known` is reused
    for a file with unchanged size and times, since training data can be large."""
    found = {}
    for path in files.paths_below(folder):
        if folder / path != manifest_path(folder) and (folder / path).is_file():
            reused = None if path.startswith(f"{EVALUATOR}/") else (known or {}).get(path)
            found[path] = _fact(folder / path, reused)
    return found


def _fact(file: Path, known: FileFact | None) -> FileFact:
    found = file.stat()
    times = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if known is not None and times == (known.size, known.mtime_ns, known.ctime_ns):
        return known
    return FileFact(content_hash(file), *times)


def content_hash(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def hashes_of(facts: Mapping[str, FileFact]) -> dict[str, str]:
    """Path to SHA-256."""
    return {path: fact.sha256 for path, fact in facts.items()}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first path that was removed, added or changed, with what happened to it; none if there is none."""
    for path in sorted({*before, *now}):
        if path not in now:
            return f"{path} was removed"
        if path not in before:
            return f"{path} was added"
        if before[path] != now[path]:
            return f"{path} was changed"
    return None
