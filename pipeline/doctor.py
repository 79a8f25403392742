"""Look whether a run would work here, before it is begun: one line for each thing, with its remedy."""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.assemble import cluster_for, data_path
from pipeline.cli import add_overrides, call, config_of, parser
from pipeline.cluster.base import Cluster, Phase, Request
from pipeline.cluster.slurm import SlurmCluster
from pipeline.compose import REPOSITORY, SITE, save_site
from pipeline.config import ClusterKind, Config, IdeateMaker, ImplementMaker, LlmKind
from pipeline.errors import BadInput, CannotGoOn, GroundworkError
from pipeline.llm.keys import find_key
from pipeline.stages.forecast import forecast
from pipeline.stages.probe import Question, Seen, look
from pipeline.store import files
from pipeline.store.data import check_data
from pipeline.store.paths import ProbePaths
from pipeline.store.quota import quota_of

_JOB_MIN = 5


@dataclass(frozen=True)
class Check:
    """One thing that a run needs."""

    name: str
    """What was looked at."""
    good: bool
    """Whether a run can go on with it."""
    words: str
    """What was seen; where it is not good, what to do about it."""


def main() -> None:
    """Entry point."""
    made = parser(
        "doctor",
        "Look whether a run with these settings would work: Slurm, its limits, the disk, data and keys here, and by a tiny "
        "job what a compute node sees. One line for each; a failure comes with its remedy. Exit code 1 if there is one.",
        "examples:\n  python -m pipeline.doctor +experiment=evolve_posttrain scale=small cluster.slurm.partition=gpu\n"
        "  python -m pipeline.doctor … --write      then: python -m pipeline.run cluster=site …",
    )
    add_overrides(made)
    made.add_argument("--wait-min", type=float, default=10, help="how long to wait for the job (default: 10)")
    made.add_argument(
        "--write", action="store_true", help=f"if all is well save the settings cluster.* as {SITE}/cluster/site.yaml"
    )
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Print as it is found out."""
    config = config_of(arguments)
    good = True
    for check in itertools.chain(here(config), there(config, 60 * arguments.wait_min)):
        good &= check.good
        print(f"{'ok  ' if check.good else 'FAIL'} {check.name}: {check.words}", flush=True)
    if arguments.write and good:
        print(f"saved {save_site(config)}; use it with cluster=site")
    elif arguments.write:
        print("nothing saved: mend what failed first", file=sys.stderr)
    return 0 if good else 1


def here(config: Config) -> Iterator[Check]:
    """What can be seen from where the controller will run."""
    try:
        digest = check_data(data_path(config), config.baseline.name, config.scale)
        yield Check("data", True, f"{data_path(config)}, hash {digest[:12]}")
    except BadInput as error:
        yield Check("data", False, str(error))
    asked = config.ideate.maker is IdeateMaker.llm or config.implement.maker is ImplementMaker.llm
    if asked and config.llm.kind is LlmKind.provider:
        try:
            key = find_key(config.llm, os.environ)
            yield Check("key", True, f"for {config.llm.model}" if key else f"{config.llm.model} needs none")
        except BadInput as error:
            yield Check("key", False, str(error))
    runs = Path(config.runs).resolve()
    most = forecast(config, config.cluster.max_parallel or 64)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        files.check_space(runs, most.disk_gb, most.files)
        free = shutil.disk_usage(runs).free / 1e9
        yield Check("disk", True, f"{runs}: {free:.0f} GB free, the run needs at most {most.disk_gb:.1f} GB")
        quota = quota_of(runs)
        if quota is not None:
            needed = f"{most.disk_gb:.1f} GB in {most.files:,} files"
            remedy = f"; the run may need {needed}; free some, or another place: runs=FOLDER"
            good = quota.has_room(most.disk_gb, most.files)
            yield Check("quota", good, quota.words() + ("" if good else remedy))
    except (CannotGoOn, OSError) as error:
        yield Check("disk", False, f"{error}; the whole run may need {most.disk_gb:.1f} GB; another place: runs=FOLDER")


def there(config: Config, wait_s: float) -> Iterator[Check]:
    """What Slurm and a compute node say."""
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
                full = cluster_for(config, look, REPOSITORY, paths.jobs, config.train.resources)
                assert isinstance(full, SlurmCluster)
                limits = full.limits()
                version = ".".join(map(str, limits.version))
                most = f"; you may have {limits.max_submit_jobs} jobs in the queue" if limits.max_submit_jobs else ""
                yield Check("slurm", True, f"version {version}, arrays of up to {limits.max_array_size}{most}")
                yield Check("a trial's job", True, full.would_start())
            yield from _compute_node(config, cluster, paths, wait_s)
        except GroundworkError as error:
            yield Check("jobs" if config.cluster.kind is ClusterKind.slurm else "this machine", False, str(error))


def _compute_node(config: Config, cluster: Cluster, paths: ProbePaths, wait_s: float) -> Iterator[Check]:
    (job,) = cluster.submit([Request(f"gw-doctor-{paths.folder.name[-8:]}", paths.folder)]).values()
    print(f"     waiting for job {job} …", flush=True)
    deadline, ended_at, words = time.monotonic() + wait_s, None, ""
    while not paths.seen.exists():
        status = cluster.poll([job])[job]
        words = status.words
        if status.phase is Phase.ENDED and ended_at is None:
            ended_at = time.monotonic()
        late = ended_at is not None and time.monotonic() - ended_at > 60  # a shared disk may show a file late
        if late or time.monotonic() > deadline:
            cluster.cancel([job])
            yield Check("shared disk", False, _no_answer(paths, job, words, ended_at is not None))
            return
        time.sleep(1)
    seen = files.read(paths.seen, Seen)
    yield Check("shared disk", True, f"{seen.node} writes where this machine reads ({paths.folder.parent})")
    needs = config.train.resources
    if needs.gpus_per_node:
        words = f"{seen.driver or 'no NVIDIA driver'}; torch {seen.torch or 'missing'} sees {seen.torch_gpus} GPUs"
        good = seen.torch_gpus >= needs.gpus_per_node
        remedy = (
            f" {seen.torch_error}; install the torch that fits the driver (make install TORCH=cu126, cu128 or site)"
        )
        yield Check("GPU", good, words if good else f"{words}.{remedy}")
        remedy = "no C++ compiler on PATH; load one with cluster.slurm.setup='[module load gcc]'"
        yield Check("compiler", bool(seen.compiler), seen.compiler or remedy)
    yield Check("scratch", True, seen.scratch)
    yield Check("sandbox", True, ", ".join(seen.sandbox) or "none works; variants are contained by limits only")
    yield Check("network", True, f"reaches {', '.join(seen.network)}" if seen.network else "none, and none is needed")


def _no_answer(paths: ProbePaths, job: str, words: str, ended: bool) -> str:
    logs = [files.tail(path, 3) for path in paths.jobs.rglob("*log.out")]
    if not ended:
        return f"job {job} did not start in time ({words}); wait longer with --wait-min 60"
    return (
        f"job {job} ended and left no file in {paths.folder.parent} ({words}); put runs= on a disk that compute nodes see. "
        f"Its log ends: {' '.join(' '.join(logs).split()) or 'it is empty'}"
    )


if __name__ == "__main__":
    main()
