"""One toy run for all tests of this folder."""

from pathlib import Path

import pytest

from tests.analysis.finished_run import finished_run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Path:
    """The folder of a finished run. Never changed; tests that change something copy it."""
    return finished_run(tmp_path_factory.getbasetemp() / "finished", toy_data)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of tests stay out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
