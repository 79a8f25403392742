"""One run: made once from a configuration, opened again by name, held by one controller at a time."""

import contextlib
import functools
import getpass
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pipeline.config import Config
from pipeline.errors import BadInput, CannotContinue
from pipeline.records import FORMAT, Claim, Event, Job
from pipeline.store import files
from pipeline.store.data import FileFact, content_hash
from pipeline.store.manifest import RunManifest, code_hashes, read_manifest
from pipeline.store.paths import RunPaths, TryPaths
from pipeline.store.reader import Reader
from pipeline.store.views import VOID

_BEAT_S = 10.0
_STALE_S = 120.0
JOB_CODE = (
    *("__init__.py", "records.py", "metric.py", "config.py", "errors.py", "text.py"),
    *("store", "llm", "patching", "cluster", "sandbox", "job", "rl"),
)
"""What of this program runs inside jobs: `job/`, `rl/` and the two floors below them."""


@dataclass(frozen=True)
class Facts:
    """What is fixed for a run (run.json)."""

    format: int
    """Number of the run folder's format."""
    config: Mapping[str, Any]
    """The resolved configuration without live settings and without paths."""
    version: str
    """Version of Groundwork, with the commit where it is known."""
    code: str
    """Hash of `code/`."""
    data: str
    """Hash of the prepared data."""
    created_at: float
    """Seconds since 1970."""
    manifest: str = ""
    """Hash of manifest.json; empty for a run that was made without one."""


@dataclass(frozen=True)
class Sources:
    """What is copied into a new run's `code/`."""

    baseline: Path
    """Folder of the baseline."""
    files: Sequence[str]
    """Its code: paths relative to the folder."""
    ideas: Path
    """Folder of its idea bank; may be absent. It is not part of a variant."""
    pipeline: Path
    """Folder of this program."""
    size: Mapping[str, Any]
    """Written to size.json for the baseline's commands."""


@dataclass(frozen=True)
class Holder:
    """Who holds a run (controller.json)."""

    user: str
    host: str
    pid: int
    started: int
    """Start time of the process in hundredths of a second since 1970: pids are given out again."""
    job: str
    """Slurm job the controller runs in, or empty."""
    at: float
    """Last sign of life, seconds since 1970."""

    def alive(self, now: float) -> bool:
        """Whether the holder can still be at work."""
        if self.host == socket.gethostname():
            try:
                process = psutil.Process(self.pid)
                same = round(process.create_time() * 100) == self.started
                return same and process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False
        return now - self.at < _STALE_S


class Run:
    """Access to one run folder."""

    def __init__(self, paths: RunPaths, facts: Facts) -> None:
        self.paths = paths
        self.facts = facts
        self.reader = Reader(paths)

    def own(self) -> None:
        """From now on this process alone adds to the run: it holds the lock."""
        self.reader = Reader(self.paths, controller=True)

    def create(self, path: Path, record: object) -> bool:
        """Add a file to the run; false when it is there already. Raises `CannotContinue` when the disk does not take it."""
        return self.create_bytes(path, files.to_json(record))

    def create_bytes(self, path: Path, data: bytes) -> bool:
        """Like `create`, for a text that is no record."""
        self.reader.reopen(path.parent)
        made = files.in_folder(path.parent, lambda: files.create_bytes(path, data))
        self.reader.touch(path.parent)
        return made

    def replace(self, path: Path, record: object) -> None:
        """Write one of the few files that change."""
        self.reader.reopen(path.parent)
        files.in_folder(path.parent, lambda: files.replace(path, record))
        self.reader.touch(path.parent)

    def take_back(self, path: Path, elsewhere: Callable[[int], Path]) -> None:
        """Rename a file that no longer holds, if it is there."""
        self.reader.reopen(path.parent)
        if path.exists():
            files.set_aside(path, elsewhere)
        self.reader.touch(path.parent, taken_back=True)

    @functools.cached_property
    def config(self) -> Config:
        """The fixed configuration; live settings have their defaults here."""
        return msgspec.convert(self.facts.config, Config)

    def config_in_force(self) -> Config:
        """The fixed configuration with the live settings last written."""
        live = files.read_if_there(self.paths.live, dict[str, Any]) or {}
        return msgspec.convert(_merged(self.facts.config, live), Config)

    @property
    def manifest(self) -> RunManifest | None:
        """What the run started with. Raises `Damaged` when the file was changed."""
        return read_manifest(self.paths, self.facts.manifest)

    @property
    def name(self) -> str:
        return self.paths.folder.name

    def event(self, what: str, where: Path | None = None, detail: str = "") -> None:
        """Add a line for people and plots."""
        inside = where.relative_to(self.paths.folder).as_posix() if where is not None else ""
        files.append(self.paths.events, Event(time.time(), what, inside, detail))


