"""Which packages a variant can import, and what it imports."""

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.errors import BadInput
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry
from pipeline.sandbox.base import allowed_environment

_LIST = """
import importlib.metadata as metadata, json, sys
found = sorted({f"{one.name} {one.version}" for one in metadata.distributions() if one.name}, key=str.lower)
print(json.dumps([found, sorted({*metadata.packages_distributions(), *sys.stdlib_module_names, *sys.builtin_module_names})]))
"""


@dataclass(frozen=True)
class Packages:
    """What one interpreter has."""

    distributions: tuple[str, ...]
    """Name and version of each package, e.g. `torch 2.6.0`."""
    modules: frozenset[str]
    """Top-level names that can be imported, the standard library's too."""


def installed_packages(interpreter: str) -> Packages:
    """Of the Python that runs a baseline's commands; empty means our own. Raises `BadInput` if it does not run."""
    argv = [interpreter or sys.executable, "-c", _LIST]
    try:
        done = subprocess.run(argv, env=allowed_environment(), capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput(f"baseline.interpreter={interpreter} does not run: {error}") from error
    distributions, modules = json.loads(done.stdout)
    return Packages(tuple(distributions), frozenset(modules))


def check_imports(base: Mapping[str, Entry], variant: Mapping[str, Entry], packages: Packages) -> Refusal | None:
    """None unless a changed file imports what is neither installed, nor part of the code, nor imported before."""
    own = {part.removesuffix(".py") for path in variant for part in PurePosixPath(path).parts}
    known = packages.modules | own | {name for path, entry in base.items() for name in _imports(path, entry)}
    for path, entry in variant.items():
        if base.get(path) == entry:
            continue
        unknown = sorted(_imports(path, entry) - known)
        if unknown:
            return Refusal("unreadable", f"{path} imports {', '.join(unknown)}, which is not installed and cannot be")
    return None


def _imports(path: str, entry: Entry) -> set[str]:
    """Top-level names that a file of Python imports."""
    if not path.endswith(".py"):
        return set()
    try:
        tree = ast.parse(entry.data)
    except (SyntaxError, ValueError):
        return set()  # said elsewhere
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names
