"""Which files a patch may touch.

Globs follow the rules of a `.gitignore` file: `*.py` and `evaluate.py` match at any depth, `model/*.py` and
`/train.py` are anchored at the folder, `ideas/` and `ideas/**` cover everything below, a later `!glob` cancels an
earlier one. Protected wins over evolvable; with no evolvable globs every file that is not protected is evolvable.
"""

from collections.abc import Iterable
from functools import cached_property

from pathspec import GitIgnoreSpec

from pipeline.patching.refusal import Refusal


class Rules:
    """The evolvable and protected globs of a baseline. Raises ValueError for an invalid glob."""

    def __init__(self, evolvable: Iterable[str] = (), protected: Iterable[str] = ()) -> None:
        self.evolvable = tuple(evolvable)
        self.protected = tuple(protected)

    @cached_property
    def _evolvable(self) -> GitIgnoreSpec:
        return GitIgnoreSpec.from_lines(self.evolvable)

    @cached_property
    def _protected(self) -> GitIgnoreSpec:
        return GitIgnoreSpec.from_lines(self.protected)

    def allows(self, path: str) -> bool:
        """Whether a patch may create, change or delete this file; the path is relative to the folder."""
        return not self._protected.match_file(path) and (not self.evolvable or self._evolvable.match_file(path))

    def check(self, paths: Iterable[str]) -> Refusal | None:
        """None if a patch may touch all of these files, else a refusal of the first that it may not."""
        for path in paths:
            if self._protected.match_file(path):
                return Refusal("protected", f"{path} is protected ({', '.join(self.protected)}): leave it as it is")
            if not self.allows(path):
                return Refusal("protected", f"{path} is not evolvable: only {', '.join(self.evolvable)} may change")
        return None
