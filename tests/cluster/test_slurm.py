"""Promises of the Slurm cluster only. To make Slurm misbehave, a program of the same name precedes the real one on
PATH; everything else is real."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cluster.base import JobStatus, Phase, Request, Work
from pipeline.cluster.slurm import SlurmCluster
from pipeline.config import ClusterConfig, GpuFlag, SlurmConfig
from pipeline.errors import BadInput, ClusterRefused
from pipeline.records import FailureKind, Resources
from tests.slurm_cluster import jobs
from tests.slurm_cluster.cluster import MAX_ARRAY_SIZE, NARROW_MAX_SUBMIT, NARROW_QOS, DevCluster
from tests.slurm_cluster.waiting import wait_for

pytest_plugins = ["tests.slurm_cluster.fixture"]

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("test_slurm_wave.sbatch")
SMALL = Resources(mem_gb=0.2, time_min=30)


class Clock:
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """The clusters of one test and their jobs."""

    def __init__(self, dev: DevCluster, folder: Path) -> None:
        self.dev = dev
        self.folder = folder
        self.clock = Clock()

    def cluster(self, function: Callable[[str], object], needs: Resources = SMALL, **settings: object) -> SlurmCluster:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        work = Work(function, REPOSITORY, self.folder / "jobs", needs, environment)
        slurm = SlurmConfig(**{"query_s": 0, **settings})  # type: ignore[arg-type]
        return SlurmCluster(work, ClusterConfig(max_parallel=100, slurm=slurm), self.clock)

    def requests(self, count: int) -> list[Request]:
        start = len(list(self.folder.glob("try_*")))
        made = [Request(f"gw-{self.folder.name}-{start + k}", self.folder / f"try_{start + k}") for k in range(count)]
        for request in made:
            request.folder.mkdir()
        return made

    def stand_in(self, program: str, script: str) -> Path:
        """Put a program before the real one on PATH; `$REAL` is the real one, and every call is a line of the log."""
        real, folder = shutil.which(program), self.folder / "bin"
        folder.mkdir(exist_ok=True)
        log, path = folder / f"{program}.log", folder / program
        path.write_text(f'#!/bin/bash\nREAL={real}\necho "$@" >> {log}\n{script}\n')
        path.chmod(0o755)
        if not os.environ["PATH"].startswith(f"{folder}:"):
            os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        return log


@pytest.fixture
def desk(slurm_environment: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", path)
    yield Desk(slurm_environment, tmp_path)
    monkeypatch.setenv("PATH", path)
    for wave in (tmp_path / "jobs").glob("*"):  # scancel takes one name
        slurm_environment.run("scancel", f"--name={wave.name}")


def status(cluster: SlurmCluster, job: str) -> JobStatus:
    return cluster.poll([job])[job]


def started(request: Request) -> Path:
    path = request.folder / "seen.json"
    wait_for(path.exists)
    return path


# ---- submitting


def test_a_wave_is_one_array_and_a_large_one_is_split(desk: Desk) -> None:
    log = desk.stand_in("sbatch", 'exec "$REAL" "$@"')
    cluster = desk.cluster(jobs.report, extra={"hold": ""})
    taken = cluster.submit(desk.requests(MAX_ARRAY_SIZE + 2))
    arrays = [job.partition("_")[0] for job in taken.values()]
    assert len(taken) == MAX_ARRAY_SIZE + 2
    assert sorted({arrays.count(array) for array in arrays}) == [2, MAX_ARRAY_SIZE]
    assert len(log.read_text().splitlines()) == 2
    held = cluster.poll(list(taken.values()))
    assert {one.phase for one in held.values()} == {Phase.PENDING}
    assert not any(one.never_starts for one in held.values())
    assert "scontrol release" in held[taken[next(iter(taken))]].reason


def test_a_submit_limit_is_respected_and_a_refused_submit_waits(desk: Desk) -> None:
    # Another user of this account has one job there: the limit is shared.
    script = ("--wrap=sleep 600", "--output=/dev/null", f"--qos={NARROW_QOS}", "--job-name=other")
    other = desk.dev.run("sbatch", "--parsable", *script).strip()
    try:
        cluster = desk.cluster(jobs.stay, qos=NARROW_QOS)
        log = desk.stand_in("sbatch", 'exec "$REAL" "$@"')
        requests = desk.requests(6)
        taken = dict(cluster.submit(requests))
        assert len(taken) == NARROW_MAX_SUBMIT - 1
        rest = [request for request in requests if request.name not in taken]
        calls = len(log.read_text().splitlines())
        with pytest.raises(ClusterRefused, match="QOSMaxSubmitJobPerUserLimit"):
            cluster.submit(rest)
        assert len(log.read_text().splitlines()) == calls  # it waits before it asks again
        cluster.cancel(list(taken.values()))
        wait_for(lambda: all(one.phase is Phase.ENDED for one in cluster.poll(list(taken.values())).values()))
        desk.clock.now += 61
        assert cluster.submit(rest[:1])
    finally:
        desk.dev.run("scancel", other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"partition": "nope"}, "invalid partition"), ({"account": "nope"}, "account"), ({"qos": "nope"}, "qos")],
)
def test_a_wrong_setting_is_an_error_with_slurms_message(desk: Desk, settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=rf"(?i){message}.*cluster\.slurm"):
        desk.cluster(jobs.report, **settings).submit(desk.requests(2))


def test_a_job_gets_the_requested_resources(desk: Desk) -> None:
    (request,) = desk.requests(1)
    cluster = desk.cluster(jobs.report, Resources(1, 2, 3, 0.5, 20), gpu_type="h100")
    cluster.submit([request])
    environment = json.loads(started(request).read_text())["environment"]
    assert len(environment["CUDA_VISIBLE_DEVICES"].split(",")) == 2
    assert environment["SLURM_CPUS_PER_TASK"] == "3" and environment["SLURM_MEM_PER_NODE"] == "1024"


def test_from_inside_a_job_the_training_sees_the_marker_and_not_the_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A controller in a job, whose owner's login profile exports a key, with a set-up line that exports a marker."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bash_profile").write_text("export FAKE_API_KEY=from-the-profile\n")
    place = tmp_path / "outer"
    place.mkdir()
    command = f"{shlex.quote(sys.executable)} -m tests.slurm_cluster.jobs submit_from_inside {shlex.quote(str(place))}"
    monkeypatch.setenv("FAKE_API_KEY", "from-the-caller")
    desk.dev.run(
        "sbatch", f"--output={place}/log", "--mem-per-cpu=300", "--cpus-per-task=2", "--gres=gpu:1",
        f"--export=ALL,HOME={home},PYTHONPATH={REPOSITORY}", f"--chdir={REPOSITORY}",
        f"--wrap=source {home}/.bash_profile; {command}",
    )  # fmt: skip
    wait_for((place / "inner.id").exists)
    seen = json.loads(started(Request("gw-inner", place / "inner")).read_text())
    assert seen["environment"]["MARKER"] == "from the set-up"
    assert "FAKE_API_KEY" not in seen["environment"]
    assert seen["job"] == (place / "inner.id").read_text() == seen["environment"]["SLURM_JOB_ID"]
    assert seen["environment"]["SLURM_MEM_PER_NODE"] == "717" and "SLURM_MEM_PER_CPU" not in seen["environment"]
    record = desk.dev.run("scontrol", "show", "job", "--details", seen["job"])
    record += desk.dev.run("scontrol", "write", "batch_script", seen["job"], "-")
    assert "from-the" not in record and "MARKER" in record


def test_nothing_of_the_caller_is_in_slurms_records(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "from-the-caller")
    (request,) = desk.requests(1)
    job = desk.cluster(jobs.report, extra={"hold": ""}).submit([request])[request.name]
    (record,) = (desk.dev.folder / "state").glob(f"hash.*/job.{job}")
    written = {path.name: path.read_bytes() for path in record.iterdir()}
    assert b"SLURM_CONF" in written["environment"]  # so this is where a key would be stored
    assert not any(b"from-the-caller" in text for text in written.values())


# ---- a submitter that dies, and an sbatch that does not answer


def test_a_submitter_killed_after_sbatch_leaves_nothing_that_find_does_not_finish(desk: Desk) -> None:
    desk.stand_in("sbatch", '"$REAL" "$@"; kill -9 $PPID')
    requests = desk.requests(3)
    places = [str(request.folder) for request in requests]
    names = [request.name for request in requests]
    program = f"""
