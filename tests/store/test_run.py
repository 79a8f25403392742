"""A run is created once, from copies, and locked by one controller at a time."""

import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.errors import BadInput, CannotContinue, Damaged
from pipeline.records import Claim, Job
from pipeline.store import files
from pipeline.store.data import check_data, write_manifest
from pipeline.store.paths import RunPaths, TryPaths
from pipeline.store.run import (
    Facts,
    Holder,
    RunLock,
    Sources,
    claim,
    create_run,
    is_void,
    locked,
    open_run,
    void,
    with_job_id,
)
from tests.toy import ROOT, TOY, environment

FILES = [path.name for path in TOY.iterdir() if path.is_file()]
SOURCES = Sources(TOY, FILES, TOY / "ideas", ROOT / "pipeline", {"width": 3})
CONFIG = {"baseline": {"name": "toy", "metric": {"name": "loss"}}, "scale": "tiny"}


def test_a_run_has_its_own_copy_of_the_code(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    paths.folder.mkdir()
    run = create_run(paths, SOURCES, CONFIG, "1.0", "hash", {})
    assert sorted(path.name for path in paths.code.iterdir()) == ["baseline", "ideas", "pipeline", "size.json"]
    assert sorted(path.name for path in paths.pristine.iterdir() if path.name != "__pycache__") == [
        "evaluate.py",
        "model.py",
        "prepare.py",
        "settings.py",
        "train.py",
    ]
    assert (paths.pristine / "train.py").read_text() == (TOY / "train.py").read_text()
    assert all(file.stat().st_mode & 0o222 == 0 for file in paths.code.rglob("*") if file.is_file())
    assert run.facts.code == files.tree_hash(paths.code)
    inside = {path.name for path in (paths.code / "pipeline").iterdir()}
    assert "job" in inside and not inside & {"commands", "setup", "stages", "makers", "methods", "policy", "loop.py"}
    assert run.config.baseline.name == "toy" and run.config.baseline.metric.name == "loss"
    assert open_run(paths).facts == run.facts


def test_a_run_killed_during_its_creation_is_created_again(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    paths.code.mkdir(parents=True)
    (paths.code / "half").write_text("")
    create_run(paths, SOURCES, CONFIG, "1.0", "hash", {})
    assert not (paths.code / "half").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"format": "one"}'])
def test_a_damaged_run_is_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(Damaged, match=r"run\.json is damaged"):
        open_run(RunPaths(tmp_path))


def test_other_folders_and_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a run folder"):
        open_run(RunPaths(tmp_path))
    files.create(tmp_path / "run.json", Facts(999, CONFIG, "9.9", "", "", 0.0))
    with pytest.raises(BadInput, match=r"has format 999, this version reads 2; use version 9\.9"):
        open_run(RunPaths(tmp_path))


def test_a_try_is_taken_once(tmp_path: Path) -> None:
    paths = TryPaths(tmp_path)
    assert claim(paths, "12")
    assert not void(paths) and not claim(paths, "13")
    other = TryPaths(tmp_path / "other")
    other.folder.mkdir()
    assert void(other) and not claim(other, "12")


def test_a_void_claim_is_recognized(tmp_path: Path) -> None:
    void(TryPaths(tmp_path))
    assert is_void(files.read(tmp_path / "claim.json", Claim))
    assert not is_void(Claim("12", "node", 1, 0.0))


def test_the_id_of_a_job_is_kept_beside_its_request(tmp_path: Path) -> None:
    paths, job = TryPaths(tmp_path), Job("name", 3, "validation")
    files.create(paths.job, job)
    files.replace(paths.job, with_job_id(job, "12_3", 5.0))
    found = files.read(paths.job, Job)
    assert found == replace(job, job_id="12_3", submitted_at=5.0)
    assert with_job_id(found, "12_4", 9.0).submitted_at == 5.0


# ---- one controller at a time ----


def other(host: str = "", pid: int = 0, started: int = 0, job: str = "", at: float = 0.0) -> Holder:
    return Holder("ada", host or socket.gethostname(), pid, started, job, at)


def living() -> Holder:
    """A process of this machine that is certainly alive: the one that runs the tests."""
    parent = psutil.Process().parent()
    assert parent is not None
    return other(pid=parent.pid, started=round(parent.create_time() * 100))


def test_a_second_controller_is_refused_with_the_holder_of_the_run(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    files.create(paths.controller, living())
    with pytest.raises(CannotContinue) as caught, locked(paths):
        pass
    words = str(caught.value)
    assert f"held by ada, pid {living().pid} on {socket.gethostname()}" in words and "--take-over" in words
    assert files.read(paths.controller, Holder) == living()


def test_a_second_controller_in_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.store.paths import RunPaths; from pipeline.store.run import locked\n"
        f"with locked(RunPaths(Path({str(tmp_path)!r}))): print('held', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdin is not None and first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(CannotContinue, match=f"pid {first.pid} "), locked(RunPaths(tmp_path)):
        pass
    first.stdin.close()
    assert first.wait() == 0
    first.stdout.close()
    with locked(RunPaths(tmp_path)):
        pass


def test_the_slurm_job_of_a_holder_is_named(tmp_path: Path) -> None:
    files.create(RunPaths(tmp_path).controller, replace(living(), job="4711"))
    with pytest.raises(CannotContinue, match="in Slurm job 4711"), locked(RunPaths(tmp_path)):
        pass


DEAD = {
    "its process is gone": lambda: other(pid=2**22 - 1, started=1),
    "its process id was given out again": lambda: replace(living(), started=1),
    "no sign of life from another node for long": lambda: other("elsewhere", 1, 1, at=time.time() - 3600),
}


@pytest.mark.parametrize("why", DEAD)
def test_a_dead_controller_is_replaced(why: str, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    files.create(paths.controller, DEAD[why]())
    with locked(paths) as lock:
        assert files.read(paths.controller, Holder).pid == psutil.Process().pid
        lock.beat()
    assert not paths.controller.exists()


def test_a_zombie_controller_is_dead(tmp_path: Path) -> None:
    """In a container without an init process, a killed controller stays as a zombie."""
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(zombie.pid)
    holder = other(pid=zombie.pid, started=round(process.create_time() * 100))
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    files.create(RunPaths(tmp_path).controller, holder)
    try:
        with locked(RunPaths(tmp_path)):
            pass
    finally:
        zombie.wait()


def test_a_living_controller_on_another_node_keeps_the_run(tmp_path: Path) -> None:
    files.create(RunPaths(tmp_path).controller, other("elsewhere", 1, 1, at=time.time()))
    with pytest.raises(CannotContinue, match="pid 1 on elsewhere"), locked(RunPaths(tmp_path)):
        pass


def test_a_controller_that_was_taken_over_stops_and_leaves_the_file_to_the_new_one(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    with pytest.raises(CannotContinue, match=r"was taken over by ada, pid"), locked(paths) as lock:
        files.replace(paths.controller, living())
        lock._me = replace(lock._me, at=0.0)  # long after the last heartbeat
        lock.beat()
    assert files.read(paths.controller, Holder) == living()


def test_take_over(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    files.create(paths.controller, living())
    with locked(paths, take_over=True):
        assert files.read(paths.controller, Holder).pid == psutil.Process().pid


def test_heartbeats_are_written_at_intervals(tmp_path: Path) -> None:
    lock = RunLock(RunPaths(tmp_path))
    lock.take(False)
    before = files.read(RunPaths(tmp_path).controller, Holder)
    lock._me = replace(lock._me, at=0.0)
    lock.beat()
    assert files.read(RunPaths(tmp_path).controller, Holder).at > before.at
    lock.release()


# ---- prepared data ----


def test_data_counts_once_its_manifest_exists(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/rows").write_text("1")
    with pytest.raises(BadInput, match="holds no prepared data; make it with: COMMAND"):
        check_data(tmp_path, "COMMAND")
    manifest = write_manifest(tmp_path)
    assert (manifest.files, manifest.bytes) == (1, 1)
    assert check_data(tmp_path, "COMMAND") == manifest.hash
    assert write_manifest(tmp_path) == manifest
    (tmp_path / "train/rows").write_text("2")
    assert write_manifest(tmp_path).hash != manifest.hash
