"""Finds the code among the files of a baseline's folder."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pathspec

from pipeline.config import BaselineConfig
from pipeline.errors import BadInput
from pipeline.patching.trees import Entry, check_links
from pipeline.text import counted

_MOST_MB, _MOST_FILES = 50.0, 2000
_ALWAYS = ("__pycache__/", "*.pyc", ".git", ".*_cache/", ".ipynb_checkpoints/")


@dataclass(frozen=True)
class CodeFiles:
    """The code of a baseline."""

    paths: tuple[str, ...]
    """Relative to the folder, with `/`, sorted."""
    mb: float
    """Total size, MB."""

    def text(self) -> str:
        """Number and size in one line, for display."""
        return f"{counted(len(self.paths), 'file')}, {self.mb:.1f} MB"


def code_files(baseline: BaselineConfig) -> CodeFiles:
    """The files that are copied into a run: all of `baseline.folder` except those that its `.gitignore` files and
    `baseline.ignore` exclude.

    Raises `BadInput` for a special file, a link that leaves the folder, or more files or bytes than code usually
    has."""
    folder = Path(baseline.folder)
    for pattern in baseline.ignore:
        if _rule(pattern) is None:
            raise BadInput(f"baseline.ignore: {pattern!r} is not a pattern of .gitignore")
    found = sorted(_walk(folder, "", [_rules([*_ALWAYS, *baseline.ignore])]))
    links = {
        path: Entry(os.fsencode(os.readlink(folder / path)), "120000") for path in found if (folder / path).is_symlink()
    }
    if outside := check_links(links):
        raise BadInput(
            f"{folder}: {outside.reason}; copy what it points to into the folder, or name it in baseline.ignore"
        )
    sizes = {path: (folder / path).lstat().st_size for path in found}
    mb = sum(sizes.values()) / 1e6
    if mb > _MOST_MB or len(found) > _MOST_FILES:
        largest = ", ".join(sorted(sizes, key=lambda path: -sizes[path])[:3])
        raise BadInput(
            f"baseline.folder={folder} holds {len(found)} files, {mb:.0f} MB, which is more than code (the limits are "
            f"{_MOST_FILES} files and {_MOST_MB:.0f} MB; the largest are {largest}); leave out what is not code with "
            "baseline.ignore=[PATTERN,…] or a .gitignore"
        )
    return CodeFiles(tuple(found), mb)


def _walk(folder: Path, inside: str, rules: Sequence[pathspec.GitIgnoreSpec]) -> Iterator[str]:
    own = folder / inside / ".gitignore"
    if own.is_file():
        lines = own.read_text(errors="replace").splitlines()
        rules = [*rules, _rules([_below(line, inside) for line in lines])]
    for entry in sorted(os.scandir(folder / inside), key=lambda entry: entry.name):
        path = f"{inside}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)
        if any(rule.match_file(f"{path}/" if is_folder else path) for rule in rules):
            continue
        if is_folder:
            yield from _walk(folder, f"{path}/", rules)
        elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise BadInput(
                f"{folder / path} is neither a file, a folder nor a link; remove it, or name it in baseline.ignore"
            )


def _rules(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    """The rules of some `.gitignore` lines. Like git, ignores lines that are not patterns."""
    return pathspec.GitIgnoreSpec.from_lines(line for line in lines if _rule(line) is not None)


def _rule(line: str) -> pathspec.GitIgnoreSpec | None:
    try:
        return pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return None


def _below(line: str, inside: str) -> str:
    """A line of a `.gitignore` in a subfolder, rewritten for the top folder."""
    rule = line.strip()
    if not inside or not rule or rule.startswith("#"):
        return line
    negation, rule = ("!", rule[1:]) if rule.startswith("!") else ("", rule)
    anchored = "/" in rule.rstrip("/")
    return f"{negation}/{inside}{'' if anchored else '**/'}{rule.lstrip('/')}"
