"""Output of `quota` and `lfs quota`. The tables are as in their manual pages (man 1 quota, man 1 lfs-quota)."""

import os
from pathlib import Path

import psutil
import pytest

from pipeline.store.quota import Quota, parse_quota, quota_of

LINUX = """\
Disk quotas for user ada (uid 1001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
      /dev/sda1  976562  1953125 2929687            1200       0       0
 nas:/export/home 52428800* 48828125 97656250   6days   90000   80000  100000
"""
LUSTRE = """\
Disk quotas for usr ada (uid 1001):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
/lustre/work/ada/groundwork/runs
                 9765625       0 19531250       -   40000   50000       0       -
"""


@pytest.mark.parametrize(
    ("text", "disk", "wanted"),
    [
        (LINUX, "/dev/sda1", Quota(0.999999488, 2.999999488, 1200, 0)),
        (LINUX, "nas:/export/home", Quota(53.6870912, 100.0, 90000, 100000)),
        (LUSTRE, "/lustre/work/ada/groundwork/runs", Quota(10.0, 20.0, 40000, 50000)),
        (LINUX, "/dev/sdb1", None),
        ("Disk quotas for user ada (uid 1001): none\n", "/dev/sda1", None),
        ("", "", None),
    ],
)
def test_tables(text: str, disk: str, wanted: Quota | None) -> None:
    assert parse_quota(text, disk) == wanted


def test_room() -> None:
    quota = Quota(10.0, 20.0, 40000, 50000)
    assert quota.has_room(10, 10000) and not quota.has_room(10.1, 1) and not quota.has_room(1, 10001)
    assert Quota(10.0, 0, 40000, 0).has_room(1e6, 10**9)
    assert quota.text() == "10.0 of 20.0 GB, 40,000 of 50,000 files"
    assert Quota(10.0, 0, 40000, 0).text() == "10.0 of unlimited GB, 40,000 of unlimited files"


def test_the_disk_of_the_folder_is_queried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = (part for part in psutil.disk_partitions(all=True) if tmp_path.is_relative_to(part.mountpoint))
    device = max(mounts, key=lambda part: len(part.mountpoint)).device
    program = tmp_path / "quota"
    program.write_text(f"#!/bin/sh\necho 'Disk quotas:'\necho '{device} 1000000 0 2000000 5 0 6'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert quota_of(tmp_path) == Quota(1.024, 2.048, 5, 6)
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert quota_of(tmp_path) is None
