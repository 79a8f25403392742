"""Reads, writes, copies, compares, patches and merges folders of code, each completely or not at all.

A tree holds what git would store of a folder: files with their bytes, whether they are executable, and links. Empty
folders, times and owners are not part of it. Git does most of the work, in a scratch repository, so that neither the
user's settings nor a `.gitattributes` file in the code affects a result.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.patching.refusal import Refusal

IGNORED = ("__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache")
"""Names of files and folders that are never part of the code."""

Mode = Literal["100644", "100755", "120000"]  # git's modes for a file, an executable file and a link


@dataclass(frozen=True)
class Entry:
    """One file of a tree."""

    data: bytes
    """Its content; for a link, its target."""
    mode: Mode = "100644"


Tree = dict[str, Entry]
"""Relative path with `/` → entry, in sorted order."""


def read_tree(folder: Path, ignore: Sequence[str] = IGNORED) -> Tree | Refusal:
    """The code in a folder. Refuses links that leave the folder, and anything but files, folders and links."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    tree: Tree = {}
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if name not in ignore and name not in links]
        for name in (*files, *links):
            if name in ignore:
                continue
            file = Path(place, name)
            path = file.relative_to(folder).as_posix()
            if file.is_symlink():
                tree[path] = Entry(os.fsencode(os.readlink(file)), "120000")
            elif file.is_file():
                tree[path] = Entry(file.read_bytes(), "100755" if file.stat().st_mode & 0o100 else "100644")
            else:
                return Refusal("outside", f"{path} is neither a file, a folder nor a link")
    return check_links(tree) or dict(sorted(tree.items()))


def check_links(tree: Mapping[str, Entry]) -> Refusal | None:
    """None if every link of the tree stays inside it, else a refusal. A link through another link is refused, not
    followed."""
    links = {path for path, entry in tree.items() if entry.mode == "120000"}
    for path in links:
        goal = os.fsdecode(tree[path].data)
        inside = os.path.normpath(os.path.join(os.path.dirname(path), goal))
        if goal.startswith("/") or inside.split("/")[0] == "..":
            return Refusal("outside", f"the link {path} leaves the folder: it points to {goal}")
        steps = {parent.as_posix() for parent in PurePosixPath(os.path.dirname(path), goal).parents}
        if steps & links:
            return Refusal("outside", f"the link {path} goes through another link: it points to {goal}")
    return None


def write_tree(tree: Mapping[str, Entry], target: Path) -> None:
    """Write a folder, completely or not at all. Raises FileExistsError unless the target is new or an empty folder."""
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise FileExistsError(f"{target} exists")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        staged = Path(scratch, "tree")
        staged.mkdir()
        _write_files(tree, staged)
        os.replace(staged, target)


def _write_files(tree: Mapping[str, Entry], folder: Path) -> None:
    # Links come last, so that no file is ever written through one.
    for path, entry in sorted(tree.items(), key=lambda item: item[1].mode == "120000"):
        file = folder / path
        if "/" in path:
            file.parent.mkdir(parents=True, exist_ok=True)
        if entry.mode == "120000":
            file.symlink_to(os.fsdecode(entry.data))
            continue
        file.write_bytes(entry.data)
        if entry.mode == "100755":
            file.chmod(file.stat().st_mode | 0o111)


def copy_tree(source: Path, target: Path, ignore: Sequence[str] = IGNORED) -> Refusal | None:
    """Copy the code of a folder, completely or not at all; the copy is writable even if the source is not."""
    tree = read_tree(source, ignore)
    if isinstance(tree, Refusal):
        return tree
    write_tree(tree, target)
    return None


def diff_trees(base: Path, variant: Path) -> str | Refusal:
    """The unified diff from the base to the variant, or "" if the code is the same. Paths are relative to the two
    folders, after `a/` and `b/`; binary files and modes are included; a rename is a deletion and a new file."""
    old, new = read_tree(base), read_tree(variant)
    if isinstance(old, Refusal):
        return old
    if isinstance(new, Refusal):
        return new
    return diff(old, new)


