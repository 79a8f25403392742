"""`run -m`: several runs in sequence or in parallel, each with its own process and name."""

import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console

from pipeline.commands.terminal import INTERRUPTED, same_program, say
from pipeline.setup.sweep import Member
from pipeline.text import counted


def run_group(
    console: Console, group: str, runs: Sequence[Member], options: Sequence[str], parallel: int, again: str
) -> int:
    """Start the runs of a group, `parallel` at a time, and wait for them. Each gets `options`; the command `again` resumes
    all. Returns 0 if all ended with exit code 0."""
    names = [f"{group}-{member.suffix}" for member in runs]
    at_once = f", {parallel} at a time" if parallel > 1 else ""
    say(console, f"group {group}: {counted(len(runs), 'run')}{at_once}: {', '.join(names)}")
    say(console, f"resume all with: {again}")
    at_work = _Group(group, options, prefixed=parallel > 1)
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
    stopping: bool = False
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def stop(self, number: int, _: FrameType | None) -> None:
        """Start no more runs. The terminal sends Ctrl-C to the runs itself; other signals are forwarded."""
        self.stopping = True
        for process in self.started if number != signal.SIGINT else ():
            process.send_signal(number)

    def run(self, name: str, member: Member) -> int:
        """Run a member to its end; returns its exit code."""
        if self.stopping:
            return INTERRUPTED
        settings = [one for one in member.overrides if not one.startswith(("run=", "group="))]
        argv = [*same_program("run"), *self.options, *settings, f"run={name}", f"group={self.name}"]
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
