"""Disk quotas of the user, by `lfs quota` of Lustre or `quota` of Linux and NFS."""

import getpass
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Quota:
    """Use and limits of one user on one disk; 0 means no limit."""

    used_gb: float
    limit_gb: float
    used_files: int
    limit_files: int

    def has_room(self, gb: float, count: int) -> bool:
        """Whether `gb` GB in `count` files can be added."""
        return (not self.limit_gb or self.used_gb + gb <= self.limit_gb) and (
            not self.limit_files or self.used_files + count <= self.limit_files
        )

    def text(self) -> str:
        """Use and limits in one line, for display."""
        size = f"{self.used_gb:.1f} of {f'{self.limit_gb:.1f}' if self.limit_gb else 'unlimited'} GB"
        count = f"{self.used_files:,} of {f'{self.limit_files:,}' if self.limit_files else 'unlimited'} files"
        return f"{size}, {count}"


def quota_of(folder: Path) -> Quota | None:
    """The quota that applies to a folder; none if there is no quota or no quota program."""
    mounts = (part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint))
    mount = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    asked = (
        (("lfs", "quota", "-u", getpass.getuser(), str(folder)), str(folder)),
        (("quota", "--no-wrap"), mount.device if mount else ""),
    )
    for command, disk in asked:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if (found := parse_quota(done.stdout, disk)) is not None:
            return found
    return None


def parse_quota(text: str, disk: str) -> Quota | None:
    """A disk's line in the table of either program: name, KiB used, soft, hard, grace, files, soft, hard, grace.

    A `*` marks a value over its soft limit. A grace period that has not begun is `-` on Lustre and empty on Linux. The
    hard limit is used, or the soft one if there is no hard limit. Lustre prints a long name on its own line.
    """
    words = text.split()
    for at, word in enumerate(words):
        if word != disk:
            continue
        numbers = [int(found) for one in words[at + 1 : at + 9] if (found := one.rstrip("*")).isdigit()]
        if len(numbers) >= 6:
            used, soft, hard, files, soft_files, hard_files = numbers[:6]
            return Quota(used * 1024 / 1e9, (hard or soft) * 1024 / 1e9, files, hard_files or soft_files)
    return None
