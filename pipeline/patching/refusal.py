"""The one way in which this room says no: a value with a kind and a line for the writer of the change."""

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.text import plain_line, writable

RefusalKind = Literal[
    "unreadable",  # the text holds no change, or none that can be understood
    "cut_off",  # the text stops in the middle of a change
    "elided",  # code is left out behind a placeholder such as "# ... rest unchanged"
    "ambiguous",  # the change fits two places, two files or two meanings equally well
    "wrong_file",  # the file is not there, or the change fits nowhere in it
    "partial",  # some of the change fits and some of it does not
    "conflict",  # two changes of the same lines or the same file exclude each other
    "protected",  # the change touches a file that must not be touched
    "planted",  # the change brings a file that git or Python acts on by itself, or that takes the place of another
    "outside",  # the change leaves the folder: an absolute path, "..", a link
    "syntax",  # the Python that it leaves does not parse
    "deletes_everything",  # nothing would be left of the code, or of a file that held code
    "no_change",  # the code is the same afterwards
    "unknown_setting",  # the class has no such setting; the reason lists those it has
    "bad_value",  # a setting's new value cannot be written as a Python literal
]
KINDS: tuple[str, ...] = get_args(RefusalKind)


@dataclass(frozen=True)
class Refusal:
    """Why a change was not made. Nothing was written."""

    kind: RefusalKind
    reason: str
    """One line that a model or a person can act on: the file, the hunk or block, and what was seen there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", plain_line(writable(self.reason)))

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"
