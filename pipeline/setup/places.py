"""What a person names on the command line: a run, a candidate, or what holds trials."""

from pathlib import Path

from pipeline.errors import BadInput
from pipeline.store.paths import RunPaths, run_of
from pipeline.store.reader import Reader
from pipeline.store.views import Attempt


def run_at(folder: Path) -> RunPaths:
    """The run at, or around, a folder. Raises `BadInput`."""
    paths = run_of(folder.resolve())
    if paths is None:
        raise BadInput(f"{folder} is not in a run folder; name one such as runs/NAME, or list them with: ls runs")
    return paths


def candidate_at(folder: Path) -> tuple[RunPaths, str]:
    """The run and the id of the candidate at, or around, a folder. Raises `BadInput`."""
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
    """What holds trials at a folder: the newest attempt of a candidate, or the baseline of a run. Raises `BadInput`."""
    paths = run_at(folder)
    archive = Reader(paths).read()
    if folder.resolve() == paths.baseline.folder:
        return paths, archive.baseline
    attempt = archive.candidate(candidate_at(folder)[1]).attempt
    if attempt is None:
        raise BadInput(f"{folder} is not implemented yet; see: python -m pipeline show {folder}")
    return paths, attempt
