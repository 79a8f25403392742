"""A toy run shared by all tests of this folder."""

from pathlib import Path

import pytest

from tests.analysis.finished_run import finished_run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Path:
    """The folder of a finished run. It is never modified; tests that modify it make a copy."""
    return finished_run(tmp_path_factory.getbasetemp() / "finished", toy_data)
