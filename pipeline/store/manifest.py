"""Hashes of the files that a run started with, and checks for files that changed since.

The hashes are taken when the run is created. They are compared when a patch is applied, when a trial starts, and before
it is scored.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.store import files
from pipeline.store.data import FileFact, content_hash, data_facts, difference, hashes_of
from pipeline.store.paths import RunPaths

_PROGRAM = "pipeline/"
"""The part of `code/` that jobs import; Python writes its caches there."""


@dataclass(frozen=True, slots=True)
class RunManifest:
    """Hashes of the code and data that a run started with (manifest.json). Paths are relative, with `/`."""

    code: Mapping[str, str]
    """Path in `code/` to SHA-256; for a link, to its target."""
    data: Mapping[str, FileFact]
    """Path in the folder of prepared data to the facts about that file."""


def code_hashes(folder: Path) -> dict[str, str]:
    """Hash of every file and link below `code/`. Python caches are included where a baseline's command would read
    them."""
    found = {}
    for path in files.paths_below(folder):
        if not (path.startswith(_PROGRAM) and "__pycache__" in path.split("/")):
            file = folder / path
            found[path] = f"-> {os.readlink(file)}" if file.is_symlink() else content_hash(file)
    return found


def read_manifest(paths: RunPaths, digest: str) -> RunManifest | None:
    """The manifest of a run; `digest` is its hash in run.json. None for a run that was created without one. Raises
    `Damaged` if the file has changed since."""
    if not digest:
        return None
    data = paths.manifest.read_bytes() if paths.manifest.is_file() else b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise Damaged(f"{paths.manifest} is not the file that the run started with; restore it from a copy")
    return files.read(paths.manifest, RunManifest)


def altered_code(paths: RunPaths, manifest: RunManifest) -> str | None:
    """The first file of `code/` that changed since the run started, and what happened to it; none if none did."""
    found = difference(manifest.code, code_hashes(paths.code))
    return f"code/{found} since the run started" if found is not None else None


def altered_data(folder: Path, manifest: RunManifest) -> str | None:
    """The first file of the prepared data that changed since the run started, and what happened to it; none if none
    did."""
    found = difference(hashes_of(manifest.data), hashes_of(data_facts(folder, manifest.data)))
    return f"{folder}/{found} since the run started" if found is not None else None
