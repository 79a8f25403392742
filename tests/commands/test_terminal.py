"""Shared by all commands: the name under which the program was started, and errors in one line."""

import argparse
import errno
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commands.run import unfinished
from pipeline.commands.terminal import call, error_line, typed_program
from tests.benchmarks.__main__ import search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster
from tests.toy import ROOT, Bench, program

HOME = "/home/me/groundwork"
MINE = f"{HOME}/.venv/bin"


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        pytest.param(["python", "-m", "pipeline.run", "a=1"], ["python", "-m", "pipeline.run"], id="run"),
        pytest.param(["python3.12", "-m", "pipeline", "run"], ["python3.12", "-m", "pipeline.run"], id="pipeline run"),
        pytest.param([".venv/bin/python", "-m", "pipeline.run"], [".venv/bin/python", "-m", "pipeline.run"], id="make"),
        pytest.param([f"{MINE}/python", "-m", "pipeline.run"], [".venv/bin/python", "-m", "pipeline.run"], id="inside"),
        pytest.param(
            ["/usr/bin/python", "-m", "pipeline.run"], ["/usr/bin/python", "-m", "pipeline.run"], id="elsewhere"
        ),
        pytest.param(["python", "-u", "-m", "pipeline.run"], ["python", "-u", "-m", "pipeline.run"], id="options"),
        pytest.param([f"{MINE}/python", f"{MINE}/groundwork", "run"], [".venv/bin/groundwork", "run"], id="script"),
        pytest.param(["/opt/python", "/opt/bin/groundwork", "run"], ["groundwork", "run"], id="script on PATH"),
        pytest.param(["python", "-c", "import pipeline"], ["python", "-m", "pipeline.run"], id="none of these"),
    ],
)
def test_the_program_is_named_as_it_was_typed(
    argv: list[str], wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that was the working directory, with `/opt/bin` on PATH."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/groundwork").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    there = {HOME: str(tmp_path), "/opt/bin/": f"{tmp_path}/bin/"}
    for old, new in there.items():
        argv = [word.replace(old, new) for word in argv]
    assert typed_program("run", argv) == wanted


# ---- system errors


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        pytest.param(
            OSError(errno.EROFS, "Read-only file system", "/runs/r/pause.json"),
            "/runs/r/pause.json: Read-only file system; choose a writable folder",
            id="read-only",
        ),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/runs"),
            "/runs: Permission denied; check its owner and mode",
            id="permission",
        ),
        pytest.param(OSError(errno.ENOSPC, "No space left"), "No space left; free some space", id="full"),
        pytest.param(
            FileNotFoundError(errno.ENOENT, "No such file", "/a", None, "/b"),
            "/a -> /b: No such file (-v shows where)",
            id="two paths",
        ),
        pytest.param(OSError("connection\nlost"), "connection lost (-v shows where)", id="words only"),
    ],
)
def test_system_errors_are_one_line(error: OSError, wanted: str) -> None:
    assert error_line(error) == wanted


@pytest.mark.parametrize("verbose", [False, True])
def test_a_command_ends_with_one_line(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def entry(_: argparse.Namespace) -> int:
        raise OSError(errno.EROFS, "Read-only file system", "/runs/r")

    with pytest.raises(SystemExit) as ended:
        call(entry, argparse.Namespace(verbose=verbose))
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert err.endswith("error: /runs/r: Read-only file system; choose a writable folder\n")
    assert ("Traceback" in err) is verbose and (verbose or err.count("\n") == 1)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run that was created and never ticked."""
    context = search_in(tmp_path, Clock(1e9), SimulatedCluster(Clock(1e9), 1, lambda rng: 1.0))
    context.background.close()
    return context.run.paths.folder


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "clean", "mark"])
def test_a_folder_that_cannot_be_written_is_one_line(command: str, made: Path) -> None:
    run = made
    more = ["--pin"] if command == "mark" else []
    place = run
    if command == "mark":
        place = run / "generation_000/candidate_000"
        place.mkdir(parents=True)
        (place / "idea.json").write_text('{"title": "An idea", "text": "Do it.", "origin": "explore"}')
        (run / "generation_000/parents.json").write_text('{"ideas": 1}')
    if command == "resume":
        (run / "pause.json").write_text('{"by": "me", "reason": "lunch", "at": 1.0}')
    if subprocess.run(["chattr", "+i", run], capture_output=True, check=False).returncode:
        run.chmod(0o555)
    try:
        done = program(command, str(place), *more)
    finally:
        subprocess.run(["chattr", "-i", run], capture_output=True, check=False)
        run.chmod(0o755)
    if done.code == 0:
        pytest.skip("this machine lets root write everywhere")
    done.refused(1, str(run))


def test_a_missing_interpreter_is_reported(bench: Bench) -> None:
    bench.run("r", "baseline.interpreter=/nowhere/python").refused(
        2, "baseline.interpreter=/nowhere/python is missing", "leave it empty"
    )
    bench.run("r", f"baseline.interpreter={ROOT / 'README.md'}").refused(2, "README.md cannot be executed")
    assert not bench.folder.exists()


# ---- an unfinished run


def test_an_unfinished_run_of_the_same_settings_is_found(tmp_path: Path) -> None:
    clock = Clock(1e9)
    context = search_in(tmp_path, clock, SimulatedCluster(clock, 1, lambda rng: 1.0))
    context.background.close()

    config = context.config
    assert unfinished(config) == "r"
    assert unfinished(replace(config, stop=replace(config.stop, generations=7))) == "r"  # live
    assert unfinished(replace(config, ideate=replace(config.ideate, candidates=7))) == ""
    assert unfinished(replace(config, runs=str(tmp_path))) == ""
    (tmp_path / "runs/r/run.json").rename(tmp_path / "run.json")
    assert unfinished(config) == ""
    (tmp_path / "run.json").rename(tmp_path / "runs/r/run.json")
    context.run.paths.report.touch()
    assert unfinished(config) == ""


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("evolve RUN=first", "-m pipeline.run +experiment=evolve_posttrain scale=tiny cluster=local run=first"),
        ("evolve-pretrain RUN=first", "-m pipeline.run +experiment=evolve_pretrain scale=tiny cluster=local run=first"),
        ("evolve", "-m pipeline.run +experiment=evolve_posttrain scale=tiny cluster=local"),
        ("notebook", "bin/jupyter lab analysis/first_look.ipynb"),
    ],
)
def test_make_resumes_a_run_and_opens_the_notebook(target: str, last: str) -> None:
    # `make test` passes its own flags down; a user's shell has none.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    make = ["make", "-n", *target.split()]
    done = subprocess.run(make, cwd=ROOT, env=outside, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(last)
