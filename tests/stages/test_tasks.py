"""Tasks other than trials: what a controller finds after it was killed while it submitted one."""

from pathlib import Path

from pipeline.records import Job, PolicyTask, PolicyWork
from pipeline.stages import tasks
from pipeline.store import files
from tests.benchmarks.__main__ import search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


def test_a_controller_killed_before_the_job_was_written_submits_it_later(tmp_path: Path) -> None:
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 1, lambda rng: 1.0)
    context = search_in(tmp_path, clock, cluster)
    paths, task = context.run.paths.policy_step(0).update, PolicyTask(PolicyWork.UPDATE, 0, 0, 0, "")
    context.run.create(paths.task, task)
    paths.try_(0).folder.mkdir()  # the controller is killed here
    assert tasks.advance(context, cluster, paths, task) is None
    assert files.read(paths.try_(0).job, Job).job_id == "gw-r-p0-update-r0"
    context.background.close()
