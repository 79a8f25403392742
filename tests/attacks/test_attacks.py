"""Variants that cheat: each ends as a failure of the right kind, or affects nothing but itself."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.job.trial import perform
from pipeline.records import Job, Result, Score
from pipeline.sandbox import bubblewrap, landlock
from pipeline.sandbox.base import make_sandbox
from pipeline.setup.build import data_path
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.stages.implement import run_smoke
from pipeline.store import files
from pipeline.store.paths import AttemptPaths, TryPaths
from pipeline.store.run import Run
from tests.attacks.table import FAILING, GROUPS, HONEST
from tests.debian import installed
from tests.toy import CONF, ROOT, TOY, listing, processes_with, program, wait_until

MARK = "groundwork-secret-4711"
SHARED = 0x67770001
HEAD = """
import ctypes, json, os, shutil, signal, socket, subprocess, sys, sysconfig, time
from pathlib import Path
OUT = Path(arguments.output)
checkpoint = OUT / "checkpoint"
TRY, TRIAL = OUT.parent, OUT.parent.parent
VARIANT = TRIAL.parent / "variant"
libc = ctypes.CDLL(None, use_errno=True)
readable = lambda path: os.access(path, os.R_OK)
"""
ONE = """
def loot(text):
    (OUT / "loot").mkdir(exist_ok=True); (OUT / "loot" / {name!r}).write_text(str(text)[:200] or "nothing")
try:
    exec({code!r})
except BaseException as error:
    print({name!r}, "->", type(error).__name__, error)
"""


@dataclass(frozen=True)
class World:
    """A machine with something to steal: a run with another candidate, data, a home folder, a process and servers."""

    kind: str
    run: Run
    data: Path
    home: Path
    facts: str
    victim: "subprocess.Popen[bytes]"
    datagrams: socket.socket
    honest: Score

    def attack(self, name: str, code: str) -> tuple[Result, TryPaths]:
        """Train and score the toy with additional lines at the end of its training."""
        return train(self.run, self.data, name, f"{HEAD}{self.facts}\n{code}")

    def seen(self) -> dict[str, bytes | int]:
        """Everything that must not change: which files exist, and their content."""
        places = (self.run.paths.folder, self.data, self.home, ROOT / "pipeline", TOY)
        found: dict[str, bytes | int] = {}
        for place in places:
            for name in listing(place, ()):
                path = place / name
                found[str(path)] = path.read_bytes() if path.stat().st_size < 1e6 else path.stat().st_size
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/usr/local/bin", "/etc"):
            found |= {f"{folder}/{name}": 0 for name in os.listdir(folder) if "channel" in name or "evil" in name}
        return found


def train(run: Run, data: Path, name: str, code: str) -> tuple[Result, TryPaths]:
    return trained(run, data, name, attempted(run, code))


def attempted(run: Run, code: str) -> AttemptPaths:
    """A variant of the toy with additional lines at the end of its training and of its smoke test."""
    number = len(list(run.paths.generation(0).folder.glob("candidate_*")))
    attempt = run.paths.generation(0).candidate(number).attempt(0)
    shutil.copytree(TOY, attempt.variant, ignore=shutil.ignore_patterns("ideas", "__pycache__"))
    text = (TOY / "train.py").read_text()
    last = '    os.replace(part, output / "checkpoint")\n'
    assert text.count(last) == 1
    line = f"    exec({code!r}, {{'arguments': arguments}})\n"
    (attempt.variant / "train.py").write_text(text.replace(last, last + line))
    return attempt


def trained(run: Run, data: Path, name: str, attempt: AttemptPaths) -> tuple[Result, TryPaths]:
    paths = attempt.trial(0).try_(0)
    paths.folder.mkdir(parents=True)
    job = Job(name, 0, "validation")
    files.create(paths.job, job)
    return perform(run, paths, job, data), paths


SANDBOXES = ["bubblewrap", "landlock"]


@pytest.fixture(scope="module", params=SANDBOXES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    kind = request.param
    if kind == "bubblewrap":
        installed("bwrap", "bubblewrap")
    trouble = {"bubblewrap": bubblewrap.trouble, "landlock": landlock.trouble}[kind]()
    if trouble:
        pytest.skip(f"no {kind} here: {trouble}")
    yield from worlds(kind, tmp_path_factory)


def worlds(kind: str, factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = factory.mktemp(kind)
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    for name in (".ssh/id_ed25519", ".env"):
        (home / name).write_text(MARK)
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    patch.setenv("OPENAI_API_KEY", MARK)
    try:
        given = ["baseline=toy", "scale=tiny", f"data={folder / 'data'}", f"runs={folder / 'runs'}", "run=victim"]
        program("prepare", "--config-dir", str(CONF), *given).ok()
        config = compose_config([*given, f"train.sandbox={kind}"], CONF)
        data = data_path(config)
        run, _ = open_or_create(config)
        run.paths.generation(0).folder.mkdir()
        result, other = train(run, data, "other", "")
        assert isinstance(result.score, Score), result
        files.create(other.trial.score, result.score)
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_UNIX) as unix,
            socket.socket(socket.AF_UNIX) as abstract,
        ):
            datagrams.bind(("127.0.0.1", 0))
            datagrams.setblocking(False)
            unix.bind(str(home / "socket"))
            abstract.bind(f"\0{MARK}-{kind}")
            for one in (unix, abstract):
                one.listen()
            _, terminal = os.openpty()
            ctypes.CDLL(None).syscall(248, b"user", b"groundwork-login", b"secret", 6, -3)  # the login keyring
            victim = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(10_000)", f"victim-{MARK}"])
            facts = {
                "PORT": server.getsockname()[1],
                "UDP": datagrams.getsockname()[1],
                "SOCKET": str(home / "socket"),
                "ABSTRACT": f"\0{MARK}-{kind}",
                "VICTIM": victim.pid,
                "MARK": MARK,
                "SHARED": SHARED,
                "TERMINAL": os.ttyname(terminal),
            }
            lines = [f"{name} = {value!r}" for name, value in facts.items()]
            places = {"RUN": run.paths.folder, "OTHER": other.trial.folder.parent.parent, "DATA": data, "HOME": home}
            lines += [f"{name} = Path({str(value)!r})" for name, value in {**places, "ROOT": ROOT}.items()]
            try:
                yield World(kind, run, data, home, "\n".join(lines), victim, datagrams, result.score)
            finally:
                victim.kill()
                victim.wait()
    finally:
        patch.undo()


def unchanged(world: World, before: dict[str, bytes | int], paths: TryPaths) -> None:
    """Nothing outside the attacker's own folder differs, and no process is left."""
    own = str(paths.trial.folder.parent.parent)
    after = {path: content for path, content in world.seen().items() if not path.startswith(own)}
    assert {path for path in {*before, *after} if before.get(path) != after.get(path)} == set()
    assert {path.name for path in paths.folder.iterdir()} <= {
        "output",
        "job.json",
        "train.log",
        "evaluate.log",
        "evaluation.json",
    }
    assert {path.name for path in paths.trial.folder.iterdir()} == {"try_0"}
    wait_until(lambda: [one.pid for one in processes_with(MARK)] == [world.victim.pid])
    assert world.victim.poll() is None and Path(f"/proc/{world.victim.pid}/stat").read_text().split()[2] == "S"


