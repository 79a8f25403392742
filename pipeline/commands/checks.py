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
    """The result. `not checked` means that the check was not possible; it never counts as ok."""
    text: str
    """What was found, with a remedy for a failure; or why it was not checked."""


def check(name: str, good: bool, text: str) -> Check:
    """A completed check."""
    return Check(name, Finding.OK if good else Finding.FAILED, text)
