"""The ideator learns on a real Slurm: three kinds of jobs with resources of their own, and a controller that is
killed."""

import shutil
from pathlib import Path

import pytest

from pipeline.records import PolicyStep, StepMeasures
from pipeline.store import files
from tests.rl.test_learning import CHEAP, FEW
from tests.slurm_cluster.cluster import DevCluster
from tests.toy import Bench, wait_until

pytest_plugins = ["tests.slurm_cluster.fixture"]
pytestmark = pytest.mark.timeout(1800)  # on a busy machine the start of a job with torch takes a minute

NEEDS = (
    "rl.sample.cpus_per_task=2", "rl.sample.mem_gb=0.5", "rl.update.cpus_per_task=3", "rl.update.mem_gb=0.5",
    "rl.update.nodes=2", "rl.zero_stage=2", "train.resources.mem_gb=0.3", "cluster.slurm.query_s=0.5",
)  # fmt: skip


def test_three_kinds_of_jobs_have_resources_of_their_own(
    slurm_environment: DevCluster, toy_data: Path, toy_policy: Path, tmp_path: Path
) -> None:
    """The update runs on two nodes with DeepSpeed; the controller is killed during it."""
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    shutil.copytree(toy_policy, data / "policy/toy_tiny")
    bench = Bench(tmp_path / "runs", data, cluster="slurm")
    steps = bench.folder / "r/policy"
    process = bench.start("r", *FEW, *CHEAP, *NEEDS)
    wait_until(lambda: (steps / "step_000/update/try_0/claim.json").exists(), process, 900)
    process.kill()
    process.communicate()
    bench.run("r", *FEW, *CHEAP, *NEEDS, timeout=900).ok()

    assert bench.archive("r").all_closed
    now = files.read(steps / "step_001/step.json", PolicyStep)
    assert (bench.folder / "r" / now.optimizer / "zero2_ranks2").is_dir()
    measures = files.read(steps / "step_000/measures.json", StepMeasures)
    assert measures.update is not None and measures.update.rows == measures.known
    assert len(list(steps.glob("step_*/*/try_*"))) == 3  # two samplings and an update, each once
    waves = {wave.name for wave in (bench.folder / "r/jobs").glob("*")}
    listed = slurm_environment.run("sacct", "-nPX", "-o", "JobName,AllocNodes,AllocCPUS").splitlines()
    needs = {tuple(line.split("|")[1:]) for line in listed if line.split("|")[0] in waves}
    assert needs == {("1", "1"), ("1", "2"), ("2", "6")}