def diff(base: Mapping[str, Entry], variant: Mapping[str, Entry]) -> str:
    """`diff_trees` on values. Bytes that are not UTF-8 are kept as surrogate escapes, as `apply` reads them."""
    with _scratch_repository() as git:
        given = _commit("base", base) + _commit("variant", variant)
        git("fast-import", "--quiet", given=given).check_returncode()
        # fmt: off
        options = ("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames",
                   "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers", "--unified=3")
        # fmt: on
        done = git("diff-tree", "-r", "-p", *options, "base", "variant")
        done.check_returncode()
        return os.fsdecode(done.stdout)


def _commit(branch: str, tree: Mapping[str, Entry]) -> bytes:
    """A tree as a commit in the input format of `git fast-import`."""
    return f"commit refs/heads/{branch}\ncommitter x <x> 0 +0000\ndata 0\n".encode() + fast_import_files(tree)


def fast_import_files(tree: Mapping[str, Entry]) -> bytes:
    """The files of a commit in the input format of `git fast-import`."""
    parts = []
    for path, entry in tree.items():
        quoted = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
        parts.append(b'M %s inline "%s"\n' % (entry.mode.encode(), quoted))
        parts.append(b"data %d\n%s\n" % (len(entry.data), entry.data))
    return b"".join(parts)


def apply_diff(base: Path, diff: str, target: Path) -> Refusal | None:
    """Apply the diff to the base by `git apply` and write the result to the target. Applies exactly, and completely or
    not at all.

    For diffs made by this module. Diffs by a language model are applied by `replies`, which is more tolerant.
    """
    tree = read_tree(base)
    patched = tree if isinstance(tree, Refusal) else apply(tree, diff)
    if isinstance(patched, Refusal):
        return patched
    write_tree(patched, target)
    return None


def apply(base: Mapping[str, Entry], diff: str) -> Tree | Refusal:
    """`apply_diff` on values."""
    if not diff:
        return dict(base)
    with _scratch_repository() as git, tempfile.TemporaryDirectory() as scratch:
        _write_files(base, Path(scratch))
        done = git("apply", "--whitespace=nowarn", "-", given=os.fsencode(diff), work_tree=scratch)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            return Refusal("partial", f"the diff does not apply: {'; '.join(lines) or 'git gives no reason'}")
        return read_tree(Path(scratch))


def changed_paths(diff: str) -> tuple[str, ...]:
    """Sorted paths of the files that a diff touches, as git reads it; a rename touches both paths. Raises ValueError if
    git cannot read the diff."""
    if not diff:
        return ()
    with _scratch_repository() as git:
        done = git("apply", "--numstat", "-z", "-", given=os.fsencode(diff))
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip())
    paths = {record.split("\t", 2)[2] for record in os.fsdecode(done.stdout).split("\0") if record}
    sources = ("rename from ", "copy from ")  # git lists only the new path of such a file
    paths |= {line.split(" from ", 1)[1] for line in diff.split("\n") if line.startswith(sources)}
    return tuple(sorted(paths))


def merge_trees(base: Path, ours: Path, theirs: Path, target: Path) -> Refusal | None:
    """Write the three-way merge to the target, or return a refusal of kind `conflict` that lists the files and
    lines."""
    trees = [read_tree(folder) for folder in (base, ours, theirs)]
    for tree in trees:
        if isinstance(tree, Refusal):
            return tree
    merged = merge(*(tree for tree in trees if not isinstance(tree, Refusal)))
    if isinstance(merged, Refusal):
        return merged
    write_tree(merged, target)
    return None