def create_run(
    paths: RunPaths,
    sources: Sources,
    config: Mapping[str, Any],
    version: str,
    data: str,
    data_facts: Mapping[str, FileFact],
) -> Run:
    """Make a run folder. Copies the code first; run.json closes it."""
    with files.new_folder(paths.code) as code:
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
        (code / "baseline").mkdir()
        for path in sources.files:
            if not (sources.baseline / path).is_relative_to(sources.ideas):
                (code / "baseline" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(sources.baseline / path, code / "baseline" / path, follow_symlinks=False)
        if sources.ideas.is_dir():
            shutil.copytree(sources.ideas, code / "ideas", ignore=ignore)
        (code / "pipeline").mkdir()
        for name in JOB_CODE:
            source = sources.pipeline / name
            if source.is_dir():
                shutil.copytree(source, code / "pipeline" / name, ignore=ignore)
            else:
                shutil.copy2(source, code / "pipeline" / name)
        (code / "size.json").write_bytes(files.to_json(sources.size))
        digest = files.tree_hash(code)
        for file in code.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.chmod(0o444)
    files.replace(paths.manifest, RunManifest(code_hashes(paths.code), data_facts))
    manifest = content_hash(paths.manifest)
    files.create(paths.facts, Facts(FORMAT, config, version, digest, data, time.time(), manifest))
    return open_run(paths)


def half_made(paths: RunPaths) -> bool:
    """Whether a folder holds nothing but a lock and what a killed `create_run` leaves."""
    left = [path.name for path in (paths.code, paths.controller, paths.manifest, paths.derived)]
    return all(name in left or files.is_part(name) for name in os.listdir(paths.folder))


def open_run(paths: RunPaths) -> Run:
    """Open what `create_run` made. Raises `BadInput` when it is not a run of this format, `Damaged` when unreadable."""
    try:
        facts = files.read(paths.facts, Facts)
    except FileNotFoundError:
        raise BadInput(
            f"{paths.folder} is not a run folder (it has no run.json); name one, e.g. runs/NAME, or list them with: ls runs"
        ) from None
    if facts.format != FORMAT:
        raise BadInput(
            f"{paths.folder} has format {facts.format}, this version reads {FORMAT}; "
            f"use version {facts.version} of Groundwork, or start a new run"
        )
    return Run(paths, facts)


def claim(paths: TryPaths, job_id: str, node: str = "") -> bool:
    """Take a try for the calling process; false when somebody else has it."""
    return files.create(paths.claim, Claim(job_id, node or socket.gethostname(), os.getpid(), time.time()))


def void(paths: TryPaths) -> bool:
    """Take a try so that no job ever runs it; false when a job has it already."""
    return claim(paths, VOID)


def is_void(held: Claim) -> bool:
    """Whether `void` made this claim."""
    return held.job_id == VOID


def with_job_id(job: Job, job_id: str, now: float) -> Job:
    """A job with the cluster's id, once it is submitted."""
    return replace(job, job_id=job_id, submitted_at=job.submitted_at or now)


def _merged(fixed: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Two halves of a nested configuration as one."""
    merged = dict(fixed)
    for key, value in live.items():
        merged[key] = _merged(merged[key], value) if key in merged and isinstance(value, dict) else value
    return merged


def held_by(paths: RunPaths) -> str:
    """Who holds a run, as `pid 12 on node`; empty when nobody does."""
    holder = files.read_if_there(paths.controller, Holder)
    if holder is None or not holder.alive(time.time()):
        return ""
    return f"pid {holder.pid} on {holder.host}" + (f" in Slurm job {holder.job}" if holder.job else "")


@contextlib.contextmanager
def locked(paths: RunPaths, take_over: bool = False) -> Iterator["RunLock"]:
    """Lock a run for its only controller. Raises `CannotContinue` naming the holder when somebody else does."""
    lock = RunLock(paths)
    made = not paths.folder.exists()
    lock.take(take_over)
    try:
        yield lock
    finally:
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # nothing was put into it
                paths.folder.rmdir()


class RunLock:
    """The heartbeat of a controller."""

    def __init__(self, paths: RunPaths) -> None:
        self._path = paths.controller
        process = psutil.Process()
        self._me = Holder(
            getpass.getuser(),
            socket.gethostname(),
            process.pid,
            round(process.create_time() * 100),
            os.environ.get("SLURM_JOB_ID", ""),
            0.0,
        )

    def take(self, take_over: bool) -> None:
        mine = replace(self._me, at=time.time())
        files.make_folder(self._path.parent)
        if files.create(self._path, mine):
            return
        holder = files.read(self._path, Holder)
        if holder.alive(time.time()) and not take_over:
            where = held_by(RunPaths(self._path.parent))
            raise CannotContinue(
                f"{self._path.parent} is held by {holder.user}, {where}; watch it with "
                f"`python -m pipeline status {self._path.parent}`, stop that one, or add --take-over"
            )
        files.replace(self._path, mine)
        self._check()

    def beat(self) -> None:
        """Show a sign of life. Raises `CannotContinue` when another controller took over."""
        now = time.time()
        if now - self._me.at >= _BEAT_S:
            self._check()
            self._me = replace(self._me, at=now)
            files.replace(self._path, self._me)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError, CannotContinue):
            self._check()
            self._path.unlink()

    def _check(self) -> None:
        holder = files.read(self._path, Holder)
        if (holder.host, holder.pid, holder.started) != (self._me.host, self._me.pid, self._me.started):
            raise CannotContinue(
                f"{self._path.parent} was taken over by {holder.user}, pid {holder.pid} on {holder.host}"
            )
