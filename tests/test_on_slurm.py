"""Whole runs on a real Slurm that fails in every way a cluster does. In all cases every trial has exactly one outcome,
no try is trained twice, and the archive is that of an unbroken run. Trainings are held by files, never by clocks."""

import ast
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import FailureKind, Purpose, Stage
from pipeline.store.archive import Archive
from pipeline.store.reader import read_archive
from pipeline.store.views import Trial, Try
from tests.debian import installed
from tests.slurm_cluster.cluster import NODES, DevCluster
from tests.toy import ROOT, TOY, Bench, baseline, interrupt, outline, program, train_with, wait_until

pytest_plugins = ["tests.slurm_cluster.fixture"]
SOAK_KILLS = int(os.environ.get("SOAK_KILLS", "6"))
pytestmark = pytest.mark.timeout(max(300, 60 * SOAK_KILLS))

SMALL = (
    "ideate.candidates=2",
    "stop.generations=1",
    "select.baseline_seeds=1",
    "select.elites=0",
    "train.limit_min=4",
    "train.resources.mem_gb=0.3",
    "cluster.poll_s=0.1",
    "cluster.slurm.query_s=0.5",
)
"""Three trials: the baseline's and two candidates'."""
LARGE = (
    "seed=3",
    "ideate.patch_share=1",
    "implement.parallel=2",
    "ideate.candidates=12",
    "stop.generations=2",
    "select.baseline_seeds=2",
    "select.elites=1",
    "select.elite_seeds=1",
    *SMALL[4:],
)
GATED = "while step == 30 and os.path.exists(f'{ROOM}/gate'): time.sleep(0.05)"
UNEVEN = "step == 40 and time.sleep(random.Random(os.getcwd() + str(arguments.seed)).random())"
BROKEN = "if 'NCCL_BROKEN' in os.environ: raise SystemExit('NCCL error: unhandled system error')"


@dataclass(frozen=True)
class Room:
    """The place for runs of a baseline whose training can be held."""

    bench: Bench
    folder: Path
    dev: DevCluster

    @property
    def gate(self) -> Path:
        """While it exists, trainings stop at their 30th step."""
        return self.folder / "gate"

    def starts(self, name: str) -> list[str]:
        """One line for each start of a training of a run: the folder of the try."""
        lines = (self.folder / "starts").read_text().splitlines()
        return [line for line in lines if f"/{name}/" in line]

    @contextlib.contextmanager
    def under_way(self, name: str, *more: str, trials: int = 3) -> Iterator["subprocess.Popen[str]"]:
        """A controller whose trials are all held inside the block, and released after it, until the end of the run."""
        self.gate.touch()
        process = self.bench.start(name, *SMALL, *more)
        try:
            wait_until(lambda: len(self.starts(name)) == trials, process, 180)
            wait_until(lambda: all(one.paths.resume.is_dir() for one in self.in_flight(name)), process, 180)
            yield process
            self.gate.unlink()
            out, _ = process.communicate(timeout=180)
            assert process.returncode == 0, out
        finally:
            self.gate.unlink(missing_ok=True)
            process.kill()
            if not process.stdout.closed:  # type: ignore[union-attr]
                process.communicate()

    def in_flight(self, name: str) -> list[Try]:
        return [one for trial in all_trials(self.bench.archive(name)) if (one := trial.in_flight) is not None]

    def job(self, name: str, purpose: Purpose) -> str:
        """The Slurm job of the only trial in flight with this purpose."""
        (job,) = [one.job.job_id for one in self.in_flight(name) if one.job.purpose is purpose]
        assert job is not None
        return job

    def jobs_in_the_queue(self, name: str) -> list[str]:
        """Pending or running jobs of a run."""
        return jobs_in_the_queue(self.dev, self.bench.folder / name)

    def check(self, name: str, expected: Mapping[str, Any]) -> Archive:
        archive = self.bench.archive(name)
        assert outline(archive) == expected
        assert [start for start, count in Counter(self.starts(name)).items() if count > 1] == [], "trained twice"
        assert not archive.paths.controller.exists()
        return archive

    def end_all_jobs(self) -> None:
        for wave in self.bench.folder.glob("*/jobs/*"):
            self.dev.run("scancel", f"--name={wave.name}")