def merge(base: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry]) -> Tree | Refusal:
    """`merge_trees` on values: a file that only one side changed, added or deleted is taken from that side; a file that
    both sides changed is merged by `git merge-file`; a change on one side and a deletion on the other are a
    conflict."""
    merged: Tree = {}
    conflicts: list[str] = []
    for path in sorted({*base, *ours, *theirs}):
        old, one, two = base.get(path), ours.get(path), theirs.get(path)
        if one == two or two == old:
            chosen: Entry | str | None = one
        elif one == old:
            chosen = two
        else:
            chosen = _merge_file(path, old, one, two)
        if isinstance(chosen, str):
            conflicts.append(chosen)
        elif chosen is not None:
            merged[path] = chosen
    for path in merged:
        conflicts += [f"{parent} (a file and a folder)" for parent in parents(path) if parent in merged]
    if conflicts:
        return Refusal("conflict", f"both sides changed {'; '.join(conflicts)}")
    return check_links(merged) or merged


def parents(path: str) -> list[str]:
    """All parent folders of a path."""
    return [parent.as_posix() for parent in PurePosixPath(path).parents][:-1]


def _merge_file(path: str, old: Entry | None, one: Entry | None, two: Entry | None) -> Entry | str:
    """The merged file, or a description of the conflict that begins with the path."""
    if one is None or two is None:
        return f"{path} (deleted by one of them)"
    if "120000" in (one.mode, two.mode) or any(b"\0" in side.data for side in (one, two)):
        return f"{path} (not a text file)"
    with tempfile.TemporaryDirectory() as scratch, _scratch_repository() as git:
        names = [os.path.join(scratch, name) for name in ("one", "old", "two")]
        for name, data in zip(names, (one.data, old.data if old else b"", two.data), strict=True):
            Path(name).write_bytes(data)
        done = git("merge-file", "-p", f"--marker-size={_MARKER}", *names)
    if done.returncode < 0 or done.returncode > 127:
        return f"{path} ({done.stderr.decode(errors='replace').strip()})"
    if done.returncode:
        return f"{path} ({_conflict_lines(done.stdout)})"
    mode = two.mode if old is not None and one.mode == old.mode else one.mode
    return Entry(done.stdout, mode)


_MARKER = 31  # long enough that no line of code looks like a marker


def _conflict_lines(merged: bytes) -> str:
    """The conflicts of a merged text, as line numbers of its first side."""
    places, number, side, first = [], 0, "both", 0
    for line in merged.split(b"\n"):
        if side == "both" and line.startswith(b"<" * _MARKER):
            side, first = "one", number + 1
        elif side == "one" and line.startswith(b"=" * _MARKER):
            side = "two"
            places.append(f"lines {first}-{number}" if number >= first else f"after line {number}")
        elif side == "two" and line.startswith(b">" * _MARKER):
            side = "both"
        elif side != "two":
            number += 1
    return ", ".join(places)


class _Git:
    """Runs git in a separate repository."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environment = kept | {
            "GIT_DIR": folder,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "HOME": folder,  # for git older than 2.32, which does not support GIT_CONFIG_GLOBAL
            "XDG_CONFIG_HOME": folder,
            "LC_ALL": "C.UTF-8",
        }
        for name in ("objects", "refs/heads", "info"):
            Path(folder, name).mkdir(parents=True)
        Path(folder, "HEAD").write_text("ref: refs/heads/none\n")
        settings = "repositoryformatversion = 0\nbare = false\nquotePath = false\nautocrlf = false\n"
        Path(folder, "config").write_text(f"[core]\n{settings}fileMode = true\nsymlinks = true\n")
        # These override every .gitattributes file in the code.
        Path(folder, "info/attributes").write_text("* !text !eol !filter !ident !diff !whitespace !encoding\n")

    def __call__(
        self, *arguments: str, given: bytes = b"", work_tree: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = self.environment | {"GIT_WORK_TREE": work_tree or self.folder}
        return subprocess.run(
            ["git", *arguments],
            input=given,
            capture_output=True,
            env=environment,
            cwd=work_tree or self.folder,
            check=False,
        )


def git_in(folder: Path) -> _Git:
    """git in a new, permanent repository in an empty folder."""
    return _Git(str(folder))


@contextmanager
def _scratch_repository() -> Iterator[_Git]:
    with tempfile.TemporaryDirectory() as folder:
        yield _Git(folder)