from pathlib import Path
from pipeline.cluster.base import Request, Work
from pipeline.cluster.slurm import SlurmCluster
from pipeline.config import ClusterConfig
from pipeline.records import Resources
from tests.slurm_cluster.jobs import report
work = Work(report, Path({str(REPOSITORY)!r}), Path({str(desk.folder / "jobs")!r}), Resources(mem_gb=.2), dict(HOME="/root"))
SlurmCluster(work, ClusterConfig(max_parallel=9)).submit([Request(n, Path(p)) for n, p in zip({names!r}, {places!r})])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not (requests[0].folder / "starts").exists()
    found = desk.cluster(jobs.report).find(names[1:])
    assert set(found) == set(names[1:])
    for request in requests:
        started(request)
    for request in requests[1:]:
        assert (request.folder / "starts").read_text().split() == [found[request.name]]


def test_a_wave_accepted_by_an_sbatch_without_an_answer_is_found_in_the_queue(desk: Desk) -> None:
    desk.stand_in(
        "sbatch",
        '"$REAL" "$@" > /dev/null; echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv '
        'operation" >&2; exit 1',
    )
    requests = desk.requests(2)
    taken = desk.cluster(jobs.report).submit(requests)
    for request in requests:
        started(request)
        time.sleep(0.5)
        assert (request.folder / "starts").read_text().split() == [taken[request.name]]