@pytest.mark.parametrize("group", GROUPS)
def test_attacks_without_effect(world: World, group: str) -> None:
    attacks = {name: one for name, one in GROUPS[group].items() if world.kind == "bubblewrap" or one.landlock}
    before = world.seen()
    code = "".join(ONE.format(name=name, code=one.code) for name, one in attacks.items())
    result, paths = world.attack(group, code)
    taken = {path.name: path.read_text() for path in (paths.output / "loot").glob("*")}
    assert taken == {}
    assert result.score is not None, result.failure
    assert (result.score.value, result.score.standard_error) == (world.honest.value, world.honest.standard_error)
    assert result.score.sandbox == world.kind
    unchanged(world, before, paths)
    with pytest.raises(BlockingIOError):
        world.datagrams.recv(100)
    libc = ctypes.CDLL(None)
    assert libc.shmget(SHARED, 0, 0) == libc.semget(SHARED, 0, 0) == -1
    assert libc.syscall(250, 10, -3, b"user", b"groundwork-channel", 0) == -1
    assert not any(path.stat().st_mode & 0o6000 for path in paths.output.rglob("*channel*"))


@pytest.mark.parametrize("name", FAILING)
def test_attacks_that_fail(world: World, name: str) -> None:
    code, kind = FAILING[name]
    if world.kind == "landlock" and name == "the end of all its processes":
        pytest.skip("the suite's own processes are among those that it would signal where Linux is older than 6.12")
    before = world.seen()
    result, paths = world.attack(name, f"sys.stdout.flush()\n{code}")
    assert result.failure is not None and result.score is None
    assert result.failure.kind is kind, result.failure
    assert not kind.infrastructure
    unchanged(world, before, paths)


