"""Files that a patch may not add or change, whatever the globs allow: files that git or Python acts on automatically,
files that cannot be reviewed, and files that shadow a module that protected code imports."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from pipeline.patching.refusal import Refusal
from pipeline.patching.rules import Rules
from pipeline.patching.syntax import imported_modules
from pipeline.patching.trees import Entry

_COMPILED = re.compile(r"\.(?:py[cod]|so(?:\.[\d.]+)?|dylib|dll|egg|whl|zip|pyz|jar)$", re.I)


def _part(path: str, *names: str) -> bool:
    """Whether a file or folder on the path has one of these names, ignoring case."""
    return any(part.lower() in names for part in path.split("/"))


REFUSED: tuple[tuple[str, Callable[[str, Entry], bool], str], ...] = (
    ("name", lambda path, entry: not path.isprintable(), "its name has characters that cannot be shown"),
    ("link", lambda path, entry: entry.mode == "120000", "it is a link: write the file itself"),
    (
        "repository",
        lambda path, entry: _part(path, ".git", ".gitmodules", ".gitattributes", ".hg", ".svn", ".bzr", ".jj"),
        "it belongs to a repository inside the code",
    ),
    (
        "bytecode",
        lambda path, entry: _part(path, "__pycache__") or _COMPILED.search(path) is not None,
        "compiled or packed code cannot be reviewed: write its source",
    ),
    (
        "start-up",
        lambda path, entry: _part(path, "sitecustomize", "sitecustomize.py", "usercustomize", "usercustomize.py"),
        "Python imports it at the start of every process",
    ),
    (
        "path file",
        lambda path, entry: path.lower().endswith((".pth", "._pth", ".egg-link")) or _part(path, "pyvenv.cfg"),
        "Python reads import paths from it",
    ),
)
"""Name of a kind of file, whether a new or changed file is of that kind, and the reason for refusing it. Devices,
pipes, sockets and commits of nested repositories cannot be part of a tree at all."""


def check_planted(base: Mapping[str, Entry], tree: Mapping[str, Entry], rules: Rules) -> Refusal | None:
    """None unless a new or changed file is one of the refused kinds, or shadows a module that protected code needs."""
    changed = [path for path in tree if tree[path] != base.get(path)]
    for path in changed:
        for _, applies, reason in REFUSED:
            if applies(path, tree[path]):
                return Refusal("planted", f"{path} cannot be part of a change: {reason}")
    needed = _needed_modules(base, rules)
    for path in changed:
        what = needed.get(_module(path))
        if what is not None and path not in base:
            return Refusal("planted", f"{path} would shadow {what}: choose another name")
    return None


def _needed_modules(base: Mapping[str, Entry], rules: Rules) -> dict[tuple[str, str], str]:
    """Protected modules and modules that they import: folder and name of a module to its description."""
    needed = {}
    protected = [path for path in base if path.endswith(".py") and not rules.allows(path)]
    for path in protected:
        folder = PurePosixPath(path).parent.as_posix()
        for module in sorted(imported_modules(path, base[path])):
            for place in {folder, "."}:
                if not _is_own(base, place, module):
                    needed[place, module] = f"the module {module}, which {path} imports"
    return needed | {_module(path): f"the protected module {path}" for path in protected}


def _is_own(base: Mapping[str, Entry], folder: str, module: str) -> bool:
    """Whether a module is part of the code itself."""
    place = "" if folder == "." else f"{folder}/"
    return any(path == f"{place}{module}.py" or path.startswith(f"{place}{module}/") for path in base)


def _module(path: str) -> tuple[str, str]:
    """Folder and name of a file's module; for `__init__.py`, of the package."""
    pure = PurePosixPath(path)
    place = pure.parent if pure.name == "__init__.py" else pure.with_suffix("")
    return place.parent.as_posix(), place.name if pure.suffix == ".py" else ""
