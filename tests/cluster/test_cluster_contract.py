"""The contract of `pipeline/cluster/base.py`, tested for every cluster. A new cluster is added to `CLUSTERS`, and
nothing else changes; a new promise is first written here and then kept by all."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cluster.base import Cluster, Phase, Request, Work
from pipeline.cluster.local import LocalCluster
from pipeline.cluster.slurm import SlurmCluster
from pipeline.config import ClusterConfig, SlurmConfig
from pipeline.records import FailureKind, Resources
from tests.slurm_cluster import jobs
from tests.slurm_cluster.waiting import wait_for

pytest_plugins = ["tests.slurm_cluster.fixture"]

REPOSITORY = Path(__file__).parents[2]
CLUSTERS: dict[str, Callable[[Work, Callable[[], float]], Cluster]] = {
    "local": lambda work, clock: LocalCluster(work, ClusterConfig(max_parallel=4)),
    "slurm": lambda work, clock: SlurmCluster(work, ClusterConfig(max_parallel=4, slurm=SlurmConfig(query_s=0)), clock),
}


class Desk:
    """A cluster and a folder to work in."""

    def __init__(self, make: Callable[[Work, Callable[[], float]], Cluster], folder: Path) -> None:
        self.make = make
        self.folder = folder
        self.jobs: dict[str, Cluster] = {}

    def cluster(self, function: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> Cluster:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "ALLOWED": "a 'quoted' value"}
        folder = self.folder / "jobs"
        return self.make(Work(function, REPOSITORY, folder, Resources(mem_gb=0.5, time_min=10), environment), clock)

    def requests(self, *names: str) -> list[Request]:
        made = [Request(f"gw-{self.folder.name}-{name}", self.folder / name) for name in names]
        for request in made:
            request.folder.mkdir()
        return made

    def submit(self, cluster: Cluster, requests: list[Request]) -> dict[str, str]:
        taken = dict(cluster.submit(requests))
        self.jobs |= dict.fromkeys(taken.values(), cluster)
        return taken


@pytest.fixture(params=CLUSTERS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "slurm":
        request.getfixturevalue("slurm_environment")
    desk = Desk(CLUSTERS[request.param], tmp_path)
    yield desk
    for job, cluster in desk.jobs.items():
        cluster.cancel([job])
    for job, cluster in desk.jobs.items():  # until then a local cluster has children to reap
        wait_for(lambda job=job, cluster=cluster: phase(cluster, job) is Phase.ENDED)


def seen(request: Request) -> dict[str, object]:
    path = request.folder / "seen.json"
    wait_for(path.exists)
    read: dict[str, object] = json.loads(path.read_text())
    return read


def phase(cluster: Cluster, job: str) -> Phase:
    return cluster.poll([job])[job].phase


def test_a_wave_runs_every_request_once_in_its_own_folder(desk: Desk) -> None:
    cluster = desk.cluster(jobs.report)
    requests = desk.requests("one", "two", "three")
    taken = desk.submit(cluster, requests)
    assert set(taken) == {request.name for request in requests}
    assert len(set(taken.values())) == 3
    for request in requests:
        assert seen(request)["folder"] == str(request.folder)
    wait_for(lambda: all(phase(cluster, job) is Phase.ENDED for job in taken.values()))
    for request in requests:
        assert (request.folder / "starts").read_text().split() == [taken[request.name]]


def test_a_single_request_has_its_own_id(desk: Desk) -> None:
    (request,) = desk.requests("alone")
    taken = desk.submit(desk.cluster(jobs.report), [request])
    assert seen(request)["job"] == taken[request.name]


def test_the_environment_is_the_allow_list_and_nothing_of_the_caller(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "secret")
    monkeypatch.setenv("ALLOWED", "not this one")
    (request,) = desk.requests("alone")
    desk.submit(desk.cluster(jobs.report), [request])
    found = seen(request)
    environment, path = found["environment"], found["path"]
    assert isinstance(environment, dict) and isinstance(path, list)
    assert "FAKE_API_KEY" not in environment
    assert environment["ALLOWED"] == "a 'quoted' value"
    assert path[0] == str(REPOSITORY)  # the code, not the working directory
    assert os.environ["FAKE_API_KEY"] == "secret"  # the caller's environment is unchanged


def test_a_job_changes_from_running_to_ended_also_for_another_controller(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    (request,) = desk.requests("long")
    job = desk.submit(cluster, [request])[request.name]
    seen(request)
    assert phase(cluster, job) is Phase.RUNNING
    assert phase(desk.cluster(jobs.stay), job) is Phase.RUNNING
    cluster.cancel([job])
    wait_for(lambda: phase(cluster, job) is Phase.ENDED)
    assert (request.folder / "told").exists()


def test_only_the_named_jobs_are_cancelled_and_unknown_ones_ignored(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    first, second = desk.requests("first", "second")
    taken = desk.submit(cluster, [first, second])
    seen(first)
    seen(second)
    cluster.cancel([taken[first.name], "999999"])
    wait_for(lambda: phase(cluster, taken[first.name]) is Phase.ENDED)
    assert phase(cluster, taken[second.name]) is Phase.RUNNING
    assert not (second.folder / "told").exists()


def test_a_job_that_fails_has_ended(desk: Desk) -> None:
    cluster = desk.cluster(jobs.fail)
    (request,) = desk.requests("bad")
    job = desk.submit(cluster, [request])[request.name]
    seen(request)
    wait_for(lambda: phase(cluster, job) is Phase.ENDED)


def test_an_unknown_id_is_eventually_vanished(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay, clock=lambda: 100 * time.monotonic())
    first = cluster.poll(["999999"])["999999"]
    assert first.phase is not Phase.PENDING and first.reason
    wait_for(lambda: phase(cluster, "999999") is Phase.ENDED, 20)
    status = cluster.poll(["999999"])["999999"]
    assert status.fault is FailureKind.VANISHED and status.reason


def test_an_id_without_accounts_has_no_known_usage(desk: Desk) -> None:
    assert dict(desk.cluster(jobs.stay).usage(["999999"])) == {}


def test_empty_requests_give_empty_answers(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    assert dict(cluster.submit([])) == {} and dict(cluster.poll([])) == {} and dict(cluster.find([])) == {}
    assert dict(cluster.usage([])) == {}
    cluster.cancel([])


def test_find_returns_the_right_id_or_none(desk: Desk) -> None:
    cluster = desk.cluster(jobs.stay)
    first, second = desk.requests("first", "second")
    taken = desk.submit(cluster, [first, second])
    found = desk.cluster(jobs.stay).find([second.name, "gw-of-nobody"])
    assert dict(found) in ({}, {second.name: taken[second.name]})
    assert cluster.slots() == 4
