"""Start a run, or go on with one."""

import argparse
import datetime
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from rich.console import Console
from rich.live import Live

from pipeline import loop
from pipeline.assemble import assemble, dry_run, open_or_create, would_submit
from pipeline.cli import INTERRUPTED, add_overrides, call, config_of, make_console, parser, say
from pipeline.config import Config
from pipeline.display import Progress, estimated, line, overview, progress, results
from pipeline.stages import evaluate
from pipeline.stages.base import Search
from pipeline.stages.decide import trials_left
from pipeline.store.archive import Archive
from pipeline.store.run import held

_EXAMPLES = """examples:
  python -m pipeline.run +experiment=evolve_posttrain scale=tiny              a laptop, no GPU, no key
  python -m pipeline.run +experiment=evolve_posttrain scale=small run=first   one 24 GB GPU a trial
  python -m pipeline.run +experiment=evolve_posttrain scale=small run=first stop.generations=8    go on, longer

The same command with the same run=NAME goes on from the files; without run= a fresh name is made and printed."""


def main() -> None:
    """Entry point."""
    made = parser("run", "Propose ideas, train them, score them, select, and go on.", _EXAMPLES)
    add_overrides(made)
    made.add_argument("--once", action="store_true", help="one tick, for cron: start what is due, read what is done")
    made.add_argument("--take-over", action="store_true", help="hold the run although another controller seems to")
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Run the loop with a display, and leave cleanly on Ctrl-C."""
    console = make_console()
    config = config_of(arguments)
    if config.dry_run:
        for words in (*estimated(config, dry_run(config)), *would_submit(config)):
            say(console, words)
        return 0
    if not config.run:
        config = replace(config, run=fresh_name(config))
    run, changed = open_or_create(config)
    again = resume_command(arguments, config.run)
    say(console, f"run {run.name} in {run.paths.folder}\ngo on with: {again}")
    for change in changed:
        say(console, f"changed since last time: {change}")
    signal.signal(signal.SIGTERM, _as_interrupt)
    search = assemble(run, config)
    with held(run.paths, arguments.take_over) as hold:
        try:
            if arguments.once:
                archive = loop.once(search, lambda archive: say(console, _line(search, archive)))
            else:
                with _display(console, search) as show:
                    archive = loop.run(search, show, hold.beat)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
            search.background.close()
            if search.cluster.here:
                say(console, "stopping: ending what runs on this machine …")
                evaluate.end_jobs(
                    search.archive(), search.cluster, "ended together with the controller", search.clock()
                )
            else:
                say(console, "stopping: jobs in the queue and on the nodes go on by themselves")
            say(console, f"stopped; go on with: {again}")
            return INTERRUPTED
        finally:
            search.background.close()
    if archive.report is not None:
        console.print(results(archive, archive.report, search.metric))
        say(console, f"files: {run.paths.folder}")
    return 0


def fresh_name(config: Config) -> str:
    """A name no run has: the baseline, the scale and the time."""
    return f"{config.baseline.name}-{config.scale}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def resume_command(arguments: argparse.Namespace, name: str) -> str:
    """What to type to go on with this run."""
    words = [word for word in arguments.overrides if not word.startswith("run=")]
    where = ["--config-dir", str(arguments.config_dir)] if arguments.config_dir is not None else []
    return shlex.join(["python", "-m", "pipeline.run", *where, *words, f"run={name}"])


def _now(search: Search, archive: Archive) -> Progress:
    config, slots = search.config, search.cluster.slots()
    left = trials_left(search, archive)
    return progress(archive, search.metric, config.stop.generations, left, slots)


def _line(search: Search, archive: Archive) -> str:
    return line(_now(search, archive), search.metric)


class _display:
    """A live table in a terminal; in a pipe or a log, a line whenever something has changed."""

    def __init__(self, console: Console, search: Search) -> None:
        self._console = console
        self._search = search
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._last: tuple[object, ...] = ()

    def __enter__(self) -> Callable[[Archive], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, archive: Archive) -> None:
        now = _now(self._search, archive)
        if self._live is not None:
            self._live.update(overview(archive, self._search.metric, now, self._console.height))
            return
        settled = tuple(now.states.get(state, 0) for state in ("proposed", "scored", "failed"))
        if (news := (now.generation, now.finished, now.paused, settled, now.trials.get("scored", 0))) != self._last:
            self._last = news
            say(self._console, line(now, self._search.metric))


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
