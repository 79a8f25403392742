"""Results that come at a bad moment: when the cluster already said that the job is over, as on NFS, or between the look
that would have read them and the decision that needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import loop
from pipeline.cluster.base import Phase, Status
from pipeline.errors import CannotGoOn
from pipeline.records import Kind
from pipeline.stages import select
from pipeline.stages.decide import finishing
from pipeline.store.archive import read_archive
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


class LateFiles(SimulatedCluster):
    """Results become visible while it is asked and says that the jobs are over, or never."""

    late = True
    over = False

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, Status]:
        if self.over and self.late:
            self.settle()
        state = Status(Phase.ENDED, "it is gone", Kind.VANISHED) if self.over else Status(Phase.RUNNING)
        return dict.fromkeys(job_ids, state)


@pytest.mark.parametrize("late", [True, False])
def test_a_result_file_wins_over_what_the_cluster_says(late: bool, tmp_path: Path) -> None:
    clock = Clock(1e9)
    cluster = LateFiles(clock, 1, lambda rng: 1.0)
    cluster.late = late
    search = search_in(tmp_path, clock, cluster, "ideate.candidates=1", "stop.generations=1", "train.retries=0")
    loop.tick(search)
    clock.now, cluster.over = clock.now + 10, True
    if late:
        loop.tick(search)
    else:
        with pytest.raises(CannotGoOn, match=r"train/vanished"):
            loop.tick(search)
    search.background.close()
    (trial,) = read_archive(search.run.paths.folder).baseline.trials
    assert (trial.score is not None) is late and (trial.failure is None) is late


def test_no_generation_is_decided_while_a_result_is_unread(tmp_path: Path) -> None:
    """Two slots, three candidates: one takes for ever, and when the last has ended a slot would stand idle."""
    clock, lengths = Clock(1e9), iter([1.0, 1e6, 1.0, 50.0])
    cluster = SimulatedCluster(clock, 2, lambda rng: next(lengths))
    more = ("ideate.candidates=3", "stop.generations=2", "select.quorum=0.9")
    search = search_in(tmp_path, clock, cluster, *more)
    while len(cluster.spans) < 2 or len(search.archive().flying()) < 2:
        advance(search, clock, cluster)
    clock.now += 100
    cluster.settle()
    select.step(search)
    assert [generation.selection for generation in search.archive().generations] == [None]
    loop.tick(search)
    search.background.close()
    (generation,) = search.archive().generations
    assert generation.selection is not None and len(generation.selection.seen) == 2


def test_no_run_is_over_while_a_result_is_unread(tmp_path: Path) -> None:
    """A budget of five trials: with the last result of the search it is over, and with that of the elite the run."""
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 8, lambda rng: 3600.0)
    made = search_in(tmp_path, clock, cluster, "ideate.candidates=10", "stop.generations=1", "select.elites=1")
    train = replace(made.config.train, resources=replace(made.config.train.resources, gpus_per_node=1, time_min=60))
    budget = replace(made.config.budget, gpu_hours=5.0, reserve=0.2)
    search = replace(made, config=replace(made.config, train=train, budget=budget))
    over, met = False, 0
    while not over:
        cluster.settle()
        select.step(search)
        archive = search.archive()
        if any(trial.newest is not None and trial.flying is None for _, trial in archive.open_trials()):
            met += 1
            assert archive.report is None and not finishing(search, archive)
        over = advance(search, clock, cluster)
    search.background.close()
    archive = search.archive()
    best = max(archive.candidates, key=lambda one: search.metric.goodness(one.score.value) if one.score else -1e9)
    assert met > 1 and best.attempt is not None and archive.report is not None
    assert [one.value for one in archive.report.elites] == [score.value for score in best.attempt.scores[1:]]
