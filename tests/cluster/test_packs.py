"""Several trials in one job: which ones share it, the resources of each, and that the end of one does not end the
others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster.base import JobStatus, Phase, Request, Work
from pipeline.cluster.packs import needs_of_pack, packed, shares
from pipeline.cluster.slurm import SlurmCluster
from pipeline.cluster.slurm_waves import Wave
from pipeline.config import ClusterConfig, SlurmConfig
from pipeline.errors import BadInput
from pipeline.job.trial import DATA_VARIABLE
from pipeline.records import FailureKind, Job, Resources, Result, Stage
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.store import files
from tests.slurm_cluster import jobs
from tests.slurm_cluster.cluster import DevCluster
from tests.slurm_cluster.waiting import wait_for
from tests.toy import baseline, train_with

pytest_plugins = ["tests.slurm_cluster.fixture"]
REPOSITORY = Path(__file__).parents[2]
PAIRS = ("a,b", "c,d", "e,f", "g,h")


@pytest.mark.parametrize(
    ("items", "size", "expected"),
    [
        ("aaaaa", 2, ["aa", "aa", "a"]),
        ("abab", 2, ["aa", "bb"]),
        ("aabaa", 4, ["aaaa", "b"]),
        ("bac", 8, ["b", "a", "c"]),
        ("aaa", 1, ["a", "a", "a"]),
        ("", 4, []),
    ],
)
def test_only_trials_of_the_same_kind_share_a_job(items: str, size: int, expected: list[str]) -> None:
    packs = ["".join(pack) for pack in packed(items, str, size)]
    assert packs == expected
    assert ["".join(pack) for pack in packed("".join(packs), str, size)] == expected  # the same if packed again


def test_a_pack_requests_what_its_members_need() -> None:
    one = Resources(1, 2, 8, 32.0, 60)
    assert needs_of_pack(one, 4, 0.5) == Resources(1, 8, 32, 129.5, 60)
    assert needs_of_pack(one, 1, 0.5) == one
    with pytest.raises(BadInput, match=r"cluster\.pack=2 .* a trial requires 2 \(train\.resources\.nodes\)"):
        needs_of_pack(Resources(nodes=2), 2, 0.5)


@pytest.mark.parametrize(
    ("variables", "gpus", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 1, [{"CUDA_VISIBLE_DEVICES": str(k)} for k in range(4)]),
        ({"CUDA_VISIBLE_DEVICES": "a,b,c,d,e,f,g,h"}, 2, [{"CUDA_VISIBLE_DEVICES": x} for x in PAIRS]),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5,6,7", "GPU_DEVICE_ORDINAL": "0,1,2,3"},
            1,
            [{"ROCR_VISIBLE_DEVICES": str(k + 4), "GPU_DEVICE_ORDINAL": str(k)} for k in range(4)],
        ),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 0, [{}] * 4),
        ({}, 0, [{}] * 4),
    ],
)  # fmt: skip
def test_each_member_has_gpus_of_its_own(variables: dict[str, str], gpus: int, expected: list[dict[str, str]]) -> None:
    assert [dict(share.environment) for share in shares(variables, (), Resources(1, gpus), 4)] == expected


@pytest.mark.parametrize("variables", [{}, {"CUDA_VISIBLE_DEVICES": "0,1,2"}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_a_job_with_too_few_gpus_runs_no_pack(variables: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"a pack of 4 needs 4 GPUs, .* lower cluster\.pack"):
        shares(variables, (), Resources(1, 1), 4)


@pytest.mark.parametrize(
    ("cpus", "allocated", "expected"),
    [
        ([0, 4, 1, 5], "4", [(0, 4), (1, 5)]),
        ([7, 8, 9, 10, 11, 12], "6", [(7, 8), (9, 10)]),
        ([0, 1, 2, 3], "2", [(), ()]),  # not confined: these are the cores of the node, which other jobs use
        ([0, 1], "2", [(), ()]),  # fewer than requested: the node claims more than it has
        ([0, 1, 2, 3], "", [(), ()]),
    ],
)
def test_each_member_has_cores_of_its_own_if_its_job_has(
    cpus: list[int], allocated: str, expected: list[tuple[int, ...]]
) -> None:
    found = shares({"SLURM_CPUS_ON_NODE": allocated}, cpus, Resources(cpus_per_task=2), 2)
    assert [share.cpus for share in found] == expected


def test_a_wave_records_the_members_of_its_tasks(tmp_path: Path) -> None:
    requests = [Request(f"gw-{name}", tmp_path / name) for name in "abc"]
    wave = Wave.create(tmp_path / "jobs", [requests[:2], requests[2:]], 2)
    assert Wave.read(wave.folder) == wave and list(Wave.all_in(tmp_path / "jobs")) == [wave]
    assert wave.job_ids("7") == {"gw-a": "7_0.0", "gw-b": "7_0.1", "gw-c": "7_1.0"}
    assert wave.pack("7_0") == ["7_0.0", "7_0.1"] and wave.pack("7_1") == ["7_1.0"]
    assert Wave.create(tmp_path / "jobs", [requests], 3).job_ids("7") == {
        "gw-a": "7.0",
        "gw-b": "7.1",
        "gw-c": "7.2",
    }


RUN = """
import sys
from pipeline.cluster.packs import Pack
from pipeline.job.trial import run_try
from pipeline.records import Resources
Pack(run_try, Resources(cpus_per_task=1), 2)(*sys.argv[1:])
"""


def test_a_trial_over_its_time_ends_alone_in_a_pack_without_gpus(tmp_path: Path, toy_data: Path) -> None:
    """The process of a job that holds two trainings of the toy, started as Slurm starts it."""
    slow = train_with(step="if arguments.seed == 1: __import__('time').sleep(60)")
    conf = baseline(tmp_path, {"train.py": slow})
    given = ("baseline=toy", "scale=tiny", "run=r", f"runs={tmp_path}", "train.sandbox=none", "train.limit_min=0.2")
    run, _ = open_or_create(compose_config([*given, f"data={toy_data}"], conf))
    tries = [run.paths.baseline.trial(seed).try_(0) for seed in range(2)]
    for seed, one in enumerate(tries):
        one.folder.mkdir(parents=True)
        files.create(one.job, Job(f"gw-{seed}", seed, "validation"))
    extra = {"SLURM_JOB_ID": "7", DATA_VARIABLE: str(toy_data / "toy/tiny"), "PYTHONPATH": str(REPOSITORY)}
    arguments = [sys.executable, "-c", RUN, *(str(one.folder) for one in tries)]
    subprocess.run(arguments, cwd=tmp_path, env={**os.environ, **extra}, check=True, timeout=120)
    good, over = (files.read(one.result, Result) for one in tries)
    assert good.score is not None and good.failure is None
    assert over.failure is not None and (over.failure.stage, over.failure.kind) == (Stage.TRAIN, FailureKind.TIMEOUT)
    assert good.ended_at < over.ended_at
    ends = {path.name: path.read_text() for path in tmp_path.glob("*.over")}
    assert ends == dict.fromkeys(("7.0.over", "7.1.over"), "ended with exit code 0")


class Desk:
    """A cluster with two trials per job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cluster(self, function: object = jobs.stay) -> SlurmCluster:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        needs = Resources(1, 1, 1, 0.3, 10)
        work = Work(function, REPOSITORY, self.folder / "jobs", needs, environment)  # type: ignore[arg-type]
        return SlurmCluster(work, ClusterConfig(max_parallel=8, pack=2, slurm=SlurmConfig(query_s=0)))

    def requests(self, *names: str, kind: str = "") -> list[Request]:
        made = [Request(f"gw-{self.folder.name}-{name}", self.folder / name, kind) for name in names]
        for request in made:
            request.folder.mkdir()
        return made


