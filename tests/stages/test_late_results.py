"""Results that come at a bad moment: when the cluster already said that the job is over, as on NFS, or between the look
that would have read them and the decision that needs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline import loop
from pipeline.cluster.base import JobStatus, Phase
from pipeline.errors import CannotGoOn
from pipeline.records import FailureKind
from pipeline.stages import select
from pipeline.store.reader import read_archive
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


class LateFiles(SimulatedCluster):
    """Results become visible while it is asked and says that the jobs are over, or never."""

    late = True
    over = False

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        if self.over and self.late:
            self.settle()
        state = JobStatus(Phase.ENDED, "it is gone", FailureKind.VANISHED) if self.over else JobStatus(Phase.RUNNING)
        return dict.fromkeys(job_ids, state)


@pytest.mark.parametrize("late", [True, False])
def test_a_result_file_wins_over_what_the_cluster_says(late: bool, tmp_path: Path) -> None:
    clock = Clock(1e9)
    cluster = LateFiles(clock, 1, lambda rng: 1.0)
    cluster.late = late
    context = search_in(tmp_path, clock, cluster, "ideate.candidates=1", "stop.generations=1", "train.retries=0")
    for _ in range(2):  # submitted, and read again
        loop.tick(context)
    clock.now, cluster.over = clock.now + 10, True
    if late:
        for _ in range(3):
            loop.tick(context)
    else:
        with pytest.raises(CannotGoOn, match=r"train/vanished"):
            for _ in range(3):
                loop.tick(context)
    context.background.close()
    (trial,) = read_archive(context.run.paths.folder).baseline.trials
    assert (trial.score is not None) is late and (trial.failure is None) is late


def test_no_generation_is_decided_while_a_result_is_unread(tmp_path: Path) -> None:
    """Two slots, three candidates: one takes for ever, and when the last has ended a slot would stand idle."""
    clock, lengths = Clock(1e9), iter([1.0, 1e6, 1.0, 50.0])
    cluster = SimulatedCluster(clock, 2, lambda rng: next(lengths))
    more = ("ideate.candidates=3", "stop.generations=2", "select.quorum=0.9")
    context = search_in(tmp_path, clock, cluster, *more)
    while len(cluster.spans) < 2 or len(context.run.reader.read().in_flight()) < 2:
        advance(context, clock, cluster)
    clock.now += 100
    cluster.settle()
    select.step(context, context.run.reader.read())
    assert [generation.selection for generation in context.run.reader.read().generations] == [None]
    for _ in range(2):  # read the result, then decide
        loop.tick(context)
    context.background.close()
    (generation,) = context.run.reader.read().generations
    assert generation.selection is not None and generation.selection.seen.outcomes == 2
