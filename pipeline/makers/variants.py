"""The code of a run's candidates and of its baseline, as trees in memory."""

import functools
import shutil
from pathlib import Path

from pipeline.patching import Refusal
from pipeline.patching.trees import Tree, apply, read_tree, write_tree
from pipeline.store.paths import RunPaths
from pipeline.store.views import Attempt, Candidate


def variant_tree(paths: RunPaths, candidate: Candidate) -> Tree:
    """The code of a candidate, computed from its patch, since the folder may have been removed."""
    assert candidate.attempt is not None
    return _patched(paths, candidate.attempt)


def restore_variant(paths: RunPaths, attempt: Attempt) -> None:
    """Restore the code of an attempt from its patch if its folder was removed (`keep.variants`)."""
    folder = attempt.paths.variant
    if not folder.is_dir():
        part = folder.with_name("variant.part")
        shutil.rmtree(part, ignore_errors=True)
        write_tree(_patched(paths, attempt), part)
        part.rename(folder)


def _patched(paths: RunPaths, attempt: Attempt) -> Tree:
    tree = apply(pristine_tree(paths), attempt.paths.patch.read_text(errors="surrogateescape"))
    assert not isinstance(tree, Refusal), tree
    return tree


def pristine_tree(paths: RunPaths) -> Tree:
    """The code of the unmodified baseline."""
    return dict(_read_once(paths.pristine))


@functools.lru_cache(maxsize=4)
def _read_once(pristine: Path) -> Tree:
    """The pristine code, cached: it is hashed, read-only and constant during a run."""
    tree = read_tree(pristine)
    assert not isinstance(tree, Refusal), tree
    return tree
