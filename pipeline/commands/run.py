"""Start a run, or resume one."""

import argparse
import contextlib
import datetime
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from pipeline import loop
from pipeline.commands.compare import announce_costs, check_budgets, conclude
from pipeline.commands.display import estimated, results
from pipeline.commands.page import current_page, holdup_line
from pipeline.commands.progress import Progress, progress, summary_line
from pipeline.commands.sweep import run_group
from pipeline.commands.terminal import (
    INTERRUPTED,
    add_overrides,
    call,
    config_of,
    make_console,
    parser,
    say,
    typed_program,
    usable_config,
)
from pipeline.config import Config
from pipeline.errors import BadInput, GroundworkError
from pipeline.makers.people import propose
from pipeline.patching import Rules
from pipeline.policy.notices import collapse_signs
from pipeline.records import Derived, Idea
from pipeline.setup.build import context_of
from pipeline.setup.code import code_files
from pipeline.setup.compose import as_yaml, differences, fixed_part
from pipeline.setup.create import open_or_create, run_paths_of
from pipeline.setup.folders import CONF
from pipeline.setup.places import all_runs
from pipeline.setup.preview import dry_run, would_submit
from pipeline.setup.shared import baseline_done
from pipeline.setup.sweep import Member, arm_members, members
from pipeline.stages import evaluate, learn
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from pipeline.store.run import held_by, locked, open_run

_EXAMPLES = """examples:
  python -m pipeline.run +experiment=evolve_posttrain scale=tiny              a laptop, no GPU, no key
  python -m pipeline.run +experiment=evolve_posttrain scale=small run=first   one 24 GB GPU per trial
  python -m pipeline.run +experiment=evolve_posttrain scale=small run=first stop.generations=8    resume it, longer

The same command with the same run=NAME resumes from the files; without run= a new name is chosen and printed."""

_STARTED = time.time()
_NEWEST_RUNS = 50
"""How many of the newest runs are searched for an unfinished one."""


