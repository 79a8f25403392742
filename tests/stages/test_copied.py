"""A checkpoint identical to one of other code is not a result."""

from pathlib import Path

from pipeline.records import FailureKind
from tests.toy import CHEAP, TOY, Bench, baseline

SETTINGS = (TOY / "settings.py").read_text()


def test_a_change_without_effect_is_a_failure(tmp_path: Path, toy_data: Path) -> None:
    """One idea changes a value that is never read; another changes one that has an effect."""
    ideas = {
        "idle": {"settings.py": SETTINGS + "    # nothing reads this\n    unused: int = 1\n"},
        "works": {"settings.py": SETTINGS.replace("batch: int = 4", "batch: int = 8")},
    }
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, ideas=ideas))
    bench.run("r", *CHEAP, "ideate.candidates=2", "ideate.patch_share=1").ok()
    found = {one.idea.title: one for one in bench.archive("r").candidates}
    assert found["works"].score is not None
    failure = found["idle"].failure
    assert failure is not None and failure.kind is FailureKind.COPIED
    assert failure.reason.startswith("the checkpoint is the same as that of baseline: the change has no effect")


def test_scores_of_earlier_versions_match_no_checkpoint(tmp_path: Path, toy_data: Path) -> None:
    ideas = {"works": {"settings.py": SETTINGS.replace("batch: int = 4", "batch: int = 8")}}
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, ideas=ideas))
    bench.run("r", *CHEAP, "ideate.candidates=1", "ideate.patch_share=1").ok()
    archive = bench.archive("r")
    score = archive.candidates[0].score
    assert score is not None and archive.same_checkpoint(score.checkpoint) == archive.candidates[0].id
    assert archive.same_checkpoint("") is None and archive.same_checkpoint("0" * 64) is None
