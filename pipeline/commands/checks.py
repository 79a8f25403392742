"""One check of a command, with its result."""

from dataclasses import dataclass
from enum import StrEnum


class Finding(StrEnum):
    """Result of a check."""

    OK = "ok"
    FAILED = "FAIL"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Check:
    """One line of `doctor` and `check_baseline`."""

    name: str
    """What was checked."""
    finding: Finding
    """The result. `not checked`, where the check was not possible, never counts as ok."""
    text: str
    """What was seen; for a failure also its remedy; why it was not checked."""


def check(name: str, good: bool, text: str) -> Check:
    """A completed check."""
    return Check(name, Finding.OK if good else Finding.FAILED, text)
