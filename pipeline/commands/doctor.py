"""Check before a run whether it would work here: one line per check, with a remedy for each failure."""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.cluster.base import Cluster, Phase, Request
from pipeline.cluster.slurm import SlurmCluster
from pipeline.commands.checks import Check, Finding, check
from pipeline.commands.terminal import add_overrides, call, config_of, parser
from pipeline.config import Config, Part
from pipeline.errors import BadInput, CannotContinue, GroundworkError
from pipeline.job.probe import Question, Seen, look
from pipeline.llm.requests import shown_parameters
from pipeline.llm.roles import Role
from pipeline.policy.forecast import forecast
from pipeline.setup.build import cluster_for, data_hash, data_path, find_keys, roles_of
from pipeline.setup.compose import save_site
from pipeline.setup.folders import REPOSITORY, SITE
from pipeline.store import files
from pipeline.store.paths import ProbePaths
from pipeline.store.quota import quota_of

_JOB_MIN = 5


def main() -> None:
    """Entry point."""
    made = parser(
        "doctor",
        "Check whether a run with these settings would work: Slurm, its limits, disk, data and keys on this machine, and a "
        "compute node, by a tiny job. One line per check; each failure comes with a remedy. Exit code 1 if a check fails.",
        "examples:\n  python -m pipeline doctor +experiment=evolve_posttrain scale=small cluster.slurm.partition=gpu\n"
        "  python -m pipeline doctor … --write      then: python -m pipeline.run cluster=site …",
    )
    add_overrides(made)
    made.add_argument("--wait-min", type=float, default=10, help="how long to wait for the job, minutes (default: 10)")
    made.add_argument(
        "--write",
        action="store_true",
        help=f"if no check fails, save the settings cluster.* to {SITE}/cluster/site.yaml",
    )
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Print each check as it completes."""
    config = config_of(arguments)
    good = True
    for one in itertools.chain(here(config), there(config, 60 * arguments.wait_min)):
        good &= one.finding is not Finding.FAILED
        print(f"{one.finding:4} {one.name}: {one.text}", flush=True)
    if arguments.write and good:
        print(f"saved {save_site(config)}; use it with cluster=site")
    elif arguments.write:
        print("nothing saved: fix the failures first", file=sys.stderr)
    return 0 if good else 1


def _models(config: Config) -> list[str]:
    """One line for each model in use: its key and its request parameters. Raises `BadInput` for a missing key."""
    keys, settings = find_keys(config), roles_of(config)
    lines: dict[str, list[str]] = {}
    for role, key in keys.items():
        model = f"for {settings[role].model}" if key else f"{settings[role].model} requires none"
        shown = "embeddings" if role == Role.EMBEDDER else f"requests with {shown_parameters(settings[role])}"
        lines.setdefault(f"{model}; {shown}", []).append(role)
    return [line if len(lines) == 1 else f"{', '.join(roles)}: {line}" for line, roles in lines.items()]


def here(config: Config) -> Iterator[Check]:
    """Checks on this machine, where the controller will run."""
    try:
        digest = data_hash(config)
        yield check("data", True, f"{data_path(config)}, hash {digest[:12]}")
    except BadInput as error:
        yield check("data", False, str(error))
    try:
        for line in _models(config):
            yield check("key", True, line)
    except BadInput as error:
        yield check("key", False, str(error))
    runs = Path(config.runs).resolve()
    most = forecast(config, config.cluster.max_parallel or 64)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        files.check_space(runs, most.disk_gb, most.files)
        free = shutil.disk_usage(runs).free / 1e9
        yield check("disk", True, f"{runs}: {free:.0f} GB free, the run needs at most {most.disk_gb:.1f} GB")
        quota = quota_of(runs)
        if quota is not None:
            needed = f"{most.disk_gb:.1f} GB in {most.files:,} files"
            remedy = f"; the run may need {needed}; free some space, or use another disk: runs=FOLDER"
            good = quota.has_room(most.disk_gb, most.files)
            yield check("quota", good, quota.text() + ("" if good else remedy))
    except (CannotContinue, OSError) as error:
        yield check("disk", False, f"{error}; the run may need {most.disk_gb:.1f} GB; use another disk: runs=FOLDER")


def there(config: Config, wait_s: float) -> Iterator[Check]:
    """Checks of Slurm and of a compute node."""
    runs = Path(config.runs).resolve()
    if not runs.is_dir():
        return
    small = replace(config.train.resources, time_min=_JOB_MIN)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=runs, ignore_cleanup_errors=True) as made:
        paths = ProbePaths(Path(made))
        question = Question(config.baseline.interpreter or sys.executable, small.gpus_per_node)
        files.create(paths.question, question)
        try:
            cluster = cluster_for(config, look, REPOSITORY, paths.jobs, small)
            if isinstance(cluster, SlurmCluster):
                full = cluster_for(config, look, REPOSITORY, paths.jobs, config.train.resources, config.cluster.pack)
                assert isinstance(full, SlurmCluster)
                limits = full.limits()
                version = ".".join(map(str, limits.version))
                most = f"; up to {limits.max_submit_jobs} jobs in the queue" if limits.max_submit_jobs else ""
                yield check("slurm", True, f"version {version}, arrays of up to {limits.max_array_size}{most}")
                yield check("a trial's job", True, full.would_start())
            yield from _compute_node(config, cluster, paths, wait_s)
        except GroundworkError as error:
            yield check("jobs" if config.cluster.unattended else "this machine", False, str(error))


def _compute_node(config: Config, cluster: Cluster, paths: ProbePaths, wait_s: float) -> Iterator[Check]:
    (job,) = cluster.submit([Request(f"gw-doctor-{paths.folder.name[-8:]}", paths.folder)]).values()
    print(f"     waiting for job {job} …", flush=True)
    deadline, ended_at, reason = time.monotonic() + wait_s, None, ""
    while not paths.seen.exists():
        status = cluster.poll([job])[job]
        reason = status.reason
        if status.phase is Phase.ENDED and ended_at is None:
            ended_at = time.monotonic()
        late = ended_at is not None and time.monotonic() - ended_at > 60  # a shared disk may show a file late
        if late or time.monotonic() > deadline:
            cluster.cancel([job])
            yield check("shared disk", False, _no_answer(paths, job, reason, ended_at is not None))
            return
        time.sleep(1)
    seen = files.read(paths.seen, Seen)
    yield check("shared disk", True, f"{seen.node} writes to {paths.folder.parent}, and this machine reads it")
    needs = config.train.resources
    if needs.gpus_per_node:
        reason = f"{seen.driver or 'no NVIDIA driver'}; torch {seen.torch or 'missing'} sees {seen.torch_gpus} GPUs"
        good = seen.torch_gpus >= needs.gpus_per_node
        remedy = (
            f" {seen.torch_error}; install the torch that fits the driver (make install TORCH=cu126, cu128 or site)"
        )
        yield check("GPU", good, reason if good else f"{reason}.{remedy}")
        remedy = "no C++ compiler on PATH; load one with cluster.slurm.setup='[module load gcc]'"
        yield check("compiler", bool(seen.compiler), seen.compiler or remedy)
    yield check("scratch", True, seen.scratch)
    yield _sandbox(config.train.sandbox, seen.sandbox)
    yield check(
        "network", True, f"reaches {', '.join(seen.network)}" if seen.network else "no access, and trials need none"
    )


def _sandbox(part: Part, seen: Mapping[str, str]) -> Check:
    """The sandbox available on the node, and why stronger kinds are not."""
    broken = [f"no {kind}: {reason}" for kind, reason in seen.items() if reason]
    named = str(part["_target_"]).rpartition(".")[2].lower()
    if named == "auto":
        chosen = next(
            (kind for kind, reason in seen.items() if not reason), "none, so that a variant can forge its score"
        )
        return check("sandbox", True, "; ".join([chosen, *broken]))
    reason = seen.get(named, "")
    return check("sandbox", not reason, f"{named}: {reason}; use train.sandbox=auto" if reason else named)


def _no_answer(paths: ProbePaths, job: str, reason: str, ended: bool) -> str:
    logs = [files.tail(path, 3) for path in paths.jobs.rglob("*log.out")]
    if not ended:
        return f"job {job} did not start in time ({reason}); wait longer with --wait-min 60"
    return (
        f"job {job} ended without a file in {paths.folder.parent} ({reason}); set runs= to a disk that compute nodes share. "
        f"End of its log: {' '.join(' '.join(logs).split()) or 'empty'}"
    )
