"""Outcomes get their number when they are written, and count when they are read."""

from pathlib import Path

from tests.benchmarks.__main__ import search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


def test_a_number_without_its_file_is_not_an_outcome_yet(tmp_path: Path) -> None:
    """A decision of the same tick would otherwise claim to have used it, and never consider it again."""
    clock = Clock(1e9)
    context = search_in(tmp_path, clock, SimulatedCluster(clock, 1, lambda rng: 1.0))
    context.background.close()
    reader = context.run.reader
    archive = reader.read()
    assert [reader.next_order() for _ in range(3)] == [1, 2, 3]
    assert archive.index.outcomes == reader.read().index.outcomes == 0
