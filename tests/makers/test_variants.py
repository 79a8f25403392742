"""The code of a candidate survives the removal of its folder."""

import shutil
from pathlib import Path

from pipeline.makers.variants import restore_variant
from pipeline.patching.trees import Entry, diff, read_tree
from pipeline.store.paths import RunPaths
from pipeline.store.views import Attempt


def test_a_variant_that_was_removed_is_written_again_from_its_patch(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.pristine.mkdir(parents=True)
    (paths.pristine / "a.py").write_text("x = 1\n")
    before = read_tree(paths.pristine)
    assert isinstance(before, dict)
    code = {**before, "a.py": Entry(b"x = 2\n")}
    attempt = Attempt(paths.candidate("generation_000/candidate_000").attempt(0), None, None, None, ())
    attempt.paths.folder.mkdir(parents=True)
    attempt.paths.patch.write_text(diff(before, code))
    (attempt.paths.folder / "variant.part").mkdir()  # left by a call that was killed
    restore_variant(paths, attempt)
    assert read_tree(attempt.paths.variant) == code
    (attempt.paths.variant / "a.py").write_text("untouched\n")
    restore_variant(paths, attempt)
    assert (attempt.paths.variant / "a.py").read_text() == "untouched\n"
    shutil.rmtree(attempt.paths.variant)
    restore_variant(paths, attempt)
    assert read_tree(attempt.paths.variant) == code and not (attempt.paths.folder / "variant.part").exists()
