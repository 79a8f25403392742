"""Writes code as a git repository with a history, completely or not at all."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.patching.trees import Entry, fast_import_files, git_in


@dataclass(frozen=True)
class Commit:
    """One commit."""

    tree: Mapping[str, Entry]
    """All files."""
    message: str
    """Subject, an empty line, and the body."""
    author: str
    """Name of the author of the change."""
    at: int
    """Seconds since 1970."""
    parents: tuple[int, ...] = ()
    """Numbers of earlier commits; the first is the one that the change applies to."""


def write_history(commits: Sequence[Commit], target: Path) -> None:
    """Write a repository with the last commit checked out as branch `main`. Equal commits give equal hashes. Raises
    FileExistsError unless the target is new or an empty folder."""
    target = target.absolute()  # git is called in another folder
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise FileExistsError(f"{target} exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        staged = Path(scratch, "tree")
        (staged / ".git").mkdir(parents=True)
        git = git_in(staged / ".git")
        stream = b"".join(_text(commit, number) for number, commit in enumerate(commits))
        git("fast-import", "--quiet", given=stream).check_returncode()
        (staged / ".git/HEAD").write_text("ref: refs/heads/main\n")
        git("reset", "--hard", "--quiet", "main", work_tree=str(staged)).check_returncode()
        (staged / ".git/config").write_text(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfilemode = true\n"
        )
        staged.chmod(0o755)
        os.replace(staged, target)


def _text(commit: Commit, number: int) -> bytes:
    """A commit in the input format of `git fast-import`."""
    name = " ".join("".join(" " if sign in "<>" else sign for sign in commit.author).split()) or "unknown"
    message = commit.message.encode(errors="replace")
    lines = [f"commit refs/heads/main\nmark :{number + 1}\n".encode()]
    lines += [f"{role} {name} <> {commit.at} +0000\n".encode() for role in ("author", "committer")]
    lines.append(b"data %d\n%s\n" % (len(message), message))
    for place, parent in enumerate(commit.parents):
        lines.append(f"{'merge' if place else 'from'} :{parent + 1}\n".encode())
    return b"".join([*lines, b"deleteall\n", fast_import_files(commit.tree)])
