"""Debian packages that tests use for real: installed once, as root, if tests require them."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


class NotInstalled(Exception):
    """apt-get failed, or does not exist."""


def installed(program: str, package: str) -> str:
    """The path of a program. If it is missing, the test is skipped; with `DEV_CLUSTER=1`, which requires the real
    program, it is installed."""
    found = shutil.which(program)
    if found is None and os.environ.get("DEV_CLUSTER") != "1":
        pytest.skip(f"{program} is not installed: apt install {package}, or DEV_CLUSTER=1 as root installs it")
    if found is None:
        install(package)
        found = shutil.which(program)
    assert found is not None
    return found


def install(*packages: str) -> None:
    """Install packages, in one test process at a time, since apt-get does not wait for itself. Raises
    `NotInstalled`."""
    if shutil.which("apt-get") is None:
        raise NotInstalled(f"{', '.join(packages)}: no apt-get; the tests need Debian or Ubuntu for these")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / "groundwork-apt").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            argv = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *command]
            done = subprocess.run(argv, check=False, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise NotInstalled(f"apt-get {' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
