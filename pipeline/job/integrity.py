"""Code and data of a run are what it started with, or nothing is trained or scored by them."""

from pathlib import Path

from pipeline.errors import Damaged
from pipeline.records import Failure, FailureKind, Stage
from pipeline.store.manifest import altered_code, altered_data
from pipeline.store.run import Run


def check_integrity(run: Run, data: Path, stage: Stage) -> Failure | None:
    """None if all files are as they were; else a Failure that names one and is no idea's fault."""
    try:
        manifest = run.manifest
    except Damaged as error:
        return Failure(stage, FailureKind.ALTERED, str(error))
    if manifest is None:
        return None
    altered = altered_code(run.paths, manifest) or altered_data(data, manifest)
    return Failure(stage, FailureKind.ALTERED, altered) if altered is not None else None
