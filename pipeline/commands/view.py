"""Serve pages of runs in progress on this machine."""

import argparse
import contextlib
import dataclasses
import io
import re
import secrets
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.base import Cluster
from pipeline.commands import mark, pause, propose, resume
from pipeline.commands.beside import analysis
from pipeline.commands.display import learning, spent
from pipeline.commands.page import current_page
from pipeline.commands.progress import progress, summary_line
from pipeline.commands.status import costs_of, started_at, waiting_reasons
from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.errors import BadInput, GroundworkError
from pipeline.methods.base import Terms
from pipeline.setup.build import make_cluster, view
from pipeline.setup.places import RUNS, all_runs, run_at
from pipeline.stages.learn import steps_measured
from pipeline.store.archive import Archive
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths, TryPaths, short
from pipeline.store.run import Run, held_by

_ASK_S = 10.0
"""Interval at which Slurm is queried for why jobs wait, and the answers of language models are counted, in seconds."""


def main() -> None:
    """Entry point."""
    made = parser(
        "view",
        "Serve pages of runs in progress on 127.0.0.1. Anyone who has the address with its token may read and, after a\n"
        "confirmation, pin, ban, propose and pause.",
        "examples:\n  python -m pipeline view\n  python -m pipeline view runs/NAME --port 8765",
    )
    made.add_argument("run", type=Path, nargs="?", help="a run folder or name; without it, all runs in runs/")
    made.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Print the address and serve until interrupted."""
    live = analysis("live", "view")
    only = run_at(arguments.run) if arguments.run is not None else None
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", arguments.port))
        except (OSError, OverflowError) as error:
            raise BadInput(f"--port {arguments.port} cannot be used ({error}); leave it out for a free one") from error
        listening.listen()
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        path = f"/run/{only.folder.name}" if only is not None else "/"
        console = make_console()
        say(console, f"http://127.0.0.1:{port}{path}?token={token}")
        say(console, f"from another machine first: ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}")
        say(console, "Ctrl-C stops the server; runs are not affected")
        live.serve(Door(only), token, listening)
    return 0


class Door:
    """The data and the actions of the pages. Each action calls the entry function of a command."""

    def __init__(self, only: RunPaths | None) -> None:
        self._only = only
        self._open: dict[Path, tuple[Run, Terms, Cluster | None]] = {}
        self._asked: dict[Path, tuple[float, list[str], dict[str, int]]] = {}

    def runs(self) -> Sequence[Mapping[str, str]]:
        """Name, state and summary line of every run, newest first."""
        found = []
        for paths in [self._only] if self._only is not None else all_runs():
            try:
                run, terms, _ = self._opened(paths)
                archive = run.reader.read()
            except GroundworkError as error:
                found.append({"name": paths.folder.name, "state": "cannot be read", "text": str(error)})
                continue
            now = progress(terms, archive, max(1, len(archive.in_flight())))
            holder = held_by(paths)
            state = "finished" if now.finished else f"running, {holder}" if holder else "stopped"
            found.append({"name": run.name, "state": state, "text": summary_line(now, terms.metric)})
        return found

    def folder(self, run: str) -> Path:
        """The folder of the run with this name."""
        return self._paths(run).folder

    def state(self, run: str) -> dict[str, Any]:
        """The content of the page of a run."""
        paths = self._paths(run)
        opened, terms, cluster = self._opened(paths)
        archive = opened.reader.read()
        now = progress(terms, archive, max(1, len(archive.in_flight())), started_at(paths))
        costs, waiting = self._slow(terms, archive, cluster)
        return {
            "page": dataclasses.asdict(current_page(terms, archive, now)),
            "holder": held_by(paths),
            "finished": now.finished,
            "paused": archive.pause is not None,
            "costs": costs,
            "waiting": sorted(waiting.items()),
            "learning": list(learning(steps_measured(archive))),
        }

    def running(self, run: str) -> list[tuple[str, TryPaths]]:
        """Name and try of the running trials."""
        paths = self._paths(run)
        archive = self._opened(paths)[0].reader.read()
        tries = [one for one in archive.in_flight() if one.claim is not None]
        return [(_trial_name(one.paths.trial.folder.relative_to(paths.folder)), one.paths) for one in tries]

    def command(self, run: str, what: str, candidate: str, text: str) -> str:
        """The equivalent command line of an action."""
        place = RUNS / run
        flags = {"pin": ["--pin"], "ban": ["--ban", text], "clear": ["--clear"]}
        if what in flags:
            return shlex.join(["python", "-m", "pipeline", "mark", str(place / candidate), *flags[what]])
        more = {"pause": ["--reason", text], "propose": ["--idea", "idea.md"]}.get(what, [])
        return shlex.join(["python", "-m", "pipeline", what, str(place), *more])

    def act(self, run: str, what: str, candidate: str, text: str) -> str:
        """Run an action; returns what its command prints."""
        folder = self._paths(run).folder
        if what in ("pin", "ban", "clear"):
            if re.fullmatch(r"g\d+/c\d+", candidate) is None:
                raise BadInput(f"{candidate!r} is not a candidate; give it as g0/c3")
            if what == "ban" and not text.strip():
                raise BadInput("a ban requires a reason, which is included in prompts")
            reason = text if what == "ban" else None
            return _said(mark.entry, candidate=folder / candidate, pin=what == "pin", ban=reason, clear=what == "clear")
        if what == "propose":
            with tempfile.TemporaryDirectory() as scratch:
                idea = Path(scratch) / "idea.md"
                idea.write_text(text.replace("\r\n", "\n"))
                return _said(propose.entry, run=folder, idea=idea, patch=None, parent=[])
        if what == "pause":
            return _said(pause.entry, run=folder, reason=text or "requested by a user")
        return _said(resume.entry, run=folder)

    def _paths(self, run: str) -> RunPaths:
        if self._only is not None and run != self._only.folder.name:
            raise BadInput(
                f"this page shows {self._only.folder.name} only; start `python -m pipeline view` without a run"
            )
        if self._only is not None:
            return self._only
        found = {paths.folder.name: paths for paths in all_runs()}
        if run not in found:
            raise BadInput(f"{run} is not a run in {RUNS}/; runs there: {', '.join(found) or 'none'}")
        return found[run]

    def _opened(self, paths: RunPaths) -> tuple[Run, Terms, Cluster | None]:
        """The opened run, cached so that its reader reads settled candidates only once."""
        if not paths.facts.exists():
            self._open.pop(paths.folder, None)
            raise BadInput(f"{paths.folder} is gone; start `python -m pipeline view` again")
        if paths.folder not in self._open:
            run, terms = view(paths)
            on_slurm = terms.config.cluster.unattended and shutil.which("squeue") is not None
            self._open[paths.folder] = run, terms, make_cluster(paths, terms.config) if on_slurm else None
        return self._open[paths.folder]

    def _slow(self, terms: Terms, archive: Archive, cluster: Cluster | None) -> tuple[list[str], dict[str, int]]:
        """Lines about costs, and the reasons why jobs wait; cached for `_ASK_S` seconds."""
        folder = archive.paths.folder
        at, costs, waiting = self._asked.get(folder, (0.0, [], {}))
        if time.monotonic() - at > _ASK_S or not costs:
            costs = list(spent(costs_of(terms, archive), Ledger(archive.paths).spending()))
            waiting = waiting_reasons(archive, cluster) if cluster is not None else {}
            self._asked[folder] = time.monotonic(), costs, waiting
        return costs, waiting


def _said(entry_of: Callable[[argparse.Namespace], int], **arguments: Any) -> str:
    """Run a command and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        entry_of(argparse.Namespace(**arguments))
    return printed.getvalue().strip()


def _trial_name(folder: Path) -> str:
    """`g0/c3 trial_0` for the folder of a trial in its run; `baseline trial_0` for one of the baseline."""
    *holder, trial = (part for part in folder.parts if not part.startswith("attempt_"))
    return f"{short('/'.join(holder))} {trial}"
