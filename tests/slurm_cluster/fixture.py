"""The dev cluster for tests: `slurm_cluster` (the cluster itself) and `slurm_environment` (this process uses it).

Slurm tests run with DEV_CLUSTER=1 and are visibly skipped without it. With it, a cluster that does not start is an
error, never a skip: otherwise a broken cluster would look like a passing test run. A test file loads them with
`pytest_plugins = ["tests.slurm_cluster.fixture"]`.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

import pytest

from tests.slurm_cluster.cluster import DevCluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[DevCluster]:
    """A running cluster. One that was already running is kept; one that tests started is stopped after the last of
    them."""
    if os.environ.get("DEV_CLUSTER") != "1":
        pytest.skip("no Slurm started: DEV_CLUSTER=1 runs these tests on a real one (tests/slurm_cluster)")
    cluster = DevCluster()
    cluster.folder.mkdir(parents=True, exist_ok=True)
    started_by_tests = cluster.folder / "started_by_tests"
    with (cluster.folder / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # released when this test run ends for any reason
        if not cluster.is_up():
            started_by_tests.touch()
            cluster.up()
        yield cluster
        # Two test runs may share the cluster: only the last one can lock the file exclusively.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if started_by_tests.exists():
                cluster.down()
                started_by_tests.unlink()


@pytest.fixture
def slurm_environment(slurm_cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> DevCluster:
    """For tests that call Slurm from this process, as submitit does: SLURM_CONF is set, the caller's SLURM_* are
    removed."""
    wanted = slurm_cluster.environment()
    for name in set(os.environ) - set(wanted):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", wanted["SLURM_CONF"])
    return slurm_cluster
