"""What the rest of the project relies on, checked once on the real Slurm: arrays, requeue, preemption, failing
parts."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm_cluster.cluster import (
    GPUS_PER_NODE,
    NARROW_MAX_SUBMIT,
    NARROW_QOS,
    NODES,
    DevCluster,
    DevClusterError,
    Settings,
    gres_conf,
    slurm_conf,
    slurmdbd_conf,
)

pytest_plugins = ["tests.slurm_cluster.fixture"]


@pytest.fixture
def jobs(slurm_cluster: DevCluster, tmp_path: Path) -> Iterator["Jobs"]:
    """Submits jobs, and cancels them at the end."""
    helper = Jobs(slurm_cluster, tmp_path)
    yield helper
    if helper.ids:
        slurm_cluster.run("scancel", *helper.ids)


class Jobs:
    def __init__(self, cluster: DevCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.ids: list[str] = []

    def submit(self, script: str, *options: str) -> str:
        output = f"--output={self.folder}/%j.out"
        job = self.cluster.run(
            "sbatch", "--parsable", output, "--open-mode=append", *options, f"--wrap={script}"
        ).strip()
        self.ids.append(job)
        return job

    def states(self, job: str) -> list[str]:
        """State of every incarnation of every task, as `sacct -D` reports it."""
        listing = self.cluster.run("sacct", "-DXnPj", job, "--format=State")
        return [line.split()[0] for line in listing.splitlines()]

    def wait(self, job: str, wanted: list[str], seconds: float = 150) -> None:
        wait(lambda: self.states(job), wanted, seconds)


def commands_running() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    return listing.splitlines()


def wait(seen: Callable[[], object], wanted: object, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while (last := seen()) != wanted and time.monotonic() < deadline:
        time.sleep(0.3)
    assert last == wanted


def test_a_job_runs_and_sees_its_gpus(jobs: Jobs) -> None:
    job = jobs.submit("echo GPUs $CUDA_VISIBLE_DEVICES on $SLURMD_NODENAME", "--gres=gpu:2", "--nodelist=n2")
    jobs.wait(job, ["COMPLETED"])
    words = (jobs.folder / f"{job}.out").read_text().split()
    gpus = [int(gpu) for gpu in words[1].split(",")]
    assert words[3] == "n2" and len(set(gpus)) == 2 and set(gpus) <= set(range(GPUS_PER_NODE))


def test_an_array_of_three(jobs: Jobs) -> None:
    job = jobs.submit("test $SLURM_ARRAY_TASK_ID != 1", "--array=0-2")
    jobs.wait(job, ["COMPLETED", "FAILED", "COMPLETED"])


def test_a_requeued_job_starts_again(jobs: Jobs) -> None:
    job = jobs.submit('echo start "$SLURM_RESTART_COUNT"; sleep 600')
    jobs.wait(job, ["RUNNING"])
    jobs.cluster.run("scontrol", "requeue", job)
    jobs.wait(job, ["REQUEUED", "RUNNING"])
    wait(lambda: (jobs.folder / f"{job}.out").read_text().splitlines()[-1], "start 1")


def test_the_urgent_partition_preempts(jobs: Jobs) -> None:
    # All GPUs of one node, and a job that wants the same ones.
    node = ("--nodelist=n3", f"--gres=gpu:{GPUS_PER_NODE}")
    ready = jobs.folder / "ready"
    first = jobs.submit(f"trap 'echo terminated' TERM; touch {ready}; sleep 600 & wait; sleep 600", *node)
    wait(ready.exists, True)
    second = jobs.submit("sleep 600", "--partition=urgent", *node)
    jobs.wait(second, ["RUNNING"])
    wait(lambda: jobs.states(first)[0], "PREEMPTED")
    assert "terminated" in (jobs.folder / f"{first}.out").read_text()
    jobs.cluster.run("scancel", second)
    jobs.wait(first, ["PREEMPTED", "RUNNING"])


def test_a_node_dies_with_its_job_and_returns(jobs: Jobs) -> None:
    job = jobs.submit("sleep 601", "--nodelist=n4")
    jobs.wait(job, ["RUNNING"])
    jobs.cluster.stop_node("n4")
    try:
        assert not jobs.cluster.daemons()["n4"]
        assert "sleep 601" not in commands_running()  # the job died with its node
        wait(lambda: jobs.states(job)[0], "NODE_FAIL")
    finally:
        jobs.cluster.start_node("n4")
    jobs.wait(job, ["NODE_FAIL", "RUNNING"])


def test_jobs_keep_running_without_slurms_controller(jobs: Jobs) -> None:
    # Not a sleep: accounting may report a start some seconds late.
    go, went = jobs.folder / "go", jobs.folder / "went"
    job = jobs.submit(f"until [ -e {go} ]; do sleep 0.1; done; touch {went}")
    jobs.wait(job, ["RUNNING"])
    jobs.cluster.stop_controller()
    try:
        with pytest.raises(DevClusterError, match="scontrol ping"):
            jobs.cluster.run("scontrol", "ping")
        assert not jobs.cluster.is_up()
        go.touch()
        wait(went.exists, True, 10)
    finally:
        jobs.cluster.start_controller()
    jobs.wait(job, ["COMPLETED"])


def test_up_repairs_what_is_down(slurm_cluster: DevCluster) -> None:
    slurm_cluster.stop_node("n1")
    slurm_cluster.stop_controller()
    slurm_cluster.up()
    slurm_cluster.run("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    slurm_cluster.up()
    listing = slurm_cluster.run("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=gpu").split()
    states = dict(zip(listing[::2], listing[1::2], strict=True))
    assert set(states) == set(NODES) and set(states.values()) <= {"idle", "completing", "mixed"}


def test_a_narrow_qos_refuses_a_fifth_job(jobs: Jobs) -> None:
    with pytest.raises(DevClusterError, match="QOSMaxSubmitJobPerUserLimit"):
        jobs.submit("sleep 600", f"--array=0-{NARROW_MAX_SUBMIT}", f"--qos={NARROW_QOS}")
    jobs.submit("sleep 600", f"--array=1-{NARROW_MAX_SUBMIT}", f"--qos={NARROW_QOS}")


# ---- without a cluster


def test_everything_listens_on_loopback_with_its_own_munge() -> None:
    settings = Settings(Path("/state"), "host", 17_000, "secret")
    text = slurm_conf(settings)
    assert "SlurmctldHost=host(127.0.0.1)" in text and "NoInAddrAny" in text
    assert text.count("/state/run/munge.socket") == 2  # to slurmctld and, with another key, to slurmdbd
    assert "Port=[17011-17014]" in text
    assert gres_conf(settings) == "NodeName=n[1-4] Name=gpu Type=h100 File=/state/gpu/[0-7]\n"
    assert "DbdAddr=127.0.0.1" in slurmdbd_conf(settings)


def test_a_foreign_process_in_a_pid_file_is_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "slurmctld.pid").write_text(str(stranger.pid))
        cluster = DevCluster(tmp_path)
        assert not cluster.daemons()["slurmctld"]
        cluster.stop_controller()
        assert stranger.poll() is None
        stranger.kill()


def test_the_environment_of_a_caller_inside_another_slurm_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SBATCH_PARTITION", "site")
    environment = DevCluster(tmp_path).environment()
    assert environment["SLURM_CONF"] == f"{tmp_path}/slurm.conf" and "SBATCH_PARTITION" not in environment
