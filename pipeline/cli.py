"""What all entry points share: options, exit codes, one line for an error."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pipeline.compose import compose_config
from pipeline.config import Config
from pipeline.errors import BadInput, GroundworkError
from pipeline.store.archive import Attempt, Reader
from pipeline.store.paths import RunPaths, run_of

INTERRUPTED = 130
_PIPE_WIDTH = 160
EXIT_CODES = "Exit codes: 0 done, 1 the run could not go on, 2 bad input, 130 interrupted."


def parser(module: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with the options that every entry point has."""
    made = argparse.ArgumentParser(
        prog=f"python -m pipeline.{module}",
        description=description,
        epilog="\n\n".join(part for part in (epilog, EXIT_CODES) if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
    return made


def add_overrides(made: argparse.ArgumentParser) -> None:
    """Hydra overrides, and where a user's own configuration lies."""
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, as in docs/reference/settings.md")
    made.add_argument("--config-dir", type=Path, help="folder with your own baseline/, size/, experiment/ … groups")


def config_of(arguments: argparse.Namespace) -> Config:
    """The configuration that the arguments compose. Raises `BadInput`."""
    if arguments.config_dir is not None and not arguments.config_dir.is_dir():
        raise BadInput(f"--config-dir {arguments.config_dir} is no folder")
    return compose_config(arguments.overrides, arguments.config_dir)


def make_console() -> Console:
    """A console for people; plain and wide where the output is piped, so that lines are not broken."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def say(console: Console, text: str) -> None:
    """Print words as they are: a command or a path must survive copying, so no line is broken."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def run_paths(folder: Path) -> RunPaths:
    """The run at, or around, a folder. Raises `BadInput`."""
    paths = run_of(folder.resolve())
    if paths is None:
        raise BadInput(f"{folder} is not in a run folder; name one such as runs/NAME, or list them with: ls runs")
    return paths


def candidate_at(folder: Path) -> tuple[RunPaths, str]:
    """The run and the id of the candidate at, or around, a folder. Raises `BadInput`."""
    paths = run_paths(folder)
    inside = folder.resolve().relative_to(paths.folder).parts[:2]
    candidate = "/".join(inside)
    if len(inside) < 2 or not inside[1].startswith("candidate_") or not paths.candidate(candidate).idea.exists():
        raise BadInput(
            f"{folder} is not a candidate; name its folder, e.g. {paths.folder.name}/generation_000/candidate_000, "
            f"or list them with: python -m pipeline.status {paths.folder}"
        )
    return paths, candidate


def holder_at(folder: Path) -> tuple[RunPaths, Attempt]:
    """What holds trials at a folder: the newest attempt of a candidate, or the baseline of a run. Raises `BadInput`."""
    paths = run_paths(folder)
    archive = Reader(paths).read()
    if folder.resolve() == paths.baseline.folder:
        return paths, archive.baseline
    attempt = archive.candidate(candidate_at(folder)[1]).attempt
    if attempt is None:
        raise BadInput(f"{folder} was not implemented yet; see: python -m pipeline.show {folder}")
    return paths, attempt


def call(entry: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> None:
    """Run an entry point and exit with its code; an error is one line on stderr."""
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
        sys.stderr.close()  # the reader of our output left, e.g. `| head`; nothing to say
        code = 0
    sys.exit(code)
