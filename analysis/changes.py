"""The changes of a candidate, computed from its patch: relative to the baseline and to its parent, and whether only settings
were changed.

A stored patch always leads from the baseline to the variant, so that its hunks match exactly and need no search. `variant/`
itself may have been removed.
"""

import ast
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pipeline.store.paths import RunPaths

_FILE = re.compile(r"^diff --git ", re.M)
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")
_DATA = {".yaml", ".yml", ".json", ".toml", ".ini", ".cfg"}


class Sort(StrEnum):
    """Kind of a change."""

    SETTINGS = "settings"
    """Only values: apart from them the syntax trees are equal."""
    ALGORITHM = "algorithm"
    """Anything else."""


@dataclass(frozen=True)
class Change:
    """One file that differs from the baseline."""

    before: str
    """Text in the baseline; empty for a new file."""
    after: str
    """Text in the variant; empty for a removed file."""


def changes(pristine: Path, patch: str) -> dict[str, Change]:
    """Change by path, for every text file in a stored patch.

    Raises ValueError if the patch does not apply, which does not happen with an intact run."""
    found = {}
    for part in _FILE.split(patch)[1:]:
        lines = part.splitlines(keepends=True)
        path = _path(lines, "+++ b/") or _path(lines, "--- a/")
        if path is None or not _inside(path):
            continue
        source = pristine / path
        before = source.read_text(errors="replace") if source.is_file() else ""
        found[path] = Change(before, "" if _path(lines, "+++ b/") is None else "".join(_patched(before, lines)))
    return found


def change_of(paths: RunPaths, candidate: str, attempt: int) -> dict[str, Change]:
    """The changes of one implementation relative to the baseline; empty if there is no patch or it does not apply."""
    try:
        patch = paths.candidate(candidate).attempt(attempt).patch.read_bytes().decode(errors="replace")
        return changes(paths.pristine, patch)
    except (OSError, ValueError):
        return {}


def on_parent(ours: Mapping[str, Change], parent: Mapping[str, Change]) -> str:
    """The changes of a candidate relative to its parent as a unified diff; both arguments are relative to the baseline."""
    parts: list[str] = []
    for path in sorted({*ours, *parent}):
        before = parent[path].after if path in parent else ours[path].before
        after = ours[path].after if path in ours else parent[path].before
        if before != after:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", lineterm="")
            parts += [f"diff --git a/{path} b/{path}", *lines]
    return "\n".join(parts)


def sort_of(found: Mapping[str, Change]) -> Sort | None:
    """The kind of a change; none if nothing is changed."""
    if not found:
        return None
    same = all(_outline(path, one.before) == _outline(path, one.after) for path, one in found.items())
    return Sort.SETTINGS if same else Sort.ALGORITHM


class _Values(ast.NodeTransformer):
    """Replaces all values by the same one."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.copy_location(ast.Constant(0), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        inner = self.generic_visit(node)
        assert isinstance(inner, ast.UnaryOp)
        return inner.operand if isinstance(inner.operand, ast.Constant) and isinstance(node.op, ast.USub) else inner


@functools.lru_cache(1024)
def _outline(path: str, text: str) -> str | None:
    """The structure of a file without its values; the text itself if it cannot be parsed."""
    suffix = PurePosixPath(path).suffix
    if suffix in _DATA and text:
        return "values"
    if suffix == ".py" and text:
        try:
            return ast.dump(_Values().visit(ast.parse(text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return text
    return text


def _path(lines: list[str], mark: str) -> str | None:
    return next((line[len(mark) :].rstrip("\n").rstrip("\t") for line in lines if line.startswith(mark)), None)


def _inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in PurePosixPath(path).parts


def _patched(before: str, lines: list[str]) -> Iterator[str]:
    """The lines of a file with its hunks applied."""
    source, at, number = before.splitlines(keepends=True), 0, 0
    while number < len(lines):
        head = _HUNK.match(lines[number])
        number += 1
        if head is None:
            continue
        start, left = int(head[1]) - (head[2] != "0"), int(head[2] or 1)
        yield from source[at:start]
        at = start
        new: list[str] = []
        while number < len(lines) and lines[number][:1] in (" ", "+", "-", "\\"):
            mark, text = lines[number][0], lines[number][1:]
            if mark == "\\" and new and lines[number - 1][0] != "-":
                new[-1] = new[-1].rstrip("\n")
            elif mark in " -":
                if at >= len(source) or source[at].rstrip("\r\n") != text.rstrip("\r\n") or left == 0:
                    raise ValueError("the patch does not fit the baseline")
                at, left = at + 1, left - 1
            if mark in " +":
                new.append(text)
            number += 1
        yield from new
    yield from source[at:]
