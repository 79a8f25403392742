"""Run a command of the baseline in the user's terminal: its output is passed through, a final traceback becomes one line."""

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import BaselineConfig
from pipeline.errors import BadInput, CannotContinue

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
    """Copy the output before the first traceback to stderr. Returns the rest."""
    begun, waiting = False, b""
    while chunk := _read(source):
        waiting += chunk
        if begun:
            continue
        before, mark, rest = waiting.partition(_TRACEBACK)
        if mark:
            begun, waiting = True, mark + rest
        else:  # hold back what may be the beginning of the mark
            longest = min(len(_TRACEBACK) - 1, len(before))
            held = next((size for size in range(longest, 0, -1) if before.endswith(_TRACEBACK[:size])), 0)
            before, waiting = before[: len(before) - held], before[len(before) - held :]
        _write(before)
    if not begun:
        _write(waiting)
    return waiting.decode(errors="replace") if begun else ""


def _write(text: bytes) -> None:
    sys.stderr.buffer.write(text)
    sys.stderr.buffer.flush()


def _read(source: int) -> bytes:
    """The next bytes; empty at the end, which a terminal reports as an error."""
    try:
        return os.read(source, 65536)
    except OSError:
        return b""
