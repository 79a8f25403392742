"""Packages of Debian that tests use for real: installed once, as root, where tests demand them."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def installed(program: str, package: str) -> None:
    """Skip the test where a program is missing; with `DEV_CLUSTER=1`, which demands the real thing, install it."""
    if shutil.which(program):
        return
    if os.environ.get("DEV_CLUSTER") != "1":
        pytest.skip(f"{program} is not installed: apt install {package}, or DEV_CLUSTER=1 as root installs it")
    with (Path(tempfile.gettempdir()) / "groundwork-apt").open("w") as lock:  # several workers at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
            wait = ["-o", "DPkg::Lock::Timeout=300"]
            subprocess.run(["apt-get", "-q", *wait, *command], check=True, env=environment, capture_output=True)
