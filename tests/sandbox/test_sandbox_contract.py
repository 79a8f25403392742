"""The contract of `pipeline/sandbox/base.py`, tested for every sandbox: whatever a command does, it ends within its
limits, the reason is reported, and no process remains. A new sandbox is added to `SANDBOXES`; nothing else changes."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.config import Part
from pipeline.errors import BadInput, CannotContinue, SandboxFailed
from pipeline.sandbox import bubblewrap, contained
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits, allowed_environment, make_sandbox
from pipeline.sandbox.cgroups import control_group
from tests.debian import installed
from tests.toy import ROOT, environment, processes_with, wait_until

SANDBOXES: dict[str, Part] = {
    "none": {"_target_": "pipeline.sandbox.contained.Contained"},
    "bubblewrap": {"_target_": "pipeline.sandbox.bubblewrap.Bubblewrap"},
    "landlock": {"_target_": "pipeline.sandbox.landlock.Landlock"},
}
FOREVER = "import time; time.sleep(10_000)"
# Children carry the mark of their test in their command lines, so that survivors can be found.
SPAWN = (
    "import os, subprocess, sys; child = [sys.executable, '-S', '-c', 'import time; time.sleep(10_000)', sys.argv[1]]; "
)


@dataclass(frozen=True)
class Case:
    """A program, and how it should end."""

    code: str
    ended: End
    exit_code: int | None
    log: str = ""
    seconds: float = 30.0
    mem_gb: float = 1.0


CASES = {
    "ends well": Case("print('fine')", End.EXIT, 0, "fine\n"),
    "fails": Case("print('so far'); raise SystemExit(3)", End.EXIT, 3, "so far\n"),
    "raises": Case("raise KeyError('x')", End.EXIT, 1, "KeyError: 'x'\n"),
    "kills itself": Case("import os; os.kill(os.getpid(), 11)", End.EXIT, -11),
    "writes to both streams": Case(
        "import sys; print('out', flush=True); print('err', file=sys.stderr)", End.EXIT, 0, "out\nerr\n"
    ),
    "reads its input": Case("print(repr(input()))", End.EXIT, 1, "EOFError: EOF when reading a line\n"),
    "sleeps": Case(FOREVER, End.TIMEOUT, -9, seconds=0.3),
    "ignores SIGTERM": Case(
        f"import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; {FOREVER}",
        End.TIMEOUT,
        -9,
        seconds=0.5,
    ),
    "forks": Case(f"{SPAWN}subprocess.Popen(child); print('gone')", End.EXIT, 0, "gone\n"),
    "forks away": Case(f"{SPAWN}subprocess.Popen(child, start_new_session=True)", End.EXIT, 0),
    "forks a daemon": Case(
        f"{SPAWN}\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: os.execv(child[0], child)\n os._exit(0)\nos.wait()",
        End.EXIT,
        0,
    ),
    "forks many and sleeps": Case(
        f"{SPAWN}[subprocess.Popen(child, start_new_session=True) for _ in range(20)]; {FOREVER}",
        End.TIMEOUT,
        -9,
        seconds=1.0,
    ),
    "holds the log open": Case(
        f"{SPAWN}subprocess.Popen(child, start_new_session=True); print('x', flush=True); os._exit(5)",
        End.EXIT,
        5,
        "x\n",
    ),
    "eats memory": Case(f"x = bytearray(200_000_000); {FOREVER}", End.MEMORY, -9, mem_gb=0.1),
    "its children eat memory": Case(
        "import os, time\nfor _ in range(4):\n if os.fork() == 0:\n  x = bytearray(60_000_000); time.sleep(10_000)\n"
        "time.sleep(10_000)",
        End.MEMORY,
        -9,
        mem_gb=0.15,
    ),
    "shares memory": Case(
        "import os, time\nx = bytearray(60_000_000)\nfor _ in range(4):\n if os.fork() == 0: time.sleep(0.5); os._exit(0)\n"
        "for _ in range(4): os.wait()",
        End.EXIT,
        0,
        mem_gb=0.15,
    ),
}


LIMITS = {
    "a flood of the disk": (
        "import os, time\nfor n in range(100): open(f'{os.getcwd()}/flood{n}', 'wb').write(bytes(1_000_000))\n"
        + FOREVER,
        {"disk_gb": 0.05},
        End.DISK,
    ),
    "a flood of a file without a name": (
        "import os, time\nfile = open('x', 'wb'); os.unlink('x')\nfor n in range(100): file.write(bytes(1_000_000))\n"
        + FOREVER,
        {"disk_gb": 0.05},
        End.DISK,
    ),
    "folders without end": (
        f"import os, time\nfor _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)\n{FOREVER}",
        {"disk_gb": 0.05},
        End.DISK,
    ),
    "a hole": (
        "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: os.truncate(os.open('hole', os.O_CREAT | os.O_RDWR), 1 << 40)\n"
        "except OSError as error: print(error.errno == 27)",
        {"disk_gb": 0.05},
        End.EXIT,
    ),
    "a fork bomb": (
        "import os, time\nfor _ in range(200):\n if os.fork() == 0: time.sleep(10_000)\ntime.sleep(10_000)",
        {"processes": 100},
        End.PROCESSES,
    ),
    "open files": (
        "files = []\ntry:\n while True: files.append(open('/dev/null'))\nexcept OSError as error: print(len(files) < 64)",
        {"open_files": 64},
        End.EXIT,
    ),
}


class Bench:
    """One sandbox, and a folder that a command may write to."""

    def __init__(self, part: Part, folder: Path) -> None:
        self.part = part
        self.folder = folder

    def run(self, code: str, mark: str = "", limits: RunLimits | None = None, folder: Path | None = None) -> Outcome:
        """Run a line of Python code."""
        return self.command([sys.executable, "-S", "-c", code, mark], folder or self.folder, limits)

    def command(self, argv: list[str], cwd: Path, limits: RunLimits | None = None) -> Outcome:
        command = Command(argv, cwd, {"PATH": os.environ["PATH"]}, self.folder / "log")
        if cwd.is_dir():
            command = Command(argv, cwd, {"PATH": os.environ["PATH"]}, cwd / "log")
        return make_sandbox(self.part).run(command, Access(write=(cwd,)), limits or RunLimits(30.0, 1.0))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture(params=SANDBOXES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "bubblewrap":
        installed("bwrap", "bubblewrap")
    return Bench(SANDBOXES[request.param], tmp_path)


@pytest.fixture
def mark() -> str:
    return f"mark-{uuid.uuid4()}"


@pytest.mark.parametrize("name", CASES)
def test_misbehaving_commands(name: str, mark: str, bench: Bench) -> None:
    case = CASES[name]
    outcome = bench.run(case.code, mark, RunLimits(case.seconds, case.mem_gb))
    assert (outcome.ended, outcome.exit_code) == (case.ended, case.exit_code)
    assert bench.log.endswith(case.log)
    assert outcome.good is (case.ended is End.EXIT and case.exit_code == 0)
    assert processes_with(mark) == []
    if case.ended is End.MEMORY:
        assert outcome.peak_gb >= case.mem_gb


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_disk_processes_and_files(name: str, mark: str, bench: Bench) -> None:
    code, limits, ended = LIMITS[name]
    outcome = bench.run(code, mark, RunLimits(60.0, 4.0, **limits))
    assert outcome.ended is ended
    assert ended is not End.EXIT or bench.log == "True\n"
    assert processes_with(mark) == []


def test_files_in_memory_count_as_memory(mark: str, tmp_path: Path) -> None:
    """Where /dev/shm is private to the command, its files count although no process maps them: 70 MB there and 60 MB of
    memory."""
    if bubblewrap.trouble():
        pytest.skip(bubblewrap.trouble())
    code = f"open('/dev/shm/x', 'wb').write(bytes(70_000_000)); x = bytearray(b'x' * 60_000_000); {FOREVER}"
    bench = Bench(SANDBOXES["bubblewrap"], tmp_path)
    assert bench.run(code, mark, RunLimits(60.0, 0.12)).ended is End.MEMORY


def test_a_control_group_caps_memory_that_polling_would_miss(mark: str, bench: Bench) -> None:
    with control_group(0.2, 100) as group:
        if group is None:
            pytest.skip("no control group can be made here")
        folders = group.folders
        assert not group.out_of_memory()
    assert not any(folder.exists() for folder in folders)
    code = "x = b''.join([bytes(1000) * 1000] * 3000)  # 3 GB at once"
    outcome = bench.run(code, mark, RunLimits(60.0, 0.2))
    assert outcome.ended is End.MEMORY and 0.2 <= outcome.peak_gb < 0.4
    assert not list(folders[0].parent.glob(f"groundwork-{os.getpid()}-*"))


def test_a_new_control_group_keeps_those_of_other_commands() -> None:
    """An empty one may belong to a command that is about to start."""
    with control_group(0.2, 100) as first:
        if first is None:
            pytest.skip("no control group can be made here")
        with control_group(0.2, 100) as second:
            assert second is not None
            assert all(folder.exists() for folder in (*first.folders, *second.folders))
        ended = subprocess.Popen(["true"])
        ended.wait()
        left = first.folders[0].with_name(f"groundwork-{ended.pid}-0")
        left.mkdir()
        with control_group(0.2, 100):
            assert not left.exists() and first.folders[0].exists()


def test_a_missing_program_and_a_missing_folder_did_not_start(bench: Bench) -> None:
    for argv, cwd in ((["no-such-program"], bench.folder), ([sys.executable], bench.folder / "nothing")):
        outcome = bench.command(argv, cwd, RunLimits(5.0, 1.0))
        assert (outcome.ended, outcome.exit_code, outcome.good) == (End.NOT_STARTED, None, False)
        assert "No such file or directory" in outcome.reason


def test_a_program_that_needs_no_python_runs_without_its_files(bench: Bench) -> None:
    command = Command(["true"], bench.folder, {"PATH": "/usr/bin:/bin"}, bench.folder / "log")
    assert make_sandbox(bench.part).run(command, Access(write=(bench.folder,)), RunLimits(30.0, 1.0)).good


def test_excessive_output_fills_no_disk_and_its_last_lines_are_kept(bench: Bench) -> None:
    code = "for i in range(200_000): print('x' * 50)\nprint('last words')"
    outcome = bench.run(code, limits=RunLimits(60.0, 1.0, log_mb=0.1))
    log = bench.log
    assert outcome.good
    assert 100_000 < len(log) < 400_000
    assert log.endswith("x\nlast words\n") and " bytes left out]\n" in log


def test_the_environment_is_exactly_what_is_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "secret")
    assert bench.run("import os; print(sorted(os.environ))").good
    assert "'PATH'" in bench.log and "FAKE_API_KEY" not in bench.log


def test_the_log_is_appended_to(bench: Bench) -> None:
    (bench.folder / "log").write_text("before\n")
    bench.run("print('after')")
    assert bench.log == "before\nafter\n"


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("PATH", True),
        ("LC_ALL", True),
        ("NCCL_DEBUG", True),
        ("OMP_NUM_THREADS", True),
        ("OPENAI_API_KEY", False),
        ("HF_TOKEN", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("WANDB_API_KEY", False),
        ("SSH_AUTH_SOCK", False),
        ("PYTHONPATH", False),
        ("PYTHONSTARTUP", False),
        ("LD_PRELOAD", False),
        ("A_NAME_NOBODY_THOUGHT_OF", False),
    ],
)
def test_the_allow_list(name: str, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "value")
    assert (name in allowed_environment()) is passes


def test_what_is_given_wins_over_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C")
    assert allowed_environment({"LANG": "de_DE", "NEW": "1"})["LANG"] == "de_DE"
    assert allowed_environment({"NEW": "1"})["NEW"] == "1"


# ---- when the caller ends ----

# Runs a command that forks and sleeps forever, in a process of its own.
CALLER = """
import os, sys
from pathlib import Path
from pipeline.sandbox.base import Access, Command, RunLimits, make_sandbox
{before}
folder = Path(sys.argv[2])
argv = [sys.executable, "-S", "-c", {code!r}, sys.argv[1]]
command = Command(argv, folder, dict(PATH=os.environ["PATH"]), folder / "log")
make_sandbox({part!r}).run(command, Access(write=(folder,)), RunLimits(1000.0, 1.0))
print("ended by itself")
"""
SLEEPERS = f"{SPAWN}subprocess.Popen(child, start_new_session=True); {FOREVER}"


def call_and(
    end: Callable[["subprocess.Popen[str]"], None], mark: str, bench: Bench, before: str = ""
) -> tuple[int, str]:
    """Start the caller, wait until the command and its child exist, end the caller, and wait until no process is
    left."""
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER.format(code=SLEEPERS, before=before, part=bench.part), mark, str(bench.folder)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )

    def all_there() -> bool:  # the caller, the command and its child, without processes of the sandbox
        return len([one for one in processes_with(mark) if one.name() != "bwrap"]) == 3

    wait_until(all_there, caller)
    end(caller)
    out, _ = caller.communicate(timeout=60)
    wait_until(lambda: processes_with(mark) == [])
    return caller.returncode, out


def test_a_killed_caller_takes_its_command_along(mark: str, bench: Bench) -> None:
    code, out = call_and(lambda caller: caller.kill(), mark, bench)
    assert (code, out) == (-9, "")


def test_ctrl_c_ends_the_command_first(mark: str, bench: Bench) -> None:
    code, out = call_and(lambda caller: os.killpg(caller.pid, signal.SIGINT), mark, bench)
    assert code in (-signal.SIGINT, 130) and "KeyboardInterrupt" in out and "ended by itself" not in out


def test_an_exception_of_a_signal_handler_ends_the_command_first(mark: str, bench: Bench) -> None:
    before = "import signal\ndef told(*_): raise SystemExit(7)\nsignal.signal(signal.SIGTERM, told)"
    code, out = call_and(lambda caller: caller.terminate(), mark, bench, before)
    assert (code, out) == (7, "")


def test_a_caller_killed_at_any_moment_leaves_nothing() -> None:
    """Killed before each line that its supervisor, the guard and the child execute."""
    shards = 4
    argv = [sys.executable, "-m", "tests.sandbox.killed_caller"]
    running = [
        subprocess.Popen(
            [*argv, str(shard), str(shards)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        )
        for shard in range(shards)
    ]
    found = [json.loads(one.communicate()[0]) for one in running]
    assert [line for one in found for line in one["left"]] == []
    assert sum(one["lines"] for one in found) > 100


@pytest.mark.parametrize("number", [0, 1], ids=["the guard", "the supervisor"])
def test_a_killed_supervisor_takes_its_command_along(number: int, mark: str, bench: Bench) -> None:
    def kill() -> None:
        wait_until(lambda: len([one for one in processes_with(mark) if one.name() != "bwrap"]) == 2)
        ours = [one for one in psutil.Process().children(recursive=True) if "supervisor.py" in " ".join(one.cmdline())]
        sorted(ours, key=lambda one: one.create_time())[number].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxFailed, match="was killed"):
        bench.run(SLEEPERS, mark)
    thread.join()
    wait_until(lambda: processes_with(mark) == [])


def test_commands_run_side_by_side(mark: str, bench: Bench, tmp_path: Path) -> None:
    """From several threads, as in implementation; each supervisor manages only its own process tree."""
    outcomes: dict[str, Outcome] = {}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def work(name: str, code: str) -> None:
        outcomes[name] = bench.run(code, mark, folder=tmp_path / name)

    code_b = (
        f"import time, os\nwhile not os.path.exists({str(tmp_path / 'b/go')!r}): time.sleep(0.01)\nprint('b is fine')"
    )
    threads = [threading.Thread(target=work, args=(name, code)) for name, code in (("a", "pass"), ("b", code_b))]
    for thread in threads:
        thread.start()
    threads[0].join()
    assert outcomes["a"].good and "b" not in outcomes
    (tmp_path / "b/go").touch()
    threads[1].join()
    assert outcomes["b"].good and (tmp_path / "b/log").read_text() == "b is fine\n"


def test_a_supervisor_leaves_no_zombies_behind(bench: Bench) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    bench.run("pass")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize(
    "part",
    [{}, {"_target_": "no.such.Class"}, {"_target_": "pipeline.sandbox.contained.Contained", "walls": 3}],
    ids=str,
)
def test_a_sandbox_that_cannot_be_made_is_refused(part: Part) -> None:
    with pytest.raises(BadInput, match=r"train\.sandbox: .* cannot be used"):
        make_sandbox(part)


@pytest.mark.parametrize("ready", [True, False], ids=["the real supervisor", "one that has no signal handler yet"])
def test_a_command_that_is_no_longer_needed_is_stopped(
    ready: bool, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However early: before the supervisor can handle a signal, the command has not started."""
    if not ready:
        early = tmp_path / "early.py"
        early.write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setattr(contained, "_SUPERVISOR", early)
    command = Command([sys.executable, "-c", f"import time; time.sleep(60)  # {mark}"], tmp_path, {}, tmp_path / "log")
    outcome = contained.supervised(command, RunLimits(60, 1), enough=lambda: True)
    assert outcome.ended is End.STOPPED and not outcome.good
    assert processes_with(mark) == []


def test_a_supervisor_killed_from_outside_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(contained, "_SUPERVISOR", dying)
    with pytest.raises(CannotContinue, match="was killed"):
        contained.supervised(Command(["true"], tmp_path, {}, tmp_path / "log"), RunLimits(60, 1), enough=lambda: False)