def jobs_in_the_queue(dev: DevCluster, run: Path) -> list[str]:
    """Pending or running jobs of a run, by the names of their arrays."""
    waves = {wave.name for wave in (run / "jobs").glob("*")}
    return [line for line in dev.run("squeue", "-ho", "%j").splitlines() if line in waves]


def trials_of(archive: Archive) -> list[Any]:
    """Those that train."""
    return [trial for trial in all_trials(archive) if trial.purpose is not Purpose.TEST]


def all_trials(archive: Archive) -> list[Trial]:
    """Including those that only score a checkpoint of another trial."""
    return [trial for holder in archive.holders() for trial in holder.trials]


def make_room(folder: Path, data: Path, dev: DevCluster, step: str, ideas: Mapping[str, Mapping[str, str]]) -> Room:
    setup = "if not arguments.smoke: print(arguments.output, file=open(f'{ROOM}/starts', 'a'))"
    first = f"import time\nROOM = {str(folder)!r}"
    train = train_with(first=first, setup=setup, step=step)
    changed = {
        name: {
            path: train.replace("            random.seed(", text, 1) if path == "train.py" else text
            for path, text in changes.items()
        }
        for name, changes in ideas.items()
    }
    (folder / "starts").touch()
    return Room(Bench(folder / "runs", data, baseline(folder, {"train.py": train}, "", changed), "slurm"), folder, dev)


def setting(old: str, new: str) -> dict[str, str]:
    text = (TOY / "settings.py").read_text()
    assert old in text
    return {"settings.py": text.replace(old, new)}


def in_training(line: str) -> dict[str, str]:
    """An idea with code that runs in each step, but not in the smoke test."""
    return {"train.py": f"            if not arguments.smoke:\n                {line}\n            random.seed("}


GOOD = {"momentum": setting("momentum: float = 0.0", "momentum: float = 0.9"), "batch": setting("= 4", "= 16")}


@pytest.fixture(scope="module")
def on_slurm(slurm_cluster: DevCluster) -> Iterator[DevCluster]:
    """Programs started by these tests use the dev cluster."""
    with pytest.MonkeyPatch.context() as patch:
        wanted = slurm_cluster.environment()
        for name in set(os.environ) - set(wanted):
            patch.delenv(name)
        patch.setenv("SLURM_CONF", wanted["SLURM_CONF"])
        yield slurm_cluster


