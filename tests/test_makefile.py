"""Every target of the Makefile, in a checkout without an environment, consists of commands that a shell can read."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.toy import ROOT

TARGETS = re.findall(r"^([a-z-]+):.*  ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_a_shell_can_read_what_a_target_runs(target: str, tmp_path: Path) -> None:
    make = ["make", "--dry-run", "--always-make", target, f"VENV={tmp_path}/venv"]
    commands = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    read = subprocess.run(["sh", "-n"], input=commands, check=False, capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")


def test_the_targets_were_found() -> None:
    assert {"evolve", "rl", "test"} < set(TARGETS)
