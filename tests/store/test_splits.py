"""Training data and evaluator data: a `prepare` that shares any file between them is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.store.data import write_manifest
from pipeline.store.splits import check_apart


def linked(folder: Path, where: str, target: str) -> None:
    (folder / where).symlink_to(target)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two parts with one file each, and a folder beside them."""
    for name in ("train/rows", "evaluator/test", "evaluator/deep/model", "other/rows"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the same text")
    return tmp_path


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(lambda at: os.link(at / "evaluator/test", at / "train/more"), id="a hard link"),
        pytest.param(lambda at: linked(at, "train/more", "../evaluator/test"), id="a link to a file"),
        pytest.param(lambda at: linked(at, "evaluator/more", str(at / "train/rows")), id="a link in the other direction"),
        pytest.param(lambda at: linked(at, "train/more", "../evaluator"), id="a link to the folder"),
        pytest.param(lambda at: linked(at, "train/more", "../evaluator/deep"), id="a link to a folder inside"),
        pytest.param(lambda at: linked(at, "train/more", ".."), id="a link to their parent folder"),
        pytest.param(lambda at: (linked(at, "train/a", "../other"), linked(at, "evaluator/b", "../other")), id="a third"),
        pytest.param(
            lambda at: (linked(at, "train/a", "../other"), os.link(at / "other/rows", at / "evaluator/b")), id="both kinds"
        ),
    ],
)  # fmt: skip
def test_shared_files_are_refused(share: Callable[[Path], object], data: Path) -> None:
    share(data)
    with pytest.raises(BadInput, match="are the same: training could read") as refused:
        check_apart(data)
    assert "\n" not in str(refused.value)


def test_one_folder_for_both_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluator").mkdir()
    linked(tmp_path, "train", "evaluator")
    with pytest.raises(BadInput, match=r"remove .* and prepare again"):
        check_apart(tmp_path)


def test_copies_and_links_to_other_places_are_allowed(data: Path) -> None:
    linked(data, "train/more", "../other")
    linked(data, "train/round", ".")
    linked(data, "evaluator/nothing", "nowhere")
    check_apart(data)
    check_apart(data / "nothing prepared")


def test_a_manifest_records_what_prepare_left_out(data: Path) -> None:
    assert write_manifest(data).repeats == {}
    (data / "evaluator/duplicates.json").write_text('{"train": {"exact": 2, "near": 3}}')
    assert write_manifest(data).repeats == {"train": {"exact": 2, "near": 3}}