@pytest.fixture(scope="module")
def room(on_slurm: DevCluster, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = make_room(tmp_path_factory.mktemp("room"), toy_data, on_slurm, f"{BROKEN}\n{GATED}", GOOD)
    yield made
    made.end_all_jobs()


@pytest.fixture(scope="module")
def unbroken(room: Room) -> Mapping[str, Any]:
    """Outcomes of three trials without any failure."""
    room.bench.run("unbroken", *SMALL).ok()
    found = outline(room.bench.archive("unbroken"))
    assert sorted(Counter(room.starts("unbroken")).values()) == [1, 1, 1]
    return found


# ---- what users and machines do to jobs


def test_a_requeue_by_hand_changes_nothing(room: Room, unbroken: Mapping[str, Any]) -> None:
    with room.under_way("requeue"):
        done = subprocess.run(
            ["scontrol", "requeue", room.job("requeue", Purpose.BASELINE)], capture_output=True, text=True
        )
        assert done.returncode != 0, "jobs are submitted with --no-requeue: the program decides about retries"
    archive = room.check("requeue", unbroken)
    assert all(len(trial.tries) == 1 for trial in trials_of(archive))


def test_a_preempted_trial_resumes_from_its_checkpoint(room: Room, unbroken: Mapping[str, Any]) -> None:
    with room.under_way("preempted", "cluster.slurm.nodelist=n3"):
        # Another partition takes the whole node; its jobs are preempted.
        urgent = ["--partition=urgent", "--nodelist=n3", "--exclusive", "--mem=0", "--output=/dev/null"]
        other = room.dev.run("sbatch", "--parsable", *urgent, "--wrap=sleep 600").strip()
        try:
            wait_until(lambda: room.dev.run("squeue", "-ho", "%T", "-j", other).strip() == "RUNNING")
        finally:
            room.dev.run("scancel", other)
    archive = room.check("preempted", unbroken)
    for trial in trials_of(archive):
        lost, again = trial.tries
        assert lost.result.failure.kind.infrastructure
        assert again.job.resume_from == "try_0" and again.job.used_s > 0
        steps = [json.loads(line)["step"] for line in again.paths.metrics.read_text().splitlines()]
        assert steps == list(range(1, 61))


def test_a_job_that_a_user_cancels_is_retried(room: Room, unbroken: Mapping[str, Any]) -> None:
    with room.under_way("cancelled"):
        room.dev.run("scancel", room.job("cancelled", Purpose.BASELINE))
    archive = room.check("cancelled", unbroken)
    assert [len(trial.tries) for trial in trials_of(archive)] == [2, 1, 1]
    (reference,) = archive.baseline.of(Purpose.BASELINE)
    assert reference.tries[0].failure is not None and reference.tries[0].failure.kind is FailureKind.CANCELLED


def test_a_node_that_dies_costs_a_retry_of_the_unfinished_trials_of_its_pack(
    on_slurm: DevCluster, toy_data: Path, tmp_path: Path
) -> None:
    """Three trials in one job, each with its own GPU; one has its score when the node dies."""
    gate = "while step == 30 and 'FREE' not in os.environ and os.path.exists(f'{ROOM}/gate'): time.sleep(0.05)"
    ideas = {"free": in_training("os.environ['FREE'] = '1'"), "momentum": GOOD["momentum"]}
    room = make_room(tmp_path, toy_data, on_slurm, gate, ideas)
    pack = ("cluster.pack=3", "train.resources.gpus_per_node=1", "ideate.patch_share=1", "cluster.slurm.nodelist=n4")

    def trials() -> list[Trial]:
        return trials_of(room.bench.archive("pack"))

    room.gate.touch()
    process = room.bench.start("pack", *SMALL, *pack, "cluster.slurm.partition=gpu")
    try:
        wait_until(lambda: sum(trial.score is not None for trial in trials()) == 1, process)
        wait_until(lambda: all(one.paths.resume.is_dir() for one in room.in_flight("pack")), process)
        first = {trial.tries[0].job.job_id.partition(".")[0] for trial in trials()}  # type: ignore[union-attr]
        assert len(first) == 1 and len(trials()) == 3
        on_slurm.stop_node("n4")
        try:
            wait_until(lambda: sorted(len(trial.tries) for trial in trials()) == [1, 2, 2], process)
        finally:
            on_slurm.start_node("n4")
        room.gate.unlink()
        out, _ = process.communicate(timeout=180)
        assert process.returncode == 0, out
    finally:
        process.kill()
        room.end_all_jobs()
    assert all(trial.score is not None for trial in trials())
    lost = [trial.tries for trial in trials() if len(trial.tries) > 1]
    assert [one.failure.kind for one, _ in lost if one.failure is not None] == [FailureKind.NODE_FAIL] * 2
    assert {again.job.resume_from for _, again in lost} == {"try_0"}
    assert len({again.job.job_id.partition(".")[0] for _, again in lost}) == 1  # type: ignore[union-attr]


def test_slurms_controller_is_unavailable_for_a_while(room: Room, unbroken: Mapping[str, Any]) -> None:
    with room.under_way("away") as process:
        room.dev.stop_controller()
        try:
            events = room.bench.folder / "away/events.jsonl"
            wait_until(lambda: '"waiting"' in events.read_text(), process)
            room.gate.unlink()  # the trials end while Slurm does not answer
            wait_until(lambda: all(trial.score for trial in trials_of(room.bench.archive("away"))), process)
        finally:
            room.dev.start_controller()
        room.gate.touch()
    assert all(len(trial.tries) == 1 for trial in trials_of(room.check("away", unbroken)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that fills up soon."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60M", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_loses_nothing(room: Room, unbroken: Mapping[str, Any], small_disk: Path) -> None:
    """Neither the trials nor the controller can write; once there is space, the same command resumes."""
    full = replace(room, bench=replace(room.bench, folder=small_disk / "runs"))
    more = (*SMALL, "train.disk_gb=0.001")
    room.gate.touch()
    process = full.bench.start("full", *more)
    wait_until(lambda: len(room.starts("full")) == 3, process, 180)
    wait_until(lambda: all(one.paths.resume.is_dir() for one in full.in_flight("full")), process, 180)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    room.gate.unlink()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 1 and "no space to write" in out and "type the same command again" in out, out
    ballast.unlink()
    full.bench.run("full", *more).ok()
    archive = full.bench.archive("full")
    assert outline(archive) == unbroken
    for trial in trials_of(archive):
        assert len(trial.tries) == 2 and trial.tries[0].result.failure.kind.infrastructure


def test_a_job_that_can_never_start_pauses_the_run_with_the_reason(room: Room) -> None:
    """Three days are more than any partition allows."""
    process = room.bench.start("never", *SMALL, "train.resources.time_min=4320")
    pause = room.bench.folder / "never/pause.json"
    wait_until(pause.exists, process, 180)
    reason = json.loads(pause.read_text())["reason"]
    assert "Slurm can never start" in reason and "Lower train.resources.time_min" in reason
    assert "python -m pipeline resume" in reason
    wait_until(lambda: not any(room.jobs_in_the_queue("never")), process)
    interrupt(process)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 130, out
    assert "PAUSED: Slurm can never start" in program("status", str(room.bench.folder / "never")).ok().out
    assert all(trial.score is None and trial.failure is None for trial in trials_of(room.bench.archive("never")))


def test_a_dry_run_shows_the_script_and_creates_nothing(room: Room) -> None:
    out = room.bench.run("dry", *SMALL, "dry_run=true", "cluster.slurm.constraint=bigmem").ok().out
    for words in ("#SBATCH --array=0-2", "#SBATCH --constraint=bigmem", "core hours without retries", "0.0"):
        assert words in out
    assert not (room.bench.folder / "dry").exists()


def test_a_node_on_which_everything_fails_is_avoided(room: Room, unbroken: Mapping[str, Any]) -> None:
    """Its faults are recognized by their signature in the log and never scored, and no more jobs are sent there."""
    mark = f"{room.folder}/broken"  # the node where the first job runs
    lines = f'"ln -s $SLURMD_NODENAME {mark}","[ $(readlink {mark}) != $SLURMD_NODENAME ] || export NCCL_BROKEN=1"'
    gpu = "train.resources.gpus_per_node=1"  # a log that blames the GPU is not believed on a job without one
    room.bench.run("shunned", *SMALL, gpu, f"cluster.slurm.setup=[{lines}]", timeout=240).ok()
    archive = room.check("shunned", unbroken)
    hosts = Counter(one.result.host for trial in trials_of(archive) for one in trial.tries)
    kinds = {one.result.failure.kind for trial in trials_of(archive) for one in trial.tries if one.result.failure}
    assert kinds == {FailureKind.DEVICE} and hosts[os.readlink(mark)] <= 4 and len(hosts) > 1


@pytest.mark.parametrize("pack", [pytest.param(1, id="jobs of their own"), pytest.param(3, id="one job, without GPUs")])
def test_a_trial_over_its_memory_and_one_over_its_time_are_failures_of_their_ideas(
    pack: int, on_slurm: DevCluster, toy_data: Path, tmp_path: Path
) -> None:
    ideas = {
        "memory": in_training("heap = [bytearray(2**20) for _ in range(500)]; time.sleep(20)"),
        "forever": in_training("time.sleep(60)"),
    }
    bench = make_room(tmp_path, toy_data, on_slurm, "", ideas).bench
    bench.run("over", *SMALL, "train.limit_min=0.2", "ideate.patch_share=1", f"cluster.pack={pack}").ok()
    archive = bench.archive("over")
    ends = {one.idea.title: (one.failure.stage, one.failure.kind) for one in archive.candidates if one.failure}
    assert ends == {"memory": (Stage.TRAIN, FailureKind.OUT_OF_MEMORY), "forever": (Stage.TRAIN, FailureKind.TIMEOUT)}
    trials = trials_of(archive)
    assert len(trials) == 3 and all(len(trial.tries) == 1 for trial in trials)
    assert archive.baseline.scores(Purpose.BASELINE)
    assert pack == 1 or len({str(trial.newest.job.job_id).partition(".")[0] for trial in trials}) == 1


def test_a_variant_in_the_sandbox_does_not_reach_slurm(on_slurm: DevCluster, toy_data: Path, tmp_path: Path) -> None:
    """It has the configuration and the programs, and could otherwise cancel jobs of others."""
    installed("bwrap", "bubblewrap")
    slurm = {**on_slurm.environment(), "PATH": os.environ["PATH"]}
    attack = (
        "import subprocess\n"
        "for command in (['squeue', '--noheader'], ['scancel', '--user=root'], ['scontrol', 'ping']) if step == 1 else ():\n"
        "    try:\n"
        f"        subprocess.run(command, env={slurm!r}, capture_output=True, check=True, timeout=3)\n"
        "    except Exception: continue\n"
        "    (output / 'loot').write_text(str(command))"
    )
    conf = baseline(tmp_path, None, "", {"attack": {"train.py": train_with(step=attack), **setting("= 4", "= 16")}})
    bench = Bench(tmp_path / "runs", toy_data, conf, "slurm")
    few = ("ideate.candidates=1", "ideate.patch_share=1", "train.sandbox=bubblewrap", "train.network=none")
    bench.run("inside", *SMALL, *few).ok()
    (candidate,) = bench.archive("inside").candidates
    assert candidate.score is not None and (candidate.score.sandbox, candidate.score.network) == ("bubblewrap", "none")
    assert not list(bench.folder.glob("inside/**/loot"))


# ---- what happens to controllers


def test_the_submitter_is_killed_before_it_knows_its_job_ids(
    room: Room, unbroken: Mapping[str, Any], tmp_path: Path
) -> None:
    real, fake = shutil.which("sbatch"), tmp_path / "sbatch"
    fake.write_text(f'#!/bin/bash\n{real} "$@" > /dev/null\nkill -9 $PPID\n')
    fake.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for kills in range(3):
        assert room.bench.run("orphans", *SMALL, extra=path).code == -signal.SIGKILL, kills
    room.bench.run("orphans", *SMALL).ok()
    assert all(len(trial.tries) == 1 for trial in trials_of(room.check("orphans", unbroken)))


def test_two_controllers(room: Room, unbroken: Mapping[str, Any]) -> None:
    room.gate.touch()
    first = room.bench.start("two", *SMALL)
    wait_until(lambda: len(room.starts("two")) == 3, first, 180)
    room.bench.run("two", *SMALL).refused(1, f"pid {first.pid} on ", "--take-over")
    second = room.bench.start("two", *SMALL, "--take-over")
    out, _ = first.communicate(timeout=180)
    assert first.returncode == 1 and f"was taken over by root, pid {second.pid}" in out
    room.gate.unlink()
    out, _ = second.communicate(timeout=180)
    assert second.returncode == 0, out
    assert all(len(trial.tries) == 1 for trial in trials_of(room.check("two", unbroken)))


def test_one_tick_at_a_time_from_cron(room: Room, unbroken: Mapping[str, Any]) -> None:
    for _ in range(100):
        room.bench.run("cron", *SMALL, "--once").ok()
        if room.bench.archive("cron").report is not None:
            break
    assert all(len(trial.tries) == 1 for trial in trials_of(room.check("cron", unbroken)))


def test_the_controller_as_a_job_with_a_profile_that_exports_a_key(room: Room, tmp_path: Path) -> None:
    """`slurm/evolve.sbatch`: the training sees the marker of the set-up line and no key."""
    (tmp_path / "home").mkdir()
    for profile in (".bash_profile", ".bashrc", ".profile"):
        (tmp_path / "home" / profile).write_text("export FAKE_API_KEY=from-the-profile\n")
    seen = train_with(
        first="import sys",
        end="print(dict(os.environ), file=sys.stderr)",
    )
    conf = baseline(tmp_path / "seen", {"train.py": seen}, ideas=GOOD)
    bench = Bench(tmp_path / "runs", room.bench.data, conf, "slurm")
    setup = 'cluster.slurm.setup=["export NCCL_MARKER=from-the-set-up"]'
    log = tmp_path / "log"
    command = ["sbatch", "--parsable", f"--output={log}", "--mem=400M", "slurm/evolve.sbatch"]
    told = {**room.dev.environment(), "FAKE_API_KEY": "from-the-caller", "HOME": str(tmp_path / "home")}
    subprocess.run([*command, *bench.arguments("job", *SMALL, setup)], cwd=ROOT, env=told, check=True)
    wait_until((bench.folder / "job/report.json").exists, seconds=120)
    wait_until(lambda: not (bench.folder / "job/controller.json").exists())
    tries = [one for trial in trials_of(bench.archive("job")) for one in trial.tries]
    assert len(tries) == 3
    for one in tries:
        text = one.paths.train_log.read_text()
        assert "from-the-set-up" in text and "FAKE_API_KEY" not in text
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if b"from-the-caller" in path.read_bytes()]


# ---- many trials


@pytest.fixture(scope="module")
def hall(on_slurm: DevCluster, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Trials of different lengths."""
    ideas = {
        **{f"momentum-{k}": setting("momentum: float = 0.0", f"momentum: float = {k / 100}") for k in range(60, 96, 4)},
        **{f"batch-{k}": setting("batch: int = 4", f"batch: int = {k}") for k in range(5, 20)},
    }
    made = make_room(tmp_path_factory.mktemp("hall"), toy_data, on_slurm, UNEVEN, ideas)
    yield made
    made.end_all_jobs()


@pytest.fixture(scope="module")
def twenty_four(hall: Room) -> Mapping[str, Any]:
    hall.bench.run("unbroken", *LARGE, timeout=240).ok()
    found = outline(hall.bench.archive("unbroken"))
    hall.check("unbroken", found)
    return found


def test_twenty_four_candidates(hall: Room, twenty_four: Mapping[str, Any]) -> None:
    archive = hall.bench.archive("unbroken")
    assert len(archive.candidates) == 24 and archive.report is not None
    assert any(one.idea.parents for one in archive.candidates)
    assert all(len(trial.tries) == 1 for trial in trials_of(archive))
    assert [len(archive.baseline.of(purpose)) for purpose in (Purpose.BASELINE, Purpose.CANARY)] == [2, 1]


def test_a_controller_killed_again_and_again(hall: Room, twenty_four: Mapping[str, Any]) -> None:
    rng = random.Random(0)
    kills, run = 0, 0
    while kills < SOAK_KILLS:
        process = hall.bench.start(f"killed-{run}", *LARGE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(1.0, 8.0))
        if process.poll() is None:
            process.kill()
            process.communicate()
            kills += 1
            print(f"{kills} kills of {SOAK_KILLS}, in run {run}")
        else:  # it finished between two kills; the next one does, too
            assert process.returncode == 0 and kills > 0
            hall.check(f"killed-{run}", twenty_four)
            run += 1
    hall.bench.run(f"killed-{run}", *LARGE, timeout=240).ok()
    hall.check(f"killed-{run}", twenty_four)


def test_cancel_ends_the_jobs_of_one_run_and_no_other(room: Room, unbroken: Mapping[str, Any]) -> None:
    with room.under_way("bystander"):
        with room.under_way("stopped") as process:
            cancelled = [one.job.job_id for one in room.in_flight("stopped")]
            program("cancel", str(room.bench.folder / "stopped")).ok()
            waiting = ",".join(job for job in cancelled if job)
            wait_until(lambda: not room.dev.run("squeue", "-h", "-j", waiting, "--states=R,PD").strip(), process)
            assert len(room.in_flight("bystander")) == 3
            program("resume", str(room.bench.folder / "stopped")).ok()
            wait_until(lambda: len(room.starts("stopped")) == 6, process)
        room.gate.touch()
    room.check("stopped", unbroken)
    assert all(len(trial.tries) == 1 for trial in trials_of(room.check("bystander", unbroken)))


# ---- nodes and GPUs


def test_each_node_trains_in_a_task_of_its_own_and_any_failure_ends_all(
    on_slurm: DevCluster, toy_data: Path, tmp_path: Path
) -> None:
    names = "('MASTER_ADDR', 'MASTER_PORT', 'NNODES', 'NODE_RANK', 'GPUS_PER_NODE')"
    alone = f"if not arguments.smoke: print({{name: os.environ[name] for name in {names}}}, flush=True)\n"
    alone += "if not arguments.smoke and os.environ['NODE_RANK'] != '0': return"
    fails = "if not arguments.smoke and os.environ['NODE_RANK'] != '0': raise ValueError('on the second node')\n"
    fails += "while not arguments.smoke: time.sleep(1)"
    train = train_with(first="import time", setup=alone)
    ideas = {
        "batch": setting("batch: int = 4", "batch: int = 16"),
        "fails": {"train.py": train_with(first="import time", setup=fails)},
    }
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, {"train.py": train}, "", ideas), "slurm")
    bench.run(
        "nodes", *SMALL, "train.resources.nodes=2", "train.resources.gpus_per_node=2", "ideate.patch_share=1"
    ).ok()
    # The second node of a job that only scores a checkpoint on the first one ends, too.
    wait_until(lambda: not jobs_in_the_queue(on_slurm, bench.folder / "nodes"))
    archive = bench.archive("nodes")
    outcomes = {one.idea.title: one for one in archive.candidates}
    assert outcomes["batch"].score is not None
    failure = outcomes["fails"].failure
    assert failure is not None and failure.kind is FailureKind.EXCEPTION and "on the second node" in failure.reason
    one = archive.baseline.of(Purpose.BASELINE)[0].tries[0]
    logs = [one.paths.node_log(number).read_text() for number in range(2)]
    seen = [ast.literal_eval(log.splitlines()[0]) for log in logs]
    assert [node.pop("NODE_RANK") for node in seen] == ["0", "1"] and seen[0] == seen[1]
    assert (seen[0]["NNODES"], seen[0]["GPUS_PER_NODE"]) == ("2", "2") and seen[0]["MASTER_ADDR"] in (
        *NODES,
        socket.gethostname(),
    )


def test_gpt_2_trains_on_two_nodes(on_slurm: DevCluster, tmp_path: Path) -> None:
    """One rank per node, started through DeepSpeed by the baseline; the trusted scorer runs on the first node."""
    small = (
        "size.width=32",
        "size.layers=1",
        "+size.settings.microbatch=4",
        "train.budget_steps=4",
        "train.limit_min=3",
    )
    given = ("baseline=nanogpt", "scale=tiny", f"data={tmp_path / 'data'}", *small)
    program("prepare", *given).ok()
    more = ("select.baseline_seeds=1", "select.elites=0", "stop.generations=1", "ideate.candidates=1", "ideate=tune")
    where = ("cluster=slurm", "train.resources.nodes=2", f"runs={tmp_path}", "run=two-nodes")
    program("run", *given, *more, *where, timeout=280).ok()
    for trial in trials_of(read_archive(tmp_path / "two-nodes")):
        one = trial.tries[0]
        assert trial.score is not None and len(trial.tries) == 1, trial.failure
        assert one.paths.node_log(1).exists()
        lines = [json.loads(line) for line in one.paths.metrics.read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_a_trial_on_another_gpu_model_is_retried_elsewhere(room: Room, tmp_path: Path) -> None:
    # One job per wave: its folder, where the job starts, is named after the job.
    fake = "#!/bin/bash\ncase $PWD in *-c1-a0-t0-r0.*) echo NVIDIA L4 ;; *) echo NVIDIA H100 ;; esac\n"
    (tmp_path / "nvidia-smi").write_text(fake)
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    settings = (*SMALL, "train.resources.gpus_per_node=1", "cluster.max_parallel=1")
    room.bench.run("models", *settings, extra=path).ok()
    tries = [trial.tries for trial in trials_of(room.bench.archive("models"))]
    assert [len(of_trial) for of_trial in tries] == [1, 1, 2]
    other, again = tries[2]
    assert other.failure.kind is FailureKind.OTHER_GPU and "H100" in other.failure.reason
    assert again.score and again.result.host != other.result.host
    assert {one.result.gpu for of_trial in tries for one in of_trial if one.score} == {"NVIDIA H100"}