def test_a_wave_that_could_not_be_queried_is_ended_before_the_next(desk: Desk) -> None:
    message = 'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1'
    desk.stand_in("sbatch", f'"$REAL" "$@" > /dev/null; {message}')
    desk.stand_in("squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')
    cluster = desk.cluster(jobs.stay)
    (request,) = desk.requests(1)
    with pytest.raises(ClusterRefused, match="Socket timed out"):
        cluster.submit([request])
    for program in ("sbatch", "squeue"):
        (desk.folder / "bin" / program).unlink()
    shutil.rmtree(request.folder)
    request.folder.mkdir()
    taken = cluster.submit([request])
    started(request)
    assert (request.folder / "starts").read_text().split() == list(taken.values())
    running = desk.dev.run("squeue", "--noheader", "--states=R", "--format=%i %j").splitlines()
    assert [line.split()[0] for line in running if request.name in line] == list(taken.values())


# ---- watching


def test_one_query_for_all_jobs_and_none_before_its_time(desk: Desk) -> None:
    log = desk.stand_in("squeue", 'exec "$REAL" "$@"')
    cluster = desk.cluster(jobs.stay, query_s=10)
    ids = list(cluster.submit(desk.requests(5)).values())
    for _ in range(50):
        assert len(cluster.poll(ids)) == 5
        desk.clock.now += 0.5
    assert len(log.read_text().splitlines()) == 3  # 25 seconds
    assert "--states=all" in log.read_text()


def test_without_an_answer_nothing_is_concluded_and_slurm_is_queried_less_often(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay, query_s=10)
    (request,) = desk.requests(1)
    job = cluster.submit([request])[request.name]
    started(request)
    assert status(cluster, job).phase is Phase.RUNNING
    log = desk.stand_in("squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')
    refused = 0
    for _ in range(600):
        desk.clock.now += 0.5
        try:
            assert status(cluster, job).phase is Phase.RUNNING
        except ClusterRefused:
            refused += 1
    assert refused == len(log.read_text().splitlines()) == 5  # after 10, 30, 70, 150, 270 seconds
    (desk.folder / "bin" / "squeue").unlink()
    desk.clock.now += 120
    assert status(cluster, job).phase is Phase.RUNNING


def test_slurms_controller_is_unavailable_for_a_while(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    (request,) = desk.requests(1)
    job = cluster.submit([request])[request.name]
    started(request)
    desk.dev.stop_controller()
    try:
        with pytest.raises(ClusterRefused, match="squeue"):
            cluster.poll([job])
        with pytest.raises(ClusterRefused):
            cluster.submit(desk.requests(1))
        with pytest.raises(ClusterRefused):
            cluster.find(["gw-unknown", request.name])
    finally:
        desk.dev.start_controller()
    assert status(cluster, job).phase is Phase.RUNNING


QUEUE_IS_EMPTY = 'echo "JOBID|STATE|REASON|NODELIST|NAME"'


def test_without_slurmdbd_a_job_that_left_the_queue_is_over(desk: Desk) -> None:
    desk.stand_in("squeue", QUEUE_IS_EMPTY)
    desk.stand_in("sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1')
    cluster = desk.cluster(jobs.report)
    assert status(cluster, "7").phase is Phase.RUNNING  # no record of it is left
    desk.clock.now += 61
    gone = status(cluster, "7")
    assert gone.phase is Phase.ENDED and gone.fault is FailureKind.VANISHED


def test_while_accounting_lags_behind_the_queue_a_job_is_not_given_up(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    (request,) = desk.requests(1)
    job = cluster.submit([request])[request.name]
    started(request)
    desk.stand_in("squeue", QUEUE_IS_EMPTY)
    wait_for(lambda: "RUNNING" in desk.dev.run("sacct", "-nXj", job, "--format=State"))
    assert status(cluster, job).phase is Phase.RUNNING  # accounting still reports RUNNING
    desk.clock.now += 601
    assert status(cluster, job).fault is FailureKind.VANISHED
    desk.stand_in("sacct", 'echo "sacct: error: Unable to contact slurmdbd" >&2; exit 1')
    later = desk.cluster(jobs.stay)
    assert status(later, job).phase is Phase.RUNNING
    desk.clock.now += 601
    assert status(later, job).fault is FailureKind.VANISHED


def test_accounting_reports_how_a_job_ended_that_left_the_queue(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    requests = desk.requests(2)
    ids = cluster.submit(requests)
    for request in requests:
        started(request)
    desk.dev.run("scancel", ids[requests[0].name])
    wait_for(lambda: "CANCELLED" in desk.dev.run("sacct", "-nXj", ids[requests[0].name], "--format=State"))
    desk.stand_in("squeue", QUEUE_IS_EMPTY)
    cancelled = status(cluster, ids[requests[0].name])
    assert (
        cancelled.fault is FailureKind.CANCELLED
        and cancelled.reason.startswith("CANCELLED by user 0")
        and cancelled.node
    )


def test_usage_is_the_run_time_in_slurms_accounts_of_just_these_jobs(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    requests = desk.requests(3)
    ids = list(cluster.submit(requests).values())
    for request in requests:
        started(request)
    time.sleep(2)
    cluster.cancel(ids)
    elapsed = ("sacct", "-DXnPj", ids[0].partition("_")[0], "--format=JobID,ElapsedRaw,State")
    wait_for(lambda: desk.dev.run(*elapsed).count("CANCELLED") == 3)
    accounts = dict(line.split("|")[:2] for line in desk.dev.run(*elapsed).splitlines())
    used = cluster.usage([*ids[:2], "999999"])
    assert used == {job: float(accounts[job]) for job in ids[:2]} and min(used.values()) >= 2
    desk.stand_in("sacct", 'echo "sacct: error: Unable to contact slurmdbd" >&2; exit 1')
    assert cluster.usage(ids) == {}


def test_a_job_that_can_never_start_is_reported(desk: Desk) -> None:
    cluster = desk.cluster(jobs.report, Resources(mem_gb=0.2, time_min=3 * 24 * 60))
    (request,) = desk.requests(1)
    job = cluster.submit([request])[request.name]
    wait_for(lambda: status(cluster, job).never_starts)
    assert "Lower train.resources.time_min" in status(cluster, job).reason


def test_a_preempted_job_is_signalled_and_ends_preempted(desk: Desk) -> None:
    cluster = desk.cluster(jobs.linger, Resources(1, 8, 1, 0.2, 30), nodelist="n3")
    (request,) = desk.requests(1)
    job = cluster.submit([request])[request.name]
    started(request)
    urgent = desk.cluster(jobs.stay, Resources(1, 8, 1, 0.2, 30), nodelist="n3", partition="urgent")
    (other,) = desk.requests(1)
    urgent.submit([other])
    started(other)
    assert (request.folder / "told").exists()
    ended = status(cluster, job)
    assert ended.phase is Phase.ENDED and ended.fault is FailureKind.PREEMPTED
    assert (request.folder / "starts").read_text().split() == [job]


# ---- without a cluster


@pytest.fixture
def with_srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitit writes no script if there is no srun."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def on_slurm(work: Work, slurm: SlurmConfig) -> SlurmCluster:
    return SlurmCluster(work, ClusterConfig(max_parallel=8, slurm=slurm))


def golden_cluster() -> SlurmCluster:
    slurm = SlurmConfig(
        partition="gpu", account="lab", qos="long", gpu_type="h100", constraint="ib", exclude="n[1-2]",
        reservation="class", setup=["module load cuda/12.4", "export NCCL_DEBUG=WARN"], extra={"licenses": "scratch"},
    )  # fmt: skip
    work = Work(
        jobs.report,
        Path("/run/code"),
        Path("/run/jobs"),
        Resources(nodes=2, gpus_per_node=8, cpus_per_task=12, mem_gb=96.5, time_min=600),
        {"PATH": "/usr/bin:/bin", "HOME": "/home/me", "GROUNDWORK_DATA": "/data/with space"},
    )
    return SlurmCluster(work, ClusterConfig(max_parallel=64, slurm=slurm))


def test_the_script_of_a_wave_is_the_golden_one(with_srun: None) -> None:
    script = golden_cluster().script(16).replace(shlex.quote(sys.executable), "PYTHON")
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(script)
    renew = f"look at the difference; `RENEW_GOLDEN=1 python -m pytest {Path(__file__).name}` regenerates it"
    assert script == GOLDEN.read_text(), renew


def test_the_script_drops_what_a_login_profile_exports_and_passes_the_exit_code_on(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text(f"#!/bin/bash\nenv > {tmp_path}/seen\nexit 7\n")
    srun.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        work = Work(jobs.report, Path("/c"), tmp_path / "jobs", Resources(), {"PATH": path, "ALLOWED": "yes"})
        script = on_slurm(work, SlurmConfig(setup=["export MARKER='two words'"])).script(1)
    login = {"PATH": path, "FAKE_API_KEY": "secret", "SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "3", "A B": "odd"}
    done = subprocess.run(["bash", "-c", script], env=login, check=False)
    assert done.returncode == 7
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert "FAKE_API_KEY" not in seen
    kept = {"ALLOWED": "yes", "MARKER": "two words", "SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "3"}
    assert kept.items() <= seen.items()


def test_the_script_is_a_script(with_srun: None) -> None:
    done = subprocess.run(["bash", "-n"], input=golden_cluster().script(2), text=True, check=False)
    assert done.returncode == 0


def test_gpus_are_requested_as_the_site_requires(with_srun: None) -> None:
    def script(settings: SlurmConfig, gpus: int) -> str:
        work = Work(jobs.report, Path("/c"), Path("/j"), Resources(gpus_per_node=gpus), {})
        return on_slurm(work, settings).script(1)

    assert "--gres=gpu:2" in script(SlurmConfig(), 2)
    assert "--gpus-per-node=a100:2" in script(SlurmConfig(gpu_flag=GpuFlag.gpus_per_node, gpu_type="a100"), 2)
    assert "gpu" not in script(SlurmConfig(gpu_type="a100"), 0)
    assert "--array" not in script(SlurmConfig(), 0)


def test_on_a_machine_without_slurm_the_error_gives_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    work = Work(jobs.report, Path("/c"), tmp_path, Resources(), {})
    with pytest.raises(BadInput, match="cluster=local"):
        on_slurm(work, SlurmConfig()).poll(["7"])
    with pytest.raises(BadInput, match="cluster=local"):
        on_slurm(work, SlurmConfig()).script(1)
