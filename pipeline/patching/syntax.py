"""Python syntax: whether code parses, and a hash that ignores comments, layout and docstrings."""

import ast
import functools
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

from pipeline.patching.refusal import Refusal
from pipeline.patching.trees import Entry, read_tree


def check_python(path: str, source: bytes) -> Refusal | None:
    """None if the file compiles or is not Python, else a refusal with the line that does not parse."""
    if not path.endswith(".py"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape sequence is no reason to refuse
            compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        return Refusal("syntax", f"{path} line {error.lineno} does not parse: {error.msg}: {line!r}")
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL byte; nesting too deep for the parser
        return Refusal("syntax", f"{path} does not parse: {error}")
    return None


def imported_modules(path: str, entry: Entry) -> set[str]:
    """Top-level names of the modules that a Python file imports."""
    if not path.endswith(".py"):
        return set()
    try:
        tree = ast.parse(entry.data)
    except (SyntaxError, ValueError):
        return set()  # reported by `check_python`
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def syntax_hash(base: Path, variant: Path) -> str | Refusal:
    """A hash of a variant's changes to the base: equal for two variants that differ only in comments, layout and
    docstrings, and equal to the hash of the unchanged base for a variant that changes nothing else.

    Compare only hashes from the same version of Python, because they depend on the names in its syntax tree.
    """
    old, new = read_tree(base), read_tree(variant)
    if isinstance(old, Refusal):
        return old
    if isinstance(new, Refusal):
        return new
    return hash_of_changes(old, new)


def hash_of_changes(base: Mapping[str, Entry], variant: Mapping[str, Entry]) -> str:
    """`syntax_hash` on values."""
    digest = hashlib.sha256()
    for path in sorted({*base, *variant}):
        old, new = base.get(path), variant.get(path)
        if old == new or _meaning(path, old) == _meaning(path, new):
            continue
        meaning = _meaning(path, new)
        for part in (
            path.encode(errors="surrogateescape"),
            b"deleted" if meaning is None else b"is",
            meaning or b"",
        ):
            digest.update(b"%d:%s" % (len(part), part))
    return digest.hexdigest()


def _meaning(path: str, entry: Entry | None) -> bytes | None:
    """The part of a file that can make a difference when it runs."""
    if entry is None:
        return None
    if path.endswith(".py") and entry.mode != "120000" and check_python(path, entry.data) is None:
        return ast.dump(_without_docstrings(ast.parse(entry.data))).encode(errors="surrogatepass")
    return entry.mode.encode() + b" " + entry.data


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def changed_parts(base: Mapping[str, Entry], variant: Mapping[str, Entry]) -> frozenset[tuple[str, str, str]]:
    """What a change takes away and brings in, for comparisons: of Python the statements and expressions, with all below
    them, that only one side has; of other files the lines. Two changes that differ in one constant share what does not
    contain it."""
    found: set[tuple[str, str, str]] = set()
    for path in {*base, *variant}:
        old, new = _parts(path, base.get(path)), _parts(path, variant.get(path))
        found |= {(path, "-", part) for part in old - new} | {(path, "+", part) for part in new - old}
    return frozenset(found)


def _parts(path: str, entry: Entry | None) -> frozenset[str]:
    return _parts_of(path, entry.data) if entry is not None else frozenset()


@functools.lru_cache(256)
def _parts_of(path: str, data: bytes) -> frozenset[str]:
    if not path.endswith(".py") or check_python(path, data) is not None:
        return frozenset(data.decode(errors="replace").splitlines())
    tree = _without_docstrings(ast.parse(data))
    return frozenset(ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr))
