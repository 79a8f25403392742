"""Resolves names from the command line: of a run, a candidate, or a holder of trials. Every short name that the program
prints is accepted: `NAME` for `runs/NAME`, `g1/c3` for that candidate of the latest run, not counting reruns and
ablations."""

import re
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.store.paths import RunPaths, run_of
from pipeline.store.reader import Reader
from pipeline.store.views import Attempt

RUNS = Path("runs")
"""Default folder of runs; `runs=` sets another."""


def all_runs(folder: Path = RUNS) -> list[RunPaths]:
    """The runs in a folder, latest first."""
    found = [RunPaths(path.parent) for path in folder.glob("*/run.json")]
    return sorted(found, key=lambda paths: -paths.facts.stat().st_mtime)


def place_of(named: Path) -> Path:
    """The folder for a name; the name itself if it is not a short name."""
    if named.exists():
        return named
    parts = tuple(re.sub(r"^g(\d+)$", _generation, re.sub(r"^c(\d+)$", _candidate, part)) for part in named.parts)
    full = Path(*parts)
    newest = [paths.folder for paths in all_runs() if not paths.derived.exists()][:1]
    for place in (full, RUNS / full, *(run / full for run in newest if parts[0].startswith("generation_"))):
        if place.exists():
            return place
    return named


def _generation(found: "re.Match[str]") -> str:
    return f"generation_{int(found[1]):03d}"


def _candidate(found: "re.Match[str]") -> str:
    return f"candidate_{int(found[1]):03d}"


def run_at(folder: Path) -> RunPaths:
    """The run at or around a folder. Raises `BadInput`."""
    folder = place_of(folder)
    paths = run_of(folder.resolve())
    if paths is None:
        raise BadInput(
            f"{folder} is not in a run folder; name one such as runs/NAME, or list them with: python -m pipeline status"
        )
    return paths


def candidate_at(folder: Path) -> tuple[RunPaths, str]:
    """The run and the id of the candidate at or around a folder. Raises `BadInput`."""
    folder = place_of(folder)
    paths = run_at(folder)
    inside = folder.resolve().relative_to(paths.folder).parts[:2]
    candidate = "/".join(inside)
    if len(inside) < 2 or not inside[1].startswith("candidate_") or not paths.candidate(candidate).idea.exists():
        raise BadInput(
            f"{folder} is not a candidate; name its folder, e.g. {paths.folder.name}/generation_000/candidate_000, "
            f"or list them with: python -m pipeline status {paths.folder}"
        )
    return paths, candidate


def holder_at(folder: Path) -> tuple[RunPaths, Attempt]:
    """The holder of trials at a folder: the newest attempt of a candidate, or the baseline of a run. Raises
    `BadInput`."""
    folder = place_of(folder)
    paths = run_at(folder)
    archive = Reader(paths).read()
    if folder.resolve() == paths.baseline.folder:
        return paths, archive.baseline
    attempt = archive.candidate(candidate_at(folder)[1]).attempt
    if attempt is None:
        raise BadInput(f"{folder} is not implemented yet; see: python -m pipeline show {folder}")
    return paths, attempt
