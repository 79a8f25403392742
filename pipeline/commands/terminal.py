"""Shared by all commands: options, exit codes, one-line errors."""

import argparse
import errno
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.config import Config
from pipeline.errors import BadInput, GroundworkError
from pipeline.makers.packages import check_interpreter
from pipeline.setup.compose import compose_config
from pipeline.text import plain

INTERRUPTED = 130
_PIPE_WIDTH = 160
EXIT_CODES = "Exit codes: 0 done, 1 the run could not continue, 2 bad input, 130 interrupted."


def parser(command: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with the options that every command has."""
    made = argparse.ArgumentParser(
        prog="python -m pipeline.run" if command == "run" else f"python -m pipeline {command}",
        description=description,
        epilog="\n\n".join(part for part in (epilog, EXIT_CODES) if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
    return made


def typed_program(command: str, given: Sequence[str] = tuple(sys.orig_argv)) -> list[str]:
    """The words to type in the same folder to run a command of this program: the interpreter or the console script, as
    they were typed."""
    python, program = _program(command, given)
    if python and program[0] != "-m":
        return [_as_typed(program[0]), *program[1:]]
    return [*((_as_typed(python[0]), *python[1:]) if python else ("python",)), *program]


def same_program(command: str, given: Sequence[str] = tuple(sys.orig_argv)) -> list[str]:
    """The start of an argument vector that runs a command of this program in another process."""
    python, program = _program(command, given)
    return [sys.executable, *python[1:], *program]


def _program(command: str, given: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """The interpreter with its options, and the program it runs. The interpreter is empty if this program was started
    otherwise, e.g. by a test."""
    for at, word in enumerate(given[1:], 1):
        if word == "-m":
            module = given[at + 1] if at + 1 < len(given) else ""
            if module == "groundwork_hpc":
                return given[:at], ["-m", module, command]
            return given[:at], _in_checkout(command)
        if not word.startswith("-"):
            if Path(word).name == "groundwork":
                return given[:at], [word, command]
            break
    return (), _in_checkout(command)


def _in_checkout(command: str) -> list[str]:
    return ["-m", *(["pipeline.run"] if command == "run" else ["pipeline", command])]


def _as_typed(program: str) -> str:
    """The program's name if the shell finds it on PATH, else its path, relative if it is in the working directory."""
    path = Path(program)
    if not path.is_absolute():
        return program
    if shutil.which(path.name) == program:
        return path.name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else program


def add_overrides(made: argparse.ArgumentParser) -> None:
    """Add arguments for Hydra overrides and the folder of a user's own configuration."""
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, as in docs/reference/settings.md")
    made.add_argument("--config-dir", type=Path, help="folder with your own baseline/, size/, experiment/ … groups")


def config_of(arguments: argparse.Namespace) -> Config:
    """The configuration that the arguments compose. Raises `BadInput`."""
    return usable_config(arguments.overrides, arguments.config_dir)


def usable_config(overrides: Sequence[str], config_dir: Path | None) -> Config:
    """The composed configuration; its interpreter is checked. Raises `BadInput`."""
    if config_dir is not None and not config_dir.is_dir():
        raise BadInput(f"--config-dir {config_dir} is not a folder")
    config = compose_config(overrides, config_dir)
    target = str(config.train.sandbox["_target_"])
    if target.startswith("pipeline.sandbox.") and "apptainer" not in target:  # others may contain their own Python
        check_interpreter(config.baseline.interpreter)
    return config


def make_console() -> Console:
    """A console for stdout; wide if the output is piped, so that lines are not broken."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def say(console: Console, text: str) -> None:
    """Print a text without control sequences and without breaking lines, so that commands and paths can be copied."""
    console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


def error_line(error: OSError) -> str:
    """A system error in one line, with a remedy."""
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space, or request a larger quota",
        errno.EROFS: "choose a writable folder",
        errno.EACCES: "check its owner and mode",
        errno.EPERM: "check its owner and mode",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    what = " ".join(f"{error.strerror or error}".split())
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    line = f"{where}: {what}" if where else what
    return f"{line}; {advice[error.errno]}" if error.errno in advice else f"{line} (-v shows where)"


def call(entry: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> None:
    """Run a command and exit with its code; an error is one line on stderr."""
    try:
        code = entry(arguments)
    except GroundworkError as error:
        if arguments.verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has exited, e.g. `| head`
        code = 0
    except OSError as error:
        if arguments.verbose:
            traceback.print_exc()
        print(f"error: {error_line(error)}", file=sys.stderr)
        code = GroundworkError.exit_code
    sys.exit(code)
