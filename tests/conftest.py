"""Shared by the tests of several rooms. Helpers are in `tests/toy.py`."""

import os
from pathlib import Path

import pytest

from pipeline.sandbox import bubblewrap
from tests.debian import installed
from tests.toy import CONF, Bench, program


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (`make test`) all tests of a file run on the same one, for its fixtures, and so do all that
    use the one Slurm of this machine. The latter take longest, so they begin first."""

    def on_slurm(item: pytest.Item) -> bool:
        return "slurm_cluster" in getattr(item, "fixturenames", ()) or item.path.parent.name == "cluster"

    items.sort(key=on_slurm, reverse=True)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("slurm" if on_slurm(item) else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _bubblewrap() -> None:
    """Installed before anything asks which sandbox is the strongest: the answer is kept."""
    if os.environ.get("DEV_CLUSTER") == "1":
        assert not bubblewrap.trouble.cache_info().currsize, "the import of a test module asks for it"
        installed("bwrap", "bubblewrap")


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's prepared data, shared by all runs."""
    data = tmp_path_factory.mktemp("data")
    program("prepare", "--config-dir", str(CONF), "baseline=toy", "scale=tiny", f"data={data}").ok()
    return data


@pytest.fixture
def bench(tmp_path: Path, toy_data: Path) -> Bench:
    """A place for runs of the toy."""
    return Bench(tmp_path / "runs", toy_data)