def test_unusual_but_honest_variants_pass(world: World) -> None:
    lines = []
    for name, code in HONEST.items():
        lines.append(f"print({name!r})\nexec({code!r})")
    result, _ = world.attack("honest", "\n".join(lines))
    assert result.score is not None, result.failure
    assert result.score.value == world.honest.value


LEAVE = """
places = {{"output": OUT, "TMPDIR": Path(os.environ["TMPDIR"]), "code": Path(sys.argv[0]).resolve().parent}}
places |= {{name: Path(name) for name in {shared!r}}}
for name, place in places.items():
    left = str(place / "evil-smoke")
    if arguments.smoke:
        try:
            open(left, "w").close()
            print("left in", name)
        except OSError:
            pass
    elif os.path.exists(left):
        sys.exit(f"found in {{name}}")
"""


def test_what_smoke_leaves_behind_never_reaches_training(world: World) -> None:
    """With landlock `/dev/shm` is shared, as SECURITY.md says, so it is left out there."""
    shared = ["/tmp", "/dev/shm"] if world.kind == "bubblewrap" else ["/tmp"]
    before = world.seen()
    attempt, config = attempted(world.run, HEAD + LEAVE.format(shared=shared)), world.run.config_in_force()
    sandbox = make_sandbox(config.train.sandbox)
    outcome, _ = run_smoke(config, sandbox, world.run.paths, world.data, attempt.variant, attempt.smoke_log)
    assert outcome.good, attempt.smoke_log.read_text()
    written = ["output", "TMPDIR", *(shared if world.kind == "bubblewrap" else [])]
    assert attempt.smoke_log.read_text().splitlines() == [f"left in {name}" for name in written]
    result, paths = trained(world.run, world.data, "smoke", attempt)
    assert result.score is not None, result.failure
    unchanged(world, before, paths)


def test_resume_state_is_copied_as_data(world: World) -> None:
    """A link in `output/resume` would make the next job copy its target."""
    code = (
        "(OUT / 'resume').mkdir(exist_ok=True)\nos.symlink(DATA / 'evaluator/test.json', OUT / 'resume/rows.json')\n"
        "os.symlink(DATA / 'evaluator', OUT / 'resume/all')\nos._exit(1)"
    )
    result, paths = world.attack("resume", code)
    assert result.failure is not None
    # The job would have removed this, had it not been killed before.
    (paths.resume / "late.json").symlink_to(world.data / "evaluator/test.json")

    def resumed(number: int, before: str) -> tuple[TryPaths, set[str]]:
        again = paths.trial.try_(number)
        again.folder.mkdir()
        job = Job("again", 0, "validation", resume_from=before)
        files.create(again.job, job)
        perform(world.run, again, job, world.data)
        return again, {path.name for path in again.resume.iterdir()}

    second, found = resumed(1, "try_0")
    assert found == {"state.json"}
    shutil.rmtree(second.resume)
    second.resume.symlink_to(world.data / "evaluator")
    assert resumed(2, "try_1")[1] == {"state.json"}
    second.resume.unlink()
    second.resume.mkdir()
    with (second.resume / "hole").open("wb") as hole:
        hole.truncate(1 << 42)
    assert resumed(3, "try_1")[1] == {"state.json"}


def test_the_attacks_would_succeed_without_a_sandbox(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only those that read: a table of attacks that cannot succeed would prove nothing."""
    for world in worlds("none", tmp_path_factory):
        for group in ("secrets", "network"):
            attacks = GROUPS[group]
            code = "".join(ONE.format(name=name, code=one.code) for name, one in attacks.items())
            _, paths = world.attack(group, code)
            taken = {path.name for path in (paths.output / "loot").glob("*")}
            wanted = {
                "secrets": {"read a key of ssh", "read a .env", "list the home folder", "expand ~"},
                "network": {
                    "connect to a server of this machine",
                    "connect to a Unix socket",
                    "connect to an abstract socket",
                },
            }
            assert wanted[group] <= taken
        reading = {name: one for name, one in GROUPS["evaluator and data"].items() if "read" in name or "link" in name}
        reading |= {name: one for name, one in GROUPS["run store"].items() if "read" in name or "copy" in name}
        code = "".join(ONE.format(name=name, code=one.code) for name, one in reading.items() if "and write" not in name)
        _, paths = world.attack("reading", code)
        assert len(list((paths.output / "loot").glob("*"))) >= 8
