"""What all commands share: what a person typed, and errors in one line."""

from pathlib import Path

import pytest

from pipeline.commands.terminal import typed_program

HOME = "/home/me/groundwork"
MINE = f"{HOME}/.venv/bin"


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        pytest.param(["python", "-m", "pipeline.run", "a=1"], ["python", "-m", "pipeline.run"], id="run"),
        pytest.param(["python3.12", "-m", "pipeline", "run"], ["python3.12", "-m", "pipeline.run"], id="pipeline run"),
        pytest.param([".venv/bin/python", "-m", "pipeline.run"], [".venv/bin/python", "-m", "pipeline.run"], id="make"),
        pytest.param([f"{MINE}/python", "-m", "pipeline.run"], [".venv/bin/python", "-m", "pipeline.run"], id="inside"),
        pytest.param(
            ["/usr/bin/python", "-m", "pipeline.run"], ["/usr/bin/python", "-m", "pipeline.run"], id="elsewhere"
        ),
        pytest.param(["python", "-u", "-m", "pipeline.run"], ["python", "-u", "-m", "pipeline.run"], id="options"),
        pytest.param([f"{MINE}/python", f"{MINE}/groundwork", "run"], [".venv/bin/groundwork", "run"], id="script"),
        pytest.param(["/opt/python", "/opt/bin/groundwork", "run"], ["groundwork", "run"], id="script on PATH"),
        pytest.param(["python", "-c", "import pipeline"], ["python", "-m", "pipeline.run"], id="none of these"),
    ],
)
def test_the_program_is_named_as_it_was_typed(
    argv: list[str], wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that was the working directory, with `/opt/bin` on PATH."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/groundwork").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    there = {HOME: str(tmp_path), "/opt/bin/": f"{tmp_path}/bin/"}
    for old, new in there.items():
        argv = [word.replace(old, new) for word in argv]
    assert typed_program("run", argv) == wanted
