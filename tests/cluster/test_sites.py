"""Peculiarities of real sites: other clusters, other users' jobs, no arrays, different ways to request memory.
Stand-ins come first on PATH (`site.py`); none of these tests requires a Slurm."""

import os
import time
from pathlib import Path

import pytest

from pipeline.cluster.base import JobStatus, Phase, Request, Work
from pipeline.cluster.jobs import CLUSTER_VARIABLE, current_job_id
from pipeline.cluster.local import LocalCluster
from pipeline.cluster.slurm import SlurmCluster
from pipeline.cluster.slurm_watch import _ACCOUNTING_GRACE_S, _UNKNOWN_GRACE_S
from pipeline.config import ClusterConfig, GpuFlag, Memory, SlurmConfig
from pipeline.errors import BadInput, ClusterRefused
from pipeline.records import FailureKind, Resources
from tests.cluster.site import Site
from tests.slurm_cluster import jobs
from tests.slurm_cluster.waiting import wait_for
from tests.toy import Bench, program

REPOSITORY = Path(__file__).parents[2]


class Clock:
    """A clock that only tests advance."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A site and a folder to work in."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.clock = Clock()
        self.site = Site.open(folder / "site")
        monkeypatch.setenv("PATH", self.site.path)

    def cluster(self, needs: Resources = Resources(), **settings: object) -> SlurmCluster:  # noqa: B008
        work = Work(jobs.report, REPOSITORY, self.folder / "jobs", needs, {"PATH": os.environ["PATH"]})
        slurm = SlurmConfig(**{"query_s": 0, **settings})  # type: ignore[arg-type]
        return SlurmCluster(work, ClusterConfig(max_parallel=8, slurm=slurm), self.clock)

    def requests(self, count: int) -> list[Request]:
        return [Request(f"gw-{number}", self.folder / f"try_{number}") for number in range(count)]

    def poll(self, cluster: SlurmCluster, job: str, after_s: float = 0) -> JobStatus:
        self.clock.now += after_s
        return cluster.poll([job])[job]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def row(job: str, state: str = "RUNNING", name: str = "run.0123456789ab") -> str:
    return f"{job}|{state}|None|n1|{name}"


# ---- jobs on another cluster


def test_every_command_names_the_cluster(desk: Desk) -> None:
    desk.site.rule(clusters=["c2"])
    cluster = desk.cluster(clusters="c2")
    taken = cluster.submit(desk.requests(2))
    assert set(taken.values()) == {"1000_0@c2", "1000_1@c2"}
    assert "#SBATCH --clusters=c2" in desk.site.scripts()[0]
    ids = list(taken.values())
    desk.site.rule(queue=[row("1000_0"), row("1000_1")])
    assert {one.phase for one in cluster.poll(ids).values()} == {Phase.RUNNING}
    desk.site.rule(queue=[], accounts=["1000_0|FAILED|1:0|n1|60|x", "1000_1|COMPLETED|0:0|n1|90|x"])
    ended = cluster.poll(ids)
    assert [ended[job].reason.split(",")[0] for job in ids] == ["FAILED", "COMPLETED"]
    assert dict(cluster.usage(ids)) == {"1000_0@c2": 60.0, "1000_1@c2": 90.0}
    cluster.cancel(ids)
    (wave,) = (desk.folder / "jobs").iterdir()
    desk.site.rule(queue=[row("1000_0", name=wave.name)])
    assert desk.cluster(clusters="").find(["gw-1"]) == {"gw-1": "1000_1@c2"}  # a wave records its cluster
    for command in ("squeue", "sacct", "scancel", "scontrol"):
        calls = desk.site.calls(command)
        assert calls and all("--clusters=c2" in call for call in calls), command
    assert desk.site.calls("scancel") == ["--clusters=c2 1000_0 1000_1"]
    assert "cluster=c2" in desk.site.calls("sacctmgr")[0]


def test_jobs_stay_known_when_the_setting_changes(desk: Desk) -> None:
    desk.site.rule(clusters=["c2"], queue=[row("1000"), row("1001")])
    ids = [desk.cluster(clusters=name).submit(desk.requests(1))["gw-0"] for name in ("", "c2")]
    assert ids == ["1000", "1001@c2"]
    assert {one.phase for one in desk.cluster(clusters="c2").poll(ids).values()} == {Phase.RUNNING}
    assert ["--clusters" in call for call in desk.site.calls("squeue")] == [False, True]


def test_without_the_setting_no_command_names_a_cluster(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", "c3")
    cluster = desk.cluster()
    (job,) = cluster.submit(desk.requests(1)).values()
    cluster.poll([job])
    cluster.cancel([job])
    assert job == "1000"
    text = "".join(
        desk.site.scripts() + [call for name in ("squeue", "sacct", "scancel") for call in desk.site.calls(name)]
    )
    assert "cluster" not in text.replace(str(desk.folder), "").lower()


def test_the_id_of_a_job_includes_the_cluster(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"export {CLUSTER_VARIABLE}=c2" in desk.cluster(clusters="c2").script(1)
    monkeypatch.setenv("SLURM_JOB_ID", "1000")
    assert current_job_id() == "1000"
    monkeypatch.setenv(CLUSTER_VARIABLE, "c2")
    assert current_job_id() == "1000@c2"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1000")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert current_job_id() == "1000_3@c2"


@pytest.mark.parametrize("name", ["clusters", "--clusters", "M"])
def test_clusters_as_an_extra_option_is_refused_with_the_setting(name: str, desk: Desk) -> None:
    with pytest.raises(BadInput, match=r"cluster\.slurm\.clusters=c2"):
        desk.cluster(extra={name: "c2"})


@pytest.mark.parametrize("clusters", ["c1,c2", "all"])
def test_one_cluster_at_a_time(clusters: str, desk: Desk) -> None:
    with pytest.raises(BadInput, match="one cluster"):
        desk.cluster(clusters=clusters)


def test_an_unknown_cluster_is_an_error_that_names_the_setting(desk: Desk) -> None:
    with pytest.raises(BadInput, match=r"No cluster 'c9'.*cluster\.slurm\.clusters"):
        desk.cluster(clusters="c9").submit(desk.requests(1))


# ---- unknown ids, and lines that cannot be parsed


def test_an_id_without_a_record_is_unknown_first_and_vanished_later(desk: Desk) -> None:
    desk.site.rule(queue=[], accounts=[])
    cluster = desk.cluster()
    for after_s in (0, 1, _UNKNOWN_GRACE_S - 2):
        status = desk.poll(cluster, "7", after_s)
        assert status.phase is Phase.RUNNING and "missing in queue and accounting" in status.reason
    desk.site.rule(queue=[row("7")])
    assert desk.poll(cluster, "7", 2).reason == "RUNNING"
    desk.site.rule(queue=[])
    assert desk.poll(cluster, "7", 1).phase is Phase.RUNNING  # the time starts again
    vanished = desk.poll(cluster, "7", _UNKNOWN_GRACE_S)
    assert vanished.phase is Phase.ENDED and vanished.fault is FailureKind.VANISHED


def test_with_cron_a_job_without_a_record_is_not_waited_for_forever(desk: Desk) -> None:
    """Each query is the first one of a process."""
    desk.site.rule(queue=[], accounts=[])
    (job,) = desk.cluster().submit(desk.requests(1)).values()
    assert desk.poll(desk.cluster(), job).phase is Phase.RUNNING
    (pickle,) = (desk.folder / "jobs").glob("*/1000_submitted.pkl")
    submitted = time.time() - _ACCOUNTING_GRACE_S - 60
    os.utime(pickle, (submitted, submitted))
    assert desk.poll(desk.cluster(), job).fault is FailureKind.VANISHED


def test_lines_of_other_jobs_end_nothing(desk: Desk) -> None:
    """A heterogeneous job of the same user, and a job name with a line break."""
    desk.site.rule(queue=["77+0|RUNNING|None|n3|mpi-coupled", "77+1|RUNNING|None|n4|two", "lines", row("1000")])
    status = desk.poll(desk.cluster(), "1000")
    assert status.phase is Phase.RUNNING and not status.note


@pytest.mark.parametrize(
    "line",
    ["7|HIBERNATING|None|n1|x", "7|RUNNING|None|n[1|x", "7_|RUNNING|None|n1|x", "7+0|RUNNING|None|n1|x", "7|RUNNING"],
)
def test_a_line_of_ours_that_cannot_be_parsed_is_reported_once_and_ends_nothing(line: str, desk: Desk) -> None:
    desk.site.rule(queue=[line, row("8")], accounts=[])
    cluster = desk.cluster(query_s=10)
    found = cluster.poll(["7", "8"])
    assert found["7"].phase is Phase.RUNNING and repr(line) in found["7"].note
    assert found["8"] == JobStatus(Phase.RUNNING, "RUNNING", node="n1")
    for after_s in (0, 1, 20, 100 * _ACCOUNTING_GRACE_S):
        again = desk.poll(cluster, "7", after_s)
        assert again.phase is Phase.RUNNING and not again.note
    desk.site.rule(queue=[row("7", "FAILED")])
    assert desk.poll(cluster, "7", 20).phase is Phase.ENDED


def test_an_id_in_a_new_form_is_recognized_by_the_name_of_the_job(desk: Desk) -> None:
    cluster = desk.cluster()
    (job,) = cluster.submit(desk.requests(1)).values()
    (wave,) = (desk.folder / "jobs").iterdir()
    desk.site.rule(queue=[row("sA1B2", name=wave.name)], accounts=[])
    for _ in range(3):
        assert desk.poll(cluster, job, 2 * _ACCOUNTING_GRACE_S).phase is Phase.RUNNING
    with pytest.raises(ClusterRefused, match="sA1B2"):
        cluster.find(["gw-0"])


def test_a_job_that_accounting_describes_in_a_new_way_ends_after_a_while(desk: Desk) -> None:
    desk.site.rule(queue=[], accounts=["7|EVAPORATED|0:0|n1|1|x"])
    cluster = desk.cluster()
    assert "EVAPORATED" in desk.poll(cluster, "7").note
    assert desk.poll(cluster, "7", _ACCOUNTING_GRACE_S - 1).phase is Phase.RUNNING
    ended = desk.poll(cluster, "7", 1)
    assert ended.fault is FailureKind.VANISHED and "EVAPORATED" in ended.reason


def test_a_queue_that_is_not_a_table_is_not_an_answer(desk: Desk) -> None:
    (desk.site.folder / "bin/squeue").write_text("#!/bin/sh\necho Slurm is being updated, back at noon\n")
    with pytest.raises(ClusterRefused, match="back at noon"):
        desk.cluster().poll(["7"])


# ---- arrays


@pytest.mark.parametrize("rules", [{"max_array_size": 0}, {"max_array_size": 1}, {"arrays": False}])
def test_without_arrays_jobs_are_submitted_one_by_one(rules: dict[str, object], desk: Desk) -> None:
    desk.site.rule(**rules)
    cluster = desk.cluster()
    taken = cluster.submit(desk.requests(3))
    assert list(taken.values()) == ["1000", "1001", "1002"]
    tried = len(desk.site.calls("sbatch"))
    assert tried == 3 + ("arrays" in rules)  # the refusal is remembered
    cluster.submit([Request("gw-more", desk.folder / "more"), Request("gw-most", desk.folder / "most")])
    assert len(desk.site.calls("sbatch")) == tried + 2


# ---- memory


@pytest.mark.parametrize(
    ("memory", "needs", "option"),
    [
        (Memory.per_node, Resources(mem_gb=3.5), "#SBATCH --mem=4096MB"),
        (Memory.per_cpu, Resources(mem_gb=3.5, cpus_per_task=4), "#SBATCH --mem-per-cpu=1024M"),
        (Memory.per_cpu, Resources(mem_gb=3.5, cpus_per_task=3), "#SBATCH --mem-per-cpu=1366M"),
        (Memory.per_gpu, Resources(mem_gb=3.5, gpus_per_node=2), "#SBATCH --mem-per-gpu=2048M"),
        (Memory.none, Resources(mem_gb=3.5), ""),
    ],
)
def test_memory_is_requested_as_the_site_requires(memory: Memory, needs: Resources, option: str, desk: Desk) -> None:
    lines = desk.cluster(needs, memory=memory).script(1).splitlines()
    found = [line for line in lines if line.startswith("#SBATCH --mem")]
    assert [line.replace("MB", "M") for line in found] == ([option.replace("MB", "M")] if option else [])


@pytest.mark.parametrize(("required", "memory"), [("mem-per-cpu", Memory.per_cpu), ("none", Memory.none)])
def test_a_site_that_refuses_memory_by_node_can_be_used(required: str, memory: Memory, desk: Desk) -> None:
    desk.site.rule(memory=required)
    refused = r"Requesting memory by node is not supported.*cluster\.slurm\.memory=per_node, per_cpu, per_gpu or none"
    with pytest.raises(BadInput, match=refused):
        desk.cluster().submit(desk.requests(2))
    with pytest.raises(BadInput, match=refused):
        desk.cluster().would_start()
    assert len(desk.cluster(memory=memory).submit(desk.requests(2))) == 2


def test_memory_per_gpu_needs_gpus(desk: Desk) -> None:
    with pytest.raises(BadInput, match=r"train\.resources\.gpus_per_node=0.*cluster\.slurm\.memory"):
        desk.cluster(memory=Memory.per_gpu)


def test_memory_as_an_extra_option_needs_the_setting(desk: Desk) -> None:
    with pytest.raises(BadInput, match=r"mem-per-cpu.*cluster\.slurm\.memory=none"):
        desk.cluster(extra={"mem-per-cpu": "4G"})
    script = desk.cluster(extra={"mem-per-cpu": "4G"}, memory=Memory.none, gpu_flag=GpuFlag.gres).script(1)
    assert [line for line in script.splitlines() if "--mem" in line] == ["#SBATCH --mem-per-cpu=4G"]


def test_the_doctor_names_the_memory_setting(desk: Desk, bench: Bench) -> None:
    desk.site.rule(memory="mem-per-cpu")
    on_slurm = Bench(bench.folder, bench.data, cluster="slurm")
    done = program("doctor", *[word for word in on_slurm.arguments("") if not word.startswith("run=")])
    (line,) = [line for line in done.out.splitlines() if line.startswith("FAIL jobs")]
    assert done.code == 1 and "cluster.slurm.memory=" in line and "Traceback" not in done.err


# ---- jobs that die before they start


def dies(folder: str) -> None:
    """Never called: the job cannot import its module."""


def test_a_job_that_dies_before_it_starts_shows_its_own_error(tmp_path: Path, desk: Desk) -> None:
    """On this machine, because the code of the run cannot be imported. On Slurm likewise, from the log that submitit
    names."""
    environment = {"PATH": os.environ["PATH"]}
    local = LocalCluster(
        Work(dies, tmp_path / "nowhere", tmp_path / "local", Resources(), environment), ClusterConfig(max_parallel=1)
    )
    (job,) = local.submit([Request("gw-0", tmp_path)]).values()
    wait_for(lambda: local.poll([job])[job].phase is Phase.ENDED, 60)
    assert "No module named 'tests'" in local.poll([job])[job].last_line
    slurm = desk.cluster()
    (job,) = slurm.submit(desk.requests(1)).values()
    (wave,) = (desk.folder / "jobs").iterdir()
    (wave / f"{job}_0_log.out").write_text(
        "ModuleNotFoundError: No module named 'tests'\nsrun: error: n1: task 0: Exited\n"
    )
    desk.site.rule(queue=[], accounts=[f"{job}|FAILED|1:0|n1|1|x"])
    assert desk.poll(slurm, job).last_line == "ModuleNotFoundError: No module named 'tests'"


# ---- a whole run


WHOLE: tuple[str, ...] = (
    "ideate.candidates=1",
    "stop.generations=1",
    "select.baseline_seeds=1",
    "select.elites=0",
    "cluster.poll_s=0.1",
    "cluster.slurm.query_s=0.3",
)


def test_a_run_on_another_cluster(desk: Desk, bench: Bench) -> None:
    desk.site.rule(clusters=["c2"], runs=True)
    on_slurm = Bench(bench.folder, bench.data, cluster="slurm")
    on_slurm.run("other", *WHOLE, "cluster.slurm.clusters=c2").ok()
    archive = on_slurm.archive("other")
    tries = [one for holder in archive.holders() for trial in holder.trials for one in trial.tries]
    assert len(tries) >= 2 and all(one.score is not None for one in tries)
    for one in tries:
        assert one.claim is not None and one.claim.job_id == one.job.job_id and str(one.job.job_id).endswith("@c2")
