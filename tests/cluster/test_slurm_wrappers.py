"""The sbatch wrappers for users: first as plain shell with a stand-in for Python, then one on a real Slurm."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm_cluster.cluster import DevCluster, install_packages
from tests.slurm_cluster.waiting import wait_for

pytest_plugins = ["tests.slurm_cluster.fixture"]

WRAPPERS = Path(__file__).parents[2] / "slurm"
SBATCHES = sorted(path.name for path in WRAPPERS.glob("*.sbatch"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the wrappers, in which `python` records its arguments and does what the file `behave` says."""
    checkout = tmp_path / "checkout"
    shutil.copytree(WRAPPERS, checkout / "slurm")
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    program(
        python,
        f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\necho "$@" >> {checkout}/calls\n. {checkout}/behave',
    )
    behave(checkout, "exit 0")
    return checkout


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def behave(root: Path, script: str) -> None:
    (root / "behave").write_text(script)


def environment(root: Path, **more: str) -> dict[str, str]:
    path = f"{root}/bin:{os.environ['PATH']}"
    slurm = {"SLURM_SUBMIT_DIR": str(root), "SLURM_JOB_ID": "77", "SLURM_CONF": "/nonexistent"}  # never a real one
    return {"PATH": path, **slurm, **more}


def run(root: Path, wrapper: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(root / "slurm" / wrapper), *arguments]
    return subprocess.run(
        command, env=environment(root, **more), cwd="/", check=False, capture_output=True, text=True, timeout=60
    )


