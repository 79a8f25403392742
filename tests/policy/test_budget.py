"""`budget.gpu_hours`: a job counts with its time limit before it is submitted, and a reserve is kept for the end."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.policy.accounting import committed_h
from pipeline.policy.stopping import finishing
from pipeline.records import Purpose
from pipeline.stages import select
from pipeline.stages.context import Context
from pipeline.store.reader import read_archive
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


def with_five_hours(
    folder: Path, clock: Clock, cluster: SimulatedCluster, reserve: float, confirm: str = "[]"
) -> Context:
    """A search of one generation and one elite whose trials may take an hour of one GPU each."""
    given = ("ideate.candidates=10", "stop.generations=1", "select.elites=1", f"select.confirm={confirm}")
    made = search_in(folder, clock, cluster, *given)
    train = replace(made.config.train, resources=replace(made.config.train.resources, gpus_per_node=1, time_min=60))
    budget = replace(made.config.budget, gpu_hours=5.0, reserve=reserve)
    return replace(made, config=replace(made.config, train=train, budget=budget))


@pytest.mark.parametrize(
    ("reserve", "confirm", "searched", "confirmed", "seeds"),
    [
        pytest.param(0.2, "[]", 4, 1, {1}, id="a fifth is kept for the elite"),
        pytest.param(0.0, "[]", 5, 0, set(), id="no reserve"),
        pytest.param(0.4, "[]", 3, 2, {1, 2}, id="two fifths"),
        pytest.param(0.4, "[[2,2]]", 3, 2, {1}, id="two fifths, and the race is not over"),
    ],
)
def test_gpu_hours_are_never_exceeded(
    reserve: float, confirm: str, searched: int, confirmed: int, seeds: set[int], tmp_path: Path
) -> None:
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 8, lambda rng: 3600)
    context = with_five_hours(tmp_path, clock, cluster, reserve, confirm)
    for _ in range(3000):
        over = advance(context, clock, cluster)
        archive = context.run.reader.read()
        assert committed_h(context.config, archive, clock()) <= 5.0 + 1e-6
        clock.now += 110
        if over:
            break
    context.background.close()
    archive = read_archive(context.run.paths.folder)
    assert archive.report is not None and "budget.gpu_hours=5" in archive.report.stopped
    first = [one.purpose for holder in archive.holders() for one in holder.trials]
    assert first.count(Purpose.SEARCH) + first.count(Purpose.BASELINE) == searched
    assert len(cluster.spans) - searched == confirmed
    again = [one for holder in archive.holders() for one in holder.of(Purpose.CONFIRM)]
    assert {one.seed for one in again} == seeds and len(archive.report.elites) == 1


def test_no_run_is_over_while_a_result_is_unread(tmp_path: Path) -> None:
    """A budget of five trials: the last result of the context ends the context, that of the elite the run."""
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 8, lambda rng: 3600.0)
    context = with_five_hours(tmp_path, clock, cluster, reserve=0.2)
    over, met = False, 0
    while not over:
        cluster.settle()
        archive = context.run.reader.read()
        if any(trial.in_flight is None for _, trial in archive.open_trials()):
            met += 1
            select.step(context, archive)
            archive = context.run.reader.read()
            assert archive.report is None and not finishing(context, archive)
        over = advance(context, clock, cluster)
    context.background.close()
    archive = context.run.reader.read()
    best = max(archive.candidates, key=lambda one: context.metric.goodness(one.score.value) if one.score else -1e9)
    assert met > 1 and best.attempt is not None and archive.report is not None
    assert [one.value for one in archive.report.elites] == [
        score.value for score in best.attempt.scores(Purpose.CONFIRM)
    ]
