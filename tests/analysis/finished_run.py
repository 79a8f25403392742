"""A finished run of the toy baseline, made once per test session, for tests that only read it."""

import functools
import shutil
from pathlib import Path

from tests.toy import Bench


@functools.cache
def finished_run(runs: Path, data: Path) -> Path:
    """The folder of a run of two generations of three candidates, one of which fails. Tests that modify it make a
    copy."""
    few = ("select.elite_seeds=1", "cluster.poll_s=0.1", "cluster.max_parallel=2")
    Bench(runs, data).run("toy", *few).ok()
    return runs / "toy"


def copy_of(run: Path, folder: Path) -> Path:
    """A copy to edit by hand, without the summaries, which would hide the edits."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("summary.json"))
    return folder