def test_shellcheck_reports_nothing() -> None:
    if os.environ.get("DEV_CLUSTER") == "1":
        install_packages()
    elif shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck: apt-get install shellcheck")
    files = [*SBATCHES, "lib.sh"]
    done = subprocess.run(["shellcheck", "-x", *[f"slurm/{name}" for name in files]], cwd=WRAPPERS.parent, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("wrapper", SBATCHES)
def test_a_key_of_the_caller_stays_out_of_slurms_records(wrapper: str) -> None:
    assert "#SBATCH --export=NIL" in (WRAPPERS / wrapper).read_text()


@pytest.mark.parametrize("wrapper", SBATCHES)
def test_in_the_wrong_folder_the_error_says_what_to_type(wrapper: str, root: Path, tmp_path: Path) -> None:
    done = run(root, wrapper, SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 2 and f"sbatch slurm/{wrapper}" in done.stderr


@pytest.mark.parametrize(
    ("wrapper", "command"),
    [("evolve.sbatch", "pipeline.run"), ("prepare.sbatch", "pipeline prepare"), ("build.sbatch", "pipeline build")],
)
def test_exit_codes_and_arguments_are_passed_on(wrapper: str, command: str, root: Path) -> None:
    behave(root, "exit 5")
    done = run(root, wrapper, "scale=tiny", "run=one", "ideate.note=two words")
    assert done.returncode == 5, done.stderr
    assert (root / "calls").read_text() == f"-m {command} scale=tiny run=one ideate.note=two words\n"


def test_a_run_without_a_name_keeps_the_one_it_got(root: Path) -> None:
    run(root, "evolve.sbatch", "scale=tiny")
    run(root, "evolve.sbatch", "scale=tiny", SLURM_RESTART_COUNT="1")
    assert (root / "calls").read_text().splitlines() == [
        "-m pipeline.run scale=tiny run=evolve-77",
        "-m pipeline.run scale=tiny run=evolve-77 --take-over",
    ]


@pytest.mark.parametrize("requeue_works", [True, False])
def test_before_its_time_limit_the_controller_ends_and_is_requeued(requeue_works: bool, root: Path) -> None:
    behave(root, f"trap 'touch {root}/told; exit 130' TERM; touch {root}/up; while :; do sleep 0.1; done")
    (root / "bin").mkdir()
    told = f'echo "$(basename "$0") $@" >> {root}/slurm_calls'
    end = "kill -9 $PPID" if requeue_works else "exit 1"  # Slurm ends the job, or refuses
    program(root / "bin" / "scontrol", f"{told}\n{end}")
    program(root / "bin" / "squeue", "echo 2-00:00:00")
    program(root / "bin" / "sbatch", told)
    names = {"SLURM_JOB_NAME": "mine", "SLURM_JOB_PARTITION": "cpu", "SLURM_JOB_ACCOUNT": "lab"}
    job = subprocess.Popen(
        ["bash", str(root / "slurm" / "evolve.sbatch"), "scale=tiny"], env=environment(root, **names), cwd="/"
    )
    wait_for((root / "up").exists)
    job.send_signal(signal.SIGUSR1)
    code = job.wait(timeout=30)
    assert (root / "told").exists()
    calls = (root / "slurm_calls").read_text().splitlines()
    assert calls[0] == "scontrol requeue 77"
    if requeue_works:
        assert len(calls) == 1 and code == -signal.SIGKILL
    else:
        assert calls[1] == (
            "sbatch --job-name=mine --dependency=afterany:77 --partition=cpu --account=lab --time=2-00:00:00 "
            "slurm/evolve.sbatch scale=tiny run=evolve-77"
        )
        assert code == 0


def test_when_cancelled_it_ends_the_controller_and_is_not_requeued(root: Path) -> None:
    behave(root, f"trap 'sleep 0.5; exit 130' TERM; touch {root}/up; while :; do sleep 0.1; done")
    (root / "bin").mkdir()
    program(root / "bin" / "scontrol", f"touch {root}/requeued")
    job = subprocess.Popen(["bash", str(root / "slurm" / "evolve.sbatch")], env=environment(root), cwd="/")
    wait_for((root / "up").exists)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 130
    assert not (root / "requeued").exists()


SERVER = """
import http.server, os, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404); self.end_headers()
        if self.path == "/stop": os._exit(9)
    def log_message(self, *words): pass
open("served", "w").write(" ".join(sys.argv[1:]) + "\\n" + os.environ["VLLM_API_KEY"])
http.server.HTTPServer(("", port), Handler).serve_forever()
"""


def test_the_language_model_server_writes_its_address_once_it_answers(root: Path) -> None:
    (root / "server.py").write_text(SERVER)
    program(root / ".venv" / "bin" / "vllm", f'exec {sys.executable} {root}/server.py "$@"')
    address, key = root / "address", root / "address.key"
    command = ["bash", str(root / "slurm" / "serve_llm.sbatch"), "address", "org/model", "--max-model-len=100"]
    job = subprocess.Popen(command, env=environment(root), cwd="/")
    try:
        wait_for(address.exists)
        url = address.read_text().strip()
        assert url.startswith("http://") and url.endswith("/v1")
        assert key.stat().st_mode & 0o777 == 0o600
        arguments, told = (root / "served").read_text().splitlines()
        assert arguments.startswith("serve org/model --host 0.0.0.0") and arguments.endswith("--max-model-len=100")
        assert told == key.read_text().strip() and told not in arguments
        port = url.removesuffix("/v1").rpartition(":")[2]
        stop = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/stop').read()"
        subprocess.run([sys.executable, "-c", stop], check=False, capture_output=True)
        assert job.wait(timeout=30) == 9
        assert not address.exists() and not key.exists()
    finally:
        job.kill()
        job.wait()


def test_a_server_that_does_not_start_leaves_no_address(root: Path) -> None:
    program(root / ".venv" / "bin" / "vllm", "exit 4")
    assert run(root, "serve_llm.sbatch", "address", "org/model").returncode == 4
    assert not (root / "address").exists() and not (root / "address.key").exists()
    assert run(root, "serve_llm.sbatch", "address").returncode == 2


def test_on_a_real_slurm_the_controller_is_requeued_and_its_exit_code_passed_on(
    slurm_cluster: DevCluster, root: Path
) -> None:
    behave(
        root,
        'if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then exit 3; fi\n'
        f"trap 'exit 130' TERM; touch {root}/up; while :; do sleep 0.1; done",
    )
    log = f"--output={root}/log"
    command = ["sbatch", "--parsable", log, "--mem=100M", "slurm/evolve.sbatch", "scale=tiny"]
    told = {**slurm_cluster.environment(), "FAKE_API_KEY": "from-the-caller"}
    done = subprocess.run(command, cwd=root, env=told, check=True, capture_output=True, text=True)
    job = done.stdout.strip()
    wait_for((root / "up").exists)
    slurm_cluster.run("scancel", "--batch", "--signal=USR1", job)
    states = ["sacct", "-DXnP", "-j", job, "--format=State,ExitCode"]
    wait_for(lambda: "FAILED|3:0" in slurm_cluster.run(*states))
    assert slurm_cluster.run(*states).split()[0].startswith("REQUEUED")
    name = f"-m pipeline.run scale=tiny run=evolve-{job}"
    assert (root / "calls").read_text().splitlines() == [name, f"{name} --take-over"]
