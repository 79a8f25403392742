"""A modified file of the run pauses the run; no candidate is blamed."""

from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.records import Ended, Failure, FailureKind, Result, Stage
from pipeline.setup.create import open_or_create
from pipeline.store import files
from tests.stages.test_late_results import Scene, of_candidate


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.open(tmp_path, [1.0, 1000.0, 1.0, 1.0, 1.0], "train.retries=2")


def test_a_job_that_found_a_modified_file_is_repeated_after_the_file_is_restored(scene: Scene) -> None:
    while not scene.read().candidates or len(scene.cluster.spans) < 1:
        scene.go()
    scene.go()
    newest = of_candidate(scene.read()).newest
    altered = Failure(Stage.EVALUATE, FailureKind.ALTERED, "code/baseline/x.py was changed", "try_0")
    files.create(newest.paths.result, Result(Ended.FAILED, failure=altered, ended_at=scene.clock.now))
    scene.context.run.own()
    for _ in range(3):
        scene.go()
    (candidate,) = scene.read().candidates
    assert "code/baseline/x.py was changed; restore it" in scene.paused and "python -m pipeline resume" in scene.paused
    assert not candidate.closed and len(of_candidate(scene.read()).tries) == 1
    scene.context.run.paths.pause.unlink()
    for _ in range(3):
        scene.go()
    (candidate,) = scene.read().candidates
    assert candidate.score is not None and candidate.score.try_ == "try_1"
    scene.context.background.close()


def test_no_patch_is_applied_to_modified_code(scene: Scene) -> None:
    run = scene.context.run
    file = run.paths.pristine / "model.py"
    text = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(text + b"\n# altered\n")
    for _ in range(2):
        scene.go()
    (candidate,) = scene.read().candidates
    assert not candidate.attempts and "code/baseline/model.py was changed" in scene.paused
    with pytest.raises(BadInput, match=r"code/baseline/model\.py was changed since the run started; restore it"):
        open_or_create(scene.context.config)
    file.write_bytes(text)
    run.paths.pause.unlink()
    for _ in range(3):
        scene.go()
    (candidate,) = scene.read().candidates
    assert candidate.attempt is not None and candidate.attempt.smoke is not None
    scene.context.background.close()