@pytest.fixture
def desk(slurm_environment: DevCluster, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)
    for wave in (tmp_path / "jobs").glob("*"):
        slurm_environment.run("scancel", f"--name={wave.name}")


def seen(request: Request) -> dict[str, object]:
    wait_for((request.folder / "seen.json").exists)
    read: dict[str, object] = json.loads((request.folder / "seen.json").read_text())
    return read


def status(cluster: SlurmCluster, job: str) -> JobStatus:
    return cluster.poll([job])[job]


def test_members_of_a_pack_run_and_end_independently(desk: Desk, slurm_environment: DevCluster) -> None:
    """One array task, two trials; cancelling one, or killing one, leaves the rest running."""
    cluster = desk.cluster()
    first, second, _ = requests = desk.requests("first", "second", "third")
    taken = cluster.submit(requests)
    ids = [taken[request.name] for request in requests]
    found = [seen(request) for request in requests]
    assert [one["job"] for one in found] == ids
    assert len({job.partition(".")[0] for job in ids}) == 2 and [job[-2:] for job in ids] == [".0", ".1", ".0"]
    gpus = [one["environment"]["CUDA_VISIBLE_DEVICES"] for one in found]  # type: ignore[index]
    assert len(gpus[0]) == len(gpus[1]) == 1 and gpus[0] != gpus[1]
    assert dict(desk.cluster().find([second.name])) == {second.name: ids[1]}

    cluster.cancel([ids[0]])
    wait_for(lambda: status(cluster, ids[0]).phase is Phase.ENDED)
    assert (first.folder / "told").exists()
    assert status(cluster, ids[0]).reason == "ended with exit code 0"
    assert status(cluster, ids[1]).phase is Phase.RUNNING and not (second.folder / "told").exists()

    slurm_environment.run("scancel", ids[2].partition(".")[0])  # the job of the third, and its content
    wait_for(lambda: status(cluster, ids[2]).phase is Phase.ENDED)
    assert status(cluster, ids[2]).fault is FailureKind.CANCELLED
    cluster.cancel(ids)
    wait_for(lambda: all(one.phase is Phase.ENDED for one in desk.cluster().poll(ids).values()))
    wait_for(lambda: len(cluster.usage(ids)) == 3)
    used = cluster.usage(ids)
    assert used[ids[0]] == used[ids[1]] > 0  # they share the usage of their job
    assert used[ids[2]] % 2 == 0  # alone, with an empty place beside it


def test_a_member_that_fails_ends_no_other(desk: Desk) -> None:
    cluster = desk.cluster(jobs.fail_or_stay)
    bad, good = desk.requests("bad", "good")
    taken = cluster.submit([bad, good])
    seen(bad)
    seen(good)
    wait_for(lambda: status(cluster, taken[bad.name]).phase is Phase.ENDED)
    ended = status(cluster, taken[bad.name])
    assert (ended.reason, ended.last_line) == ("ended with exit code 1", "RuntimeError: this job fails")
    assert status(cluster, taken[good.name]).phase is Phase.RUNNING
