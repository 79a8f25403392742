"""Run a command of the baseline in the user's terminal: its output is passed through, a final traceback becomes one line."""

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.config import BaselineConfig
from pipeline.errors import BadInput, CannotContinue
from pipeline.records import Stage
from pipeline.sandbox.base import Access, Command, End, RunLimits, Sandbox
from pipeline.sandbox.diagnose import failure_of

_TRACEBACK = b"Traceback (most recent call last):"
_ADVICE = (
    (r"no space left|quota exceeded", "free some space"),
    (r"read-only file system|permission denied", "choose a writable folder"),
    (
        r"internet connection|network is unreachable|name resolution|name or service not known|getaddrinfo|max retries|"
        r"connection ?(error|refused|reset)|timed? ?out|urlopen|offline mode",
        "run it where there is network access, or set HTTPS_PROXY",
    ),
    (r"gated|unauthorized|\b401\b|\b403\b", "accept the terms of the model or data set, and set HF_TOKEN"),
    (r"no module named", "install it for the Python of baseline.interpreter"),
)


def run_shown(
    baseline: BaselineConfig,
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> None:
    """Run the baseline's command `name` in its folder, with its output in the terminal. `verbose` also shows tracebacks.

    Raises `CannotContinue` if the command fails, `BadInput` if the program does not exist.
    """
    given = os.environ if environment is None else environment
    try:
        code, traceback = _run(argv, Path(baseline.folder), given, verbose)
    except (FileNotFoundError, PermissionError) as error:
        raise BadInput(
            f"baseline.commands.{name}: {argv[0]} cannot be run ({error.strerror}); give a program that exists"
        ) from None
    _report(baseline, name, argv, code, traceback)


def run_isolated(
    baseline: BaselineConfig,
    name: str,
    command: Command,
    access: Access,
    limits: RunLimits,
    sandbox: Sandbox,
    verbose: bool = False,
) -> None:
    """The same in a sandbox, where all output reaches the terminal by way of `command.log`."""
    command.log.touch()
    shown = _Shown(sys.stdout.buffer, verbose)
    with command.log.open("rb") as log:

        def follow() -> bool:
            shown.feed(log.read())
            return False

        outcome = sandbox.run(command, access, limits, follow)
        follow()
    traceback = shown.end()
    if outcome.ended is End.NOT_STARTED:
        raise BadInput(f"baseline.commands.{name} cannot be run: {outcome.reason}; give a program that is there")
    if outcome.ended is not End.EXIT:
        failure = failure_of(Stage.TRAIN, outcome, limits, "")
        assert failure is not None
        raise CannotContinue(f"the {name} command of baseline {baseline.name} {failure.reason}")
    _report(baseline, name, command.argv, outcome.exit_code or 0, traceback)


def _report(baseline: BaselineConfig, name: str, argv: Sequence[str], code: int, traceback: str) -> None:
    if code == 0:
        sys.stderr.write(traceback)  # of an error that the command handled
        return
    reason = last_line(traceback)
    command = f"the {name} command of baseline {baseline.name} ended with exit code {code}"
    if not reason:
        raise CannotContinue(f"{command}; its message is above: `{' '.join(argv)}`")
    advice = next((f"; {text}" for pattern, text in _ADVICE if re.search(pattern, reason, re.I)), "")
    raise CannotContinue(f"{command}: {reason}{advice} (-v shows the traceback)")


def last_line(traceback: str) -> str:
    """The line that names the exception, of the last traceback in a text."""
    *_, last = traceback.rsplit(_TRACEBACK.decode(), 1)
    lines = [line.rstrip() for line in last.splitlines() if line.strip()]
    return next((line[:500] for line in lines if not line[0].isspace()), "")


def _run(argv: Sequence[str], folder: Path, environment: Mapping[str, str], verbose: bool) -> tuple[int, str]:
    """The exit code, and the output from the first traceback onwards, which was held back."""
    if verbose:
        return subprocess.run(argv, cwd=folder, env=environment, check=False).returncode, ""
    if not folder.is_dir():
        raise BadInput(f"baseline.folder={folder} is not a folder")
    if sys.stderr.isatty():  # a progress bar is drawn on a terminal only
        reader, writer = pty.openpty()
        termios.tcsetwinsize(writer, termios.tcgetwinsize(sys.stderr.fileno()))
    else:
        reader, writer = os.pipe()
    try:
        with subprocess.Popen(argv, cwd=folder, env=environment, stderr=writer) as child:
            os.close(writer)
            writer = -1
            kept = _pass_on(reader)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return child.returncode, kept


def _pass_on(source: int) -> str:
    """Copy to stderr what comes before the first traceback. Returns the rest."""
    shown = _Shown(sys.stderr.buffer)
    while chunk := _read(source):
        shown.feed(chunk)
    return shown.end()


class _Shown:
    """Passes output on up to its first traceback; with `verbose` all of it."""

    def __init__(self, target: BinaryIO, verbose: bool = False) -> None:
        self._target = target
        self._verbose = verbose
        self._begun = False
        self._waiting = b""

    def feed(self, chunk: bytes) -> None:
        """More output."""
        self._waiting += chunk
        if self._begun:
            return
        before, mark, rest = self._waiting.partition(_TRACEBACK)
        if self._verbose:
            before, self._waiting = self._waiting, b""
        elif mark:
            self._begun, self._waiting = True, mark + rest
        else:  # keep what may be the begin of the mark
            longest = min(len(_TRACEBACK) - 1, len(before))
            held = next((size for size in range(longest, 0, -1) if before.endswith(_TRACEBACK[:size])), 0)
            before, self._waiting = before[: len(before) - held], before[len(before) - held :]
        self._write(before)

    def end(self) -> str:
        """No more output comes. Returns what was not passed on."""
        if self._begun:
            return self._waiting.decode(errors="replace")
        self._write(self._waiting)
        return ""

    def _write(self, text: bytes) -> None:
        self._target.write(text)
        self._target.flush()


def _read(source: int) -> bytes:
    """The next bytes; empty at the end, which a terminal reports as an error."""
    try:
        return os.read(source, 65536)
    except OSError:
        return b""
