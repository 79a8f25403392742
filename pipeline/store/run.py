"""One run: created once from a configuration, reopened by name, locked by one controller at a time."""

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
    *("__init__.py", "records.py", "metric.py", "config.py", "errors.py", "text.py", "likeness.py"),
    *("store", "llm", "patching", "cluster", "sandbox", "job", "rl"),
)
"""Parts of this program that run inside jobs: `job/`, `rl/` and the two floors below them."""


@dataclass(frozen=True)
class Facts:
    """Fixed facts about a run (run.json)."""

    format: int
    """Number of the run folder's format."""
    config: Mapping[str, Any]
    """The resolved configuration without live settings and without paths."""
    version: str
    """Version of Groundwork, with the commit if known."""
    code: str
    """Hash of `code/`."""
    data: str
    """Hash of the prepared data."""
    created_at: float
    """Seconds since 1970."""
    manifest: str = ""
    """Hash of manifest.json; empty for a run that was created without one."""


@dataclass(frozen=True)
class Sources:
    """Sources of a new run's `code/`."""

    baseline: Path
    """Folder of the baseline."""
    files: Sequence[str]
    """Its code, as paths relative to its folder."""
    ideas: Path
    """Folder of its idea bank; may be missing. It is not part of a variant."""
    pipeline: Path
    """Folder of this program."""
    size: Mapping[str, Any]
    """Written to size.json for the baseline's commands."""


@dataclass(frozen=True)
class Holder:
    """The controller that holds a run (controller.json)."""

    user: str
    host: str
    pid: int
    started: int
    """Start time of the process in hundredths of a second since 1970; distinguishes processes with the same pid."""
    job: str
    """Slurm job the controller runs in, or empty."""
    at: float
    """Last heartbeat, seconds since 1970."""

    def alive(self, now: float) -> bool:
        """Whether the holder may still be running."""
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
        """Declare that this process holds the lock: from now on it alone adds to the run."""
        self.reader = Reader(self.paths, controller=True)

    def create(self, path: Path, record: object) -> bool:
        """Add a file to the run; false if it exists already. Raises `CannotContinue` if it cannot be written."""
        return self.create_bytes(path, files.to_json(record))

    def create_bytes(self, path: Path, data: bytes) -> bool:
        """Like `create`, for bytes."""
        self.reader.reopen(path.parent)
        made = files.in_folder(path.parent, lambda: files.create_bytes(path, data))
        self.reader.touch(path.parent)
        return made

    def replace(self, path: Path, record: object) -> None:
        """Write one of the few files that change, replacing it if it exists."""
        self.reader.reopen(path.parent)
        files.in_folder(path.parent, lambda: files.replace(path, record))
        self.reader.touch(path.parent)

    def take_back(self, path: Path, elsewhere: Callable[[int], Path]) -> None:
        """Rename a file that is no longer valid, if it exists."""
        self.reader.reopen(path.parent)
        if path.exists():
            files.set_aside(path, elsewhere)
        self.reader.touch(path.parent, taken_back=True)

    @functools.cached_property
    def config(self) -> Config:
        """The fixed configuration, with live settings at their defaults."""
        return msgspec.convert(self.facts.config, Config)

    def config_in_force(self) -> Config:
        """The fixed configuration with the latest live settings."""
        live = files.read_if_there(self.paths.live, dict[str, Any]) or {}
        return msgspec.convert(_merged(self.facts.config, live), Config)

    @property
    def manifest(self) -> RunManifest | None:
        """Hashes of the code and data that the run started with; none for a run created without them. Raises `Damaged`
        if the manifest was changed."""
        return read_manifest(self.paths, self.facts.manifest)

    @property
    def name(self) -> str:
        return self.paths.folder.name

    def event(self, what: str, where: Path | None = None, detail: str = "") -> None:
        """Append an event, for users and plots."""
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
    """Create a run folder. Copies the code first; run.json closes it."""
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
    """Whether a folder holds nothing but a lock and the files that a killed `create_run` leaves."""
    left = [path.name for path in (paths.code, paths.controller, paths.manifest, paths.derived)]
    return all(name in left or files.is_part(name) for name in os.listdir(paths.folder))


def open_run(paths: RunPaths) -> Run:
    """Open a run made by `create_run`. Raises `BadInput` if the folder is not a run of this format, `Damaged` if
    run.json is unreadable."""
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
    """Claim a try for the calling process; false if it is claimed already."""
    return files.create(paths.claim, Claim(job_id, node or socket.gethostname(), os.getpid(), time.time()))


def void(paths: TryPaths) -> bool:
    """Claim a try so that no job ever runs it; false if a job has claimed it already."""
    return claim(paths, VOID)


def is_void(held: Claim) -> bool:
    """Whether `void` made this claim."""
    return held.job_id == VOID


def with_job_id(job: Job, job_id: str, now: float) -> Job:
    """A submitted job with the cluster's id."""
    return replace(job, job_id=job_id, submitted_at=job.submitted_at or now)


def _merged(fixed: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Fixed and live settings merged into one nested configuration."""
    merged = dict(fixed)
    for key, value in live.items():
        merged[key] = _merged(merged[key], value) if key in merged and isinstance(value, dict) else value
    return merged


def held_by(paths: RunPaths) -> str:
    """The holder of a run, e.g. `pid 12 on node`; empty if there is none."""
    holder = files.read_if_there(paths.controller, Holder)
    if holder is None or not holder.alive(time.time()):
        return ""
    return f"pid {holder.pid} on {holder.host}" + (f" in Slurm job {holder.job}" if holder.job else "")


@contextlib.contextmanager
def locked(paths: RunPaths, take_over: bool = False) -> Iterator["RunLock"]:
    """Lock a run for its only controller. Raises `CannotContinue` naming the holder if another controller holds it."""
    lock = RunLock(paths)
    made = not paths.folder.exists()
    lock.take(take_over)
    try:
        yield lock
    finally:
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # not empty if anything was written
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
                f"`python -m pipeline status {self._path.parent}`, stop that controller, or add --take-over"
            )
        files.replace(self._path, mine)
        self._check()

    def beat(self) -> None:
        """Renew the heartbeat. Raises `CannotContinue` if another controller took over."""
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
