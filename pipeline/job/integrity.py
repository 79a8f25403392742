"""Check before training and scoring that the code and data of a run are unchanged."""

from pathlib import Path

from pipeline.errors import Damaged
from pipeline.records import Failure, FailureKind, Stage
from pipeline.store.manifest import altered_code, altered_data
from pipeline.store.run import Run


def check_integrity(run: Run, data: Path, stage: Stage) -> Failure | None:
    """None if all files are unchanged; else a Failure of kind `altered` that names one of them."""
    try:
        manifest = run.manifest
    except Damaged as error:
        return Failure(stage, FailureKind.ALTERED, str(error))
    if manifest is None:
        return None
    altered = altered_code(run.paths, manifest) or altered_data(data, manifest)
    return Failure(stage, FailureKind.ALTERED, altered) if altered is not None else None
