"""Several runs in sequence or in parallel, each with its own process and name."""

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console

from pipeline.commands.terminal import INTERRUPTED, same_program, say
from pipeline.setup.sweep import Member
from pipeline.text import counted

_LOOK_S = 1.0
"""Time between two checks for a baseline."""


def run_group(
    console: Console,
    group: str,
    runs: Sequence[Member],
    options: Sequence[str],
    parallel: int,
    again: str,
    has_baseline: Callable[[str], bool],
) -> int:
    """Start the runs of a group, `parallel` at a time, and wait for them. Each gets `options`; the command `again` resumes
    all. A run that shares another run's baseline starts once that has scores. Returns 0 if all ended with exit code 0."""
    names = [f"{group}-{member.suffix}" for member in runs]
    at_once = f", {parallel} at a time" if parallel > 1 else ""
    say(console, f"group {group}: {counted(len(runs), 'run')}{at_once}: {', '.join(names)}")
    say(console, f"resume all with: {again}")
    at_work = _Group(group, options, parallel > 1, has_baseline)
    before = {number: signal.signal(number, at_work.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ThreadPoolExecutor(parallel) as pool:
            codes = list(pool.map(at_work.run, names, runs))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if at_work.stopping:
        say(console, f"stopped; resume all with: {again}")
        return INTERRUPTED
    bad = [f"{name} (exit code {code})" for name, code in zip(names, codes, strict=True) if code]
    if not bad:
        say(console, f"group {group}: {counted(len(runs), 'run')} completed")
        return 0
    say(console, f"group {group}: not completed: {', '.join(bad)}; resume all with: {again}")
    return 1


@dataclass
class _Group:
    """The processes of a group."""

    name: str
    options: Sequence[str]
    prefixed: bool
    """Whether each printed line is prefixed with the run's name, since several runs print at the same time."""
    has_baseline: Callable[[str], bool]
    """Whether the run with this name has a baseline to share."""
    stopping: bool = False
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Names of runs whose process is gone."""
    change: threading.Condition = field(default_factory=threading.Condition)

    def stop(self, number: int, _: FrameType | None) -> None:
        """Start no more runs. The terminal sends Ctrl-C to the runs itself; other signals are forwarded."""
        self.stopping = True
        for process in self.started if number != signal.SIGINT else ():
            process.send_signal(number)

    def run(self, name: str, member: Member) -> int:
        """Run a member to its end; returns its exit code."""
        source = f"{self.name}-{member.baseline_of}" if member.baseline_of else ""
        try:
            is_ready = not source or self._wait(source)
            if self.stopping:
                return INTERRUPTED
            return self._run(name, member, source) if is_ready else self._later(name, source)
        finally:
            with self.change:
                self.ended.add(name)
                self.change.notify_all()

    def _wait(self, source: str) -> bool:
        """Wait for the baseline of another run; false if that run ended without one."""
        with self.change:
            while True:
                is_last_look = self.stopping or source in self.ended
                if self.has_baseline(source) or is_last_look:
                    return not self.stopping and self.has_baseline(source)
                self.change.wait(_LOOK_S)

    def _later(self, name: str, source: str) -> int:
        """Skip a run whose baseline is missing; with `--once` a later call starts it."""
        print(f"{name} waits for the baseline of {source}", flush=True)
        return 0 if "--once" in self.options else 1

    def _run(self, name: str, member: Member, source: str) -> int:
        settings = [one for one in member.overrides if not one.startswith(("run=", "group="))]
        settings += [f"run={name}", f"group={self.name}", *([f"baseline_of={source}"] if source else [])]
        argv = [*same_program("run"), *self.options, *settings]
        with subprocess.Popen(
            argv,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE if self.prefixed else None,
            stderr=subprocess.STDOUT if self.prefixed else None,
        ) as process:
            self.started.append(process)
            for line in process.stdout or ():
                print(f"{name} | {line.rstrip()}", flush=True)
            return process.wait()
