"""The toy baseline, and the program's commands as child processes, for tests. Nothing is patched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from pipeline.patching.trees import Entry, Tree, diff, read_tree
from pipeline.store.archive import Archive
from pipeline.store.reader import read_archive
from pipeline.store.views import Attempt

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "tests/baselines"
CONF = BASELINES / "conf"
TOY = BASELINES / "toy"
CHEAP = ("select.baseline_seeds=1", "select.elites=0", "stop.generations=1", "cluster.poll_s=0.1")
"""Settings of a run with the fewest trials."""


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    out: str
    err: str

    def ok(self) -> "Done":
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def refused(self, code: int, *words: str) -> None:
        """The contract for bad input: an exit code, and one line on stderr that contains these words."""
        assert (self.code, self.err.count("\n")) == (code, 1), f"exit code {self.code}\n{self.out}\n{self.err}"
        assert self.err.startswith("error: ") and "Traceback" not in self.err
        for word in words:
            assert word in self.err


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", name, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


def program(name: str, *arguments: str, extra: Mapping[str, str] | None = None, timeout: float = 240) -> Done:
    """Run `python -m pipeline NAME ARGUMENTS` until it ends."""
    done = subprocess.run(
        command(name, *arguments), cwd=ROOT, env=environment(extra), capture_output=True, text=True, timeout=timeout
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Bench:
    """The place for runs of one test, with their baseline and data."""

    folder: Path
    data: Path
    conf: Path = CONF
    cluster: str = "local"

    def arguments(self, name: str, *more: str) -> list[str]:
        given = ["--config-dir", str(self.conf), "baseline=toy", "scale=tiny", f"cluster={self.cluster}", f"run={name}"]
        # Not isolated by default: many tests let a variant communicate through files beside the run.
        return [*given, f"runs={self.folder}", f"data={self.data}", "train.sandbox=none", *more]

    def run(self, name: str, *more: str, extra: Mapping[str, str] | None = None, timeout: float = 240) -> Done:
        """Run `pipeline.run` until it ends."""
        return program("run", *self.arguments(name, *more), extra=extra, timeout=timeout)

    def start(self, name: str, *more: str) -> "subprocess.Popen[str]":
        """`pipeline.run` in a process group of its own, like a job of a shell."""
        return subprocess.Popen(
            command("run", *self.arguments(name, *more)),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def archive(self, name: str) -> Archive:
        return read_archive(self.folder / name)


def baseline(
    folder: Path,
    files: Mapping[str, str] | None = None,
    yaml: str = "",
    ideas: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """A copy of the toy with changed `files`, further lines of YAML and, if `ideas` is given, a bank of only those:
    name to changed files. Returns the folder for `--config-dir`."""
    code = folder / "toy"
    shutil.copytree(TOY, code)
    shutil.copytree(CONF, folder / "conf")
    for name, text in (files or {}).items():
        (code / name).write_text(text)
    if ideas is not None:
        shutil.rmtree(code / "ideas")
        pristine = tree(code)
        (code / "ideas").mkdir()
        for name, changes in ideas.items():
            changed = {**pristine, **{path: Entry(text.encode()) for path, text in changes.items()}}
            (code / f"ideas/{name}.diff").write_text(diff(pristine, dict(sorted(changed.items()))))
            words = {"title": name, "text": "Do it.", "why": "To see.", "source": "none; a test"}
            (code / f"ideas/{name}.yaml").write_text(json.dumps(words))
    with (folder / "conf/baseline/toy.yaml").open("a") as file:
        file.write(yaml)
    return folder / "conf"


def tree(folder: Path) -> Tree:
    read = read_tree(folder)
    assert isinstance(read, dict)
    return read


def train_with(first: str = "", step: str = "", end: str = "", setup: str = "") -> str:
    """The toy's train.py with inserted lines: at the top of the file, in `main` before training, in every step of
    training (not in the smoke test), and at the end."""
    text = (TOY / "train.py").read_text()
    places = (
        ("import argparse\n", first, ""),
        ("    rows = json.loads(", setup, "    "),
        (
            "            random.seed(",
            f"if not arguments.smoke:\n{_indent(step, '    ')}" if step else "",
            "            ",
        ),
        (
            '    part = output / "checkpoint.part"\n',
            f"if not arguments.smoke:\n{_indent(end, '    ')}" if end else "",
            "    ",
        ),
    )
    for anchor, lines, margin in places:
        assert text.count(anchor) == 1, anchor
        if lines:
            text = text.replace(anchor, _indent(lines, margin) + anchor)
    return text


def _indent(lines: str, margin: str) -> str:
    return "".join(f"{margin}{line}\n" for line in lines.splitlines())


def outline(archive: Archive) -> dict[str, Any]:
    """What two runs have in common if they have "the same archive": candidates, patches, parents, one outcome for each
    trial, and, since the clock counts steps, the same scores."""
    found: dict[str, Any] = {}
    for candidate in archive.candidates:
        attempt = candidate.attempt
        patch = attempt.paths.patch if attempt is not None else None
        found[candidate.id] = (
            replace(candidate.idea, maker=""),  # a replay knows its model only by the provider's name
            patch.read_text() if patch is not None and patch.exists() else None,
            (candidate.failure.stage, candidate.failure.kind) if candidate.failure else None,
        )
    for holder in archive.holders():
        place = holder.paths.folder.relative_to(archive.paths.folder).as_posix()
        for trial in holder.trials:
            job = trial.tries[0].job
            name = f"{place} {job.purpose} {job.seed} {job.budget} {_of(holder, job.of)}"
            assert (trial.score is None) != (trial.failure is None), f"{name} has no outcome"
            value = (trial.score.value, trial.score.standard_error, trial.score.seed) if trial.score else None
            found[name] = value or (trial.failure.stage, trial.failure.kind)  # type: ignore[union-attr]
    for generation in archive.generations:
        found[f"parents {generation.number}"] = generation.parents
        found[f"selection {generation.number}"] = generation.selection
    found["report"] = archive.report
    return found


def _of(holder: Attempt, trial: str | None) -> object:
    """What a test scoring scores, as the numbers of trials depend on the order in which slots became free."""
    return [(one.purpose, one.seed) for one in holder.trials if one.paths.folder.name == trial]


def wait_until(true: Callable[[], bool], process: "subprocess.Popen[str] | None" = None, seconds: float = 180) -> None:
    """Poll until a condition holds. Fails if a process that should cause it has ended, or after a long time."""
    for _ in range(int(seconds / 0.05)):
        if true():
            return
        assert process is None or process.poll() is None, process and process.stdout and process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


def processes_with(word: str) -> list[psutil.Process]:
    """Living processes with a word in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(word in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def jobs_of(run: Path) -> list[psutil.Process]:
    """Living processes that work for a run: its jobs name their folder, commands of a variant run inside it."""
    found = []
    for process in psutil.process_iter():
        try:
            place = process.cwd()
            inside = place.startswith(f"{run}/") or any(str(run) in part for part in process.cmdline())
            if inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C: the terminal signals the whole process group."""
    os.killpg(process.pid, signal.SIGINT)


def listing(run: Path, leave_out: Sequence[str] = ("code/pipeline/", "jobs/")) -> Iterator[str]:
    """The files of a run folder, sorted, without caches and without parts of names that come from job names."""
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and "__pycache__" not in name and not name.startswith(tuple(leave_out)):
            yield name
