"""Prepared data: `data/BASELINE/SCALE/`, with a manifest that closes it. Shared by runs, changed by none."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.store import files


@dataclass(frozen=True)
class Manifest:
    """What `prepare` made (manifest.json); written last."""

    hash: str
    """SHA-256 over names and contents."""
    bytes: int
    """Size of all files."""
    files: int
    """Number of files."""


def manifest_path(folder: Path) -> Path:
    """The manifest of a data folder."""
    return folder / "manifest.json"


def write_manifest(folder: Path) -> Manifest:
    """Close a data folder: hash what is in it."""
    path = manifest_path(folder)
    path.unlink(missing_ok=True)
    found = [file for file in folder.rglob("*") if file.is_file()]
    manifest = Manifest(files.tree_hash(folder), sum(file.stat().st_size for file in found), len(found))
    files.create(path, manifest)
    return manifest


def check_data(folder: Path, baseline: str, scale: str) -> str:
    """The hash of prepared data. Raises `BadInput` with what to type when it is not there."""
    manifest = files.read_if_there(manifest_path(folder), Manifest)
    if manifest is None:
        raise BadInput(
            f"{folder} holds no prepared data; make it with: python -m pipeline prepare baseline={baseline} scale={scale}"
        )
    return manifest.hash
