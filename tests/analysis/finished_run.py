"""A finished run of the toy baseline: made once in a session of tests, for those that only look at it."""

import functools
from pathlib import Path

from tests.toy import Bench


@functools.cache
def finished_run(runs: Path, data: Path) -> Path:
    """The folder of a run of two generations of three candidates, one failure among them. Whoever changes it copies it."""
    few = ("select.elite_seeds=1", "cluster.poll_s=0.1", "cluster.max_parallel=2")
    Bench(runs, data).run("toy", *few).ok()
    return runs / "toy"
