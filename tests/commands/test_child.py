"""A baseline's own command in a user's terminal: its output is shown, and its failure is one line."""

import sys
from pathlib import Path

import pytest

from pipeline.commands.child import last_line, run_shown
from pipeline.config import BaselineConfig
from pipeline.errors import BadInput, CannotContinue
from tests.toy import CONF, program

BASELINE = BaselineConfig(name="mine", folder=".")


def running(code: str, verbose: bool = False) -> None:
    run_shown(BASELINE, "prepare", [sys.executable, "-c", code], verbose=verbose)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("OSError(28, 'No space left on device')", r"OSError: \[Errno 28\] No space left on device; free some space"),
        ("OSError(30, 'Read-only file system', 'd')", "file system: 'd'; choose a writable folder"),
        ("ConnectionError('Failed to resolve the name: Max retries exceeded')", "run it where there is network access"),
        ("ValueError('a split is missing')", r"ValueError: a split is missing \(-v shows"),
        ("RuntimeError('first\\nsecond')", r"RuntimeError: first \(-v shows"),
        ("ModuleNotFoundError(\"No module named 'datasets'\")", "install it for the Python of baseline.interpreter"),
        ("OSError('401 Client Error: you are trying to access a gated repo')", "set HF_TOKEN"),
    ],
)
def test_a_traceback_becomes_one_line(raised: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = f"import sys\nprint('fetching')\nsys.stderr.write('50 %\\n')\nsys.stderr.flush()\nraise {raised}"
    with pytest.raises(CannotContinue, match=f"baseline mine ended with exit code 1: .*{words}") as caught:
        running(code)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("fetching\n", "50 %\n")


def test_the_last_of_several_exceptions_is_reported() -> None:
    """For example a retry that failed while an error was handled."""
    text = (
        "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'a'\n\nDuring handling of the above "
        'exception, another exception occurred:\n\nTraceback (most recent call last):\n  File "b.py", line 2\n'
        "    here\n    ^^^^\npkg.LockError: taken\nby another\n"
    )
    assert last_line(text) == "pkg.LockError: taken"
    assert last_line("") == last_line("Traceback (most recent call last):\n") == ""


def test_the_output_of_a_command_is_above_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CannotContinue, match=r"exit code 1; its message is above: `\S*python"):
        running("raise SystemExit('not today')")
    assert capfd.readouterr().err == "not today\n"


def test_everything_is_passed_on_if_nothing_failed(capfd: pytest.CaptureFixture[str]) -> None:
    """Including a traceback that the command survived, and text that may have been the beginning of one."""
    shown = "Trace of 7\nTraceback (most rec"
    running(f"import sys; sys.stderr.write({shown!r}); sys.stderr.flush()")
    assert capfd.readouterr().err == shown
    running("import logging\ntry: 1 / 0\nexcept ZeroDivisionError: logging.exception('odd')\nlogging.error('done')")
    err = capfd.readouterr().err
    assert err.startswith("ERROR:root:odd\nTraceback (") and err.endswith("ERROR:root:done\n")


def test_verbose_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CannotContinue):
        running("1 / 0", verbose=True)
    assert "Traceback (most recent call last)" in capfd.readouterr().err


def test_a_missing_program_is_named() -> None:
    with pytest.raises(BadInput, match=r"baseline\.commands\.prepare: /nowhere/fetch cannot be run \(No such file"):
        run_shown(BASELINE, "prepare", ["/nowhere/fetch"])


@pytest.mark.parametrize("name", ["prepare", "build"])
def test_a_crash_of_the_baselines_own_command_is_one_line(name: str, toy_data: Path, tmp_path: Path) -> None:
    data = tmp_path if name == "prepare" else toy_data
    given = ("--config-dir", str(CONF), "baseline=toy", "scale=tiny", f"data={data}")
    crash = f'baseline.commands.{name}=["{{python}}",-c,"open(\'/proc/none\')"]'
    program(name, *given, crash).refused(1, f"the {name} command of baseline toy", "FileNotFoundError: [Errno 2]")
