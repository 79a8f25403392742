"""`budget.gpu_hours`: a job is counted up to its time limit before it is submitted, and a reserve is left for the end."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.stages.account import committed_h
from pipeline.store.archive import read_archive
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


@pytest.mark.parametrize(
    ("reserve", "length_s", "searched", "confirmed"),
    [
        pytest.param(0.2, 3600, 4, 1, id="a fifth is kept for the elite"),
        pytest.param(0.0, 3600, 5, 0, id="no reserve"),
        pytest.param(0.4, 3600, 3, 2, id="two fifths"),
    ],
)
def test_gpu_hours_are_never_passed(
    reserve: float, length_s: float, searched: int, confirmed: int, tmp_path: Path
) -> None:
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 8, lambda rng: length_s)
    made = search_in(tmp_path, clock, cluster, "ideate.candidates=10", "stop.generations=1", "select.elites=1")
    config = made.config
    train = replace(config.train, resources=replace(config.train.resources, gpus_per_node=1, time_min=60))
    budget = replace(config.budget, gpu_hours=5.0, reserve=reserve)
    search = replace(made, config=replace(config, train=train, budget=budget))
    for _ in range(3000):
        over = advance(search, clock, cluster)
        archive = search.archive()
        assert committed_h(search.config, archive, clock()) <= 5.0 + 1e-6
        clock.now += 110
        if over:
            break
    search.background.close()
    archive = read_archive(search.run.paths.folder)
    assert archive.report is not None and "budget.gpu_hours=5" in archive.report.stopped
    first = [archive.baseline.trials[0], *(a.trials[0] for c in archive.candidates for a in c.attempts if a.trials)]
    assert len(first) == searched
    assert len(cluster.spans) - searched == confirmed
