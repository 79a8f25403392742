"""Which changes to a run's code and data are detected, and how they are reported."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.job.integrity import check_integrity
from pipeline.records import FailureKind, Stage
from pipeline.store.data import verified_facts, write_manifest
from pipeline.store.paths import RunPaths
from pipeline.store.run import Run, create_run
from tests.store.test_run import CONFIG, SOURCES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in `run/`, and its data in `data/`."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in (("train/rows.json", "[1]"), ("evaluator/test.json", "[2]")):
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_text(text)
    write_manifest(folder / "data")
    create_run(RunPaths(folder / "run"), SOURCES, CONFIG, "1.0", "hash", verified_facts(folder / "data"))
    return folder


def run_in(made: Path, folder: Path) -> Run:
    """A copy of the run, with the original's data beside it."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return create_run(RunPaths(folder / "other"), SOURCES, CONFIG, "1.0", "hash", verified_facts(folder / "data"))


def overwrite(path: str, text: str = "x") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            file.chmod(0o644)
        file.write_text(text)

    return change


def same_size_and_time(folder: Path) -> None:
    file = folder / "data/train/rows.json"
    before = file.stat()
    file.write_text("[9]")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def link(folder: Path) -> None:
    file = folder / "other/code/baseline/evaluate.py"
    file.rename(folder / "elsewhere.py")
    file.symlink_to(folder / "elsewhere.py")


def rewritten(folder: Path) -> None:
    file = folder / "data/train/rows.json"
    file.write_text(file.read_text())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(lambda folder: None, None, id="nothing"),
        pytest.param(rewritten, None, id="the same data written again"),
        pytest.param(overwrite("other/code/pipeline/job/__pycache__/x.pyc"), None, id="a cache of the program itself"),
        pytest.param(
            overwrite("other/code/baseline/evaluate.py"), "code/baseline/evaluate.py was changed", id="evaluator"
        ),
        pytest.param(link, "code/baseline/evaluate.py was changed", id="a link in place of the evaluator"),
        pytest.param(
            overwrite("other/code/baseline/json.py"),
            "code/baseline/json.py was added",
            id="a module that shadows another",
        ),
        pytest.param(
            overwrite("other/code/baseline/__pycache__/evaluate.cpython-311.pyc"),
            "code/baseline/__pycache__/evaluate.cpython-311.pyc was added",
            id="bytecode beside the evaluator",
        ),
        pytest.param(
            lambda folder: (folder / "other/code/size.json").unlink(), "code/size.json was removed", id="size file"
        ),
        pytest.param(
            overwrite("data/evaluator/test.json", "[3]"), "evaluator/test.json was changed", id="held-out data"
        ),
        pytest.param(overwrite("data/train/rows.json", "[1,2]"), "train/rows.json was changed", id="training data"),
        pytest.param(same_size_and_time, "train/rows.json was changed", id="training data with its old size and time"),
        pytest.param(overwrite("other/manifest.json", "{}"), "manifest.json is not the file", id="the manifest itself"),
    ],
)
def test_a_changed_file_is_named_and_not_an_ideas_fault(
    change: Callable[[Path], None], found: str | None, made: Path, tmp_path: Path
) -> None:
    run = run_in(made, tmp_path)
    change(tmp_path)
    failure = check_integrity(run, tmp_path / "data", Stage.EVALUATE)
    if found is None:
        assert failure is None
        return
    assert failure is not None and failure.stage is Stage.EVALUATE
    assert failure.kind is FailureKind.ALTERED and failure.kind.infrastructure
    assert found in failure.reason


def test_data_that_changed_since_its_preparation_starts_no_run(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data", tmp_path / "data")
    assert verified_facts(tmp_path / "data").keys() == {"train/rows.json", "evaluator/test.json"}
    overwrite("data/evaluator/test.json", "[7]")(tmp_path)
    with pytest.raises(BadInput, match=r"evaluator/test\.json was changed since the data was prepared; delete"):
        verified_facts(tmp_path / "data")
