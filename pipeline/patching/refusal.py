"""The result of a change that cannot be made: a value with a kind and one line for its author."""

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.text import plain_line, writable

RefusalKind = Literal[
    "unreadable",  # the text contains no change, or none that can be parsed
    "cut_off",  # the text ends in the middle of a change
    "elided",  # code is replaced by a placeholder such as "# ... rest unchanged"
    "ambiguous",  # the change fits two places, two files or two meanings equally well
    "wrong_file",  # the file does not exist, or the change fits nowhere in it
    "partial",  # only a part of the change fits
    "conflict",  # two changes of the same lines or the same file contradict each other
    "protected",  # the change touches a file that must not be touched
    "planted",  # the change adds a file that git or Python acts on automatically, or that shadows another
    "outside",  # the change leaves the folder: an absolute path, "..", a link
    "syntax",  # the resulting Python code does not parse
    "deletes_everything",  # nothing would remain of the code, or of a file that contained code
    "near",  # another candidate has nearly the same change
    "no_change",  # the resulting code is the same
    "unknown_setting",  # the class has no such setting; the reason lists the valid ones
    "bad_value",  # a setting's new value cannot be written as a Python literal
]
KINDS: tuple[str, ...] = get_args(RefusalKind)


@dataclass(frozen=True)
class Refusal:
    """Why a change was not made. Nothing was written."""

    kind: RefusalKind
    reason: str
    """One line that a model or a user can act on: the file, the hunk or block, and what was found there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", plain_line(writable(self.reason)))

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"