def main() -> None:
    """Entry point."""
    made = parser("run", "Propose ideas, train them, score them, select, and repeat.", _EXAMPLES)
    add_overrides(made)
    made.add_argument("--cfg", choices=["job"], help="print the composed configuration, then exit")
    made.add_argument(
        "--multirun",
        "-m",
        action="store_true",
        help="one run for each combination of values, e.g. seed=1,2,3; run= names the group",
    )
    made.add_argument(
        "--parallel", type=int, metavar="N", help="with -m or arms=: how many runs at a time (default: 1)"
    )
    made.add_argument("--once", action="store_true", help="run one tick, for cron: start due work, read results")
    made.add_argument(
        "--take-over", action="store_true", help="lock the run even if another controller seems to hold it"
    )
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Run the loop with a display; exit cleanly on Ctrl-C."""
    console = make_console()
    if not arguments.overrides:
        say(console, _choices([CONF, *([arguments.config_dir] if arguments.config_dir is not None else [])]))
        return BadInput.exit_code
    if arguments.multirun:
        return _several(console, arguments, members(arguments.overrides))
    config = config_of(arguments)
    if arguments.cfg:
        print(as_yaml(config), end="")
        return 0
    if config.arms:
        return _arms(console, arguments, config)
    if arguments.parallel is not None:
        raise BadInput("--parallel requires several runs; add -m")
    if config.dry_run:
        for line in (*estimated(config, dry_run(config)), *would_submit(config)):
            say(console, line)
        return 0
    if not config.run:
        left = unfinished(config)
        if left:
            say(console, f"{left} is unfinished; to resume it instead: {resume_command(arguments, left)}")
        config = replace(config, run=fresh_name(config))
    context = drive(console, config, resume_command(arguments, config.run), arguments.take_over, arguments.once)
    if context is None:
        return INTERRUPTED
    archive = context.run.reader.read()
    if archive.report is not None:
        console.print()
        console.print(results(archive, archive.report, context.metric))
        say(console, f"files: {context.run.paths.folder}")
    return 0


def drive(
    console: Console,
    config: Config,
    again: str,
    take_over: bool = False,
    once: bool = False,
    derived: Derived | None = None,
    given: Sequence[Idea] = (),
) -> Context | None:
    """Create or resume a run, propose the `given` ideas, and drive it to its end with a display. None if interrupted.
    `again` is the command that resumes it. Raises `BadInput` or `CannotContinue`."""
    paths = run_paths_of(config)
    with locked(paths, take_over) as lock:  # before anything is written
        if not paths.facts.exists():
            say(console, f"code of the baseline: {code_files(config.baseline).text()}")
        if derived is not None:
            files.create(paths.derived, derived)
        run, changed = open_or_create(config)
        for idea in given:
            propose(run.reader.read(), Rules(config.baseline.evolvable, config.baseline.protected), idea)
        say(console, f"run {run.name} in {run.paths.folder}\nresume with: {again}")
        for change in changed:
            say(console, f"changed since last time: {change}")
        signal.signal(signal.SIGTERM, _as_interrupt)
        context = context_of(run, config)
        try:
            if once:
                loop.once(context, lambda archive: _tell(console, context, archive))
            else:
                with _display(console, context) as show:
                    loop.run(context, show, lock.beat)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
            context.background.close()
            _stop_jobs(console, context)
            say(console, f"stopped; resume with: {again}")
            return None
        finally:
            context.background.close()
    return context


def _several(console: Console, arguments: argparse.Namespace, runs: Sequence[Member]) -> int:
    """Start a group of runs. The settings of all runs are checked before the first starts."""
    configs = [usable_config(member.overrides, arguments.config_dir) for member in runs]
    if configs[0].arms:
        raise BadInput("arms= starts a run for each arm and seed by itself; leave -m out, or leave arms= out")
    return _group(console, arguments, runs, configs[0].run or fresh_name(configs[0]), lambda _: True)


def _arms(console: Console, arguments: argparse.Namespace, config: Config) -> int:
    """The runs of a comparison of methods, and the report that compares them."""
    runs = arm_members(arguments.overrides, config, arguments.config_dir)
    configs = [usable_config(member.overrides, arguments.config_dir) for member in runs[: len(config.arms)]]
    check_budgets(configs)
    if config.dry_run:
        announce_costs(console, configs, config.seeds)
        return 0
    group, folder = config.run or fresh_name(config), Path(config.runs).resolve()

    def has_baseline(name: str) -> bool:
        return baseline_done(RunPaths(folder / name), config.select.baseline_seeds)

    code = _group(console, arguments, runs, group, has_baseline)
    if code != INTERRUPTED:
        conclude(console, group, [RunPaths(folder / f"{group}-{member.suffix}") for member in runs])
    return code


def _group(
    console: Console,
    arguments: argparse.Namespace,
    runs: Sequence[Member],
    group: str,
    has_baseline: Callable[[str], bool],
) -> int:
    parallel = 1 if arguments.parallel is None else arguments.parallel
    if parallel < 1:
        raise BadInput(f"--parallel {parallel} cannot be used; give 1 or more")
    flags = {"--once": arguments.once, "--take-over": arguments.take_over, "-v": arguments.verbose}
    options = [flag for flag, given in flags.items() if given]
    if arguments.cfg:
        options += ["--cfg", arguments.cfg]
    where = ["--config-dir", str(arguments.config_dir)] if arguments.config_dir is not None else []
    several = ["-m"] * arguments.multirun + (["--parallel", str(parallel)] if parallel > 1 else [])
    again = shlex.join([*typed_program("run"), *several, *where, *_without_run(arguments.overrides), f"run={group}"])
    return run_group(console, group, runs, [*options, *where], parallel, again, has_baseline)


def _choices(folders: Sequence[Path]) -> str:
    """The experiments and scales in these folders, each with the first comment of its file."""
    lines = ["choose an experiment, and a scale unless it is the paper's:", ""]
    for group, sign in (("experiment", "+"), ("scale", "")):
        for path in sorted(path for folder in folders for path in (folder / group).glob("*.yaml")):
            comment = next(
                (line for line in path.read_text().splitlines() if line.startswith("# ") and "@" not in line), ""
            )
            lines.append(f"  {sign}{group}={path.stem:24} {comment.removeprefix('# ')}")
        lines.append("")
    return "\n".join([*lines, "for instance: python -m pipeline.run +experiment=evolve_posttrain scale=tiny"])


def _stop_jobs(console: Console, context: Context) -> None:
    if not context.cluster.here:
        say(console, "stopping: queued and running jobs continue without the controller")
        return
    say(console, "stopping: ending the jobs on this machine …")
    archive = context.run.reader.read()
    evaluate.end_jobs(archive, context.cluster, "ended together with the controller", context.clock())
    learn.end_jobs(context, archive)


def fresh_name(config: Config) -> str:
    """A new name: the baseline, the scale and the time."""
    return f"{config.baseline.name}-{config.scale}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def unfinished(config: Config) -> str:
    """Name of the newest unfinished run with these settings that no controller holds; empty if there is none."""
    wanted = files.through_json(fixed_part(config))
    for paths in all_runs(Path(config.runs))[:_NEWEST_RUNS]:
        if paths.report.exists() or held_by(paths):
            continue
        with contextlib.suppress(GroundworkError):  # of another format, or damaged
            if not differences(dict(open_run(paths).facts.config), wanted):
                return paths.folder.name
    return ""


def resume_command(arguments: argparse.Namespace, name: str) -> str:
    """The command that resumes this run."""
    where = ["--config-dir", str(arguments.config_dir)] if arguments.config_dir is not None else []
    return shlex.join([*typed_program("run"), *where, *_without_run(arguments.overrides), f"run={name}"])


def _without_run(overrides: Sequence[str]) -> list[str]:
    return [one for one in overrides if not one.startswith("run=")]


def _now(context: Context, archive: Archive) -> Progress:
    return progress(context, archive, context.cluster.slots(), _STARTED)


def _tell(console: Console, context: Context, archive: Archive) -> None:
    """Print the progress of the run and what it waits for."""
    say(console, summary_line(_now(context, archive), context.metric))
    for holdup in context.holdups.open:
        say(console, holdup_line(holdup))


class _display:
    """A live page in a terminal, whose last state remains visible; in a pipe or a log, one line per change."""

    def __init__(self, console: Console, context: Context) -> None:
        self._console = console
        self._context = context
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._last: tuple[object, ...] = ()
        self._waiting: set[tuple[str, float]] = set()
        self._collapse: tuple[str, ...] = ()

    def __enter__(self) -> Callable[[Archive], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, archive: Archive) -> None:
        now = _now(self._context, archive)
        if self._live is not None:
            self._live.update(current_page(self._context, archive, now))
            return
        settled = tuple(now.states.get(state, 0) for state in ("proposed", "scored", "failed"))
        if (
            news := (now.generation, now.phase, now.finished, now.paused, settled, now.trials.get("scored", 0))
        ) != self._last:
            self._last = news
            say(self._console, summary_line(now, self._context.metric))
        causes = {(holdup.what, holdup.since): holdup for holdup in self._context.holdups.open}
        for cause in sorted(causes.keys() - self._waiting):
            say(self._console, holdup_line(causes[cause]))
        for what, _ in sorted(self._waiting - causes.keys()):
            say(self._console, f"no longer waiting: {what}")
        self._waiting = set(causes)
        if (signs := collapse_signs(archive)) != self._collapse:
            self._collapse = signs
            for sign in signs:
                say(self._console, sign)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
