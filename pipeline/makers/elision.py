"""Shortens the settings file for prompts: the settings classes of other scales are each replaced by a comment line.

A model quotes the lines that it sees, and each quote must be as unique as in the shown file. So its change is applied to the
shown file, and the classes are restored afterwards.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.config import BaselineConfig
from pipeline.patching import Refusal
from pipeline.patching.syntax import check_python
from pipeline.patching.trees import Entry, Tree


@dataclass(frozen=True)
class Elision:
    """One version of the code with some classes left out."""

    full: Tree
    """The complete code."""
    shown: Tree
    """The code as shown in prompts."""
    path: str = ""
    """The settings file; empty if nothing is left out."""
    scale_class: str = ""
    """Class of the settings in use."""
    classes: Mapping[str, str] | None = None
    """Text of each class that is left out, by the comment line that replaces it."""

    def restore(self, made: Tree) -> Tree | Refusal:
        """The complete code for a changed version of the shown code. A new setting is also added to the classes that were
        left out, so that the code works at every scale."""
        entry, before = made.get(self.path), self.shown.get(self.path)
        if not self.classes or entry is None or before is None:
            return made
        if entry == before:
            return {**made, self.path: self.full[self.path]}
        try:
            text, old = entry.data.decode(), before.data.decode()
            added = list(_new_settings(old, text, self.scale_class))
        except (SyntaxError, ValueError):
            return Refusal("syntax", f"{self.path} does not parse")
        lines = text.splitlines(keepends=True)
        for mark, source in self.classes.items():
            places = [number for number, line in enumerate(lines) if line.strip() == mark]
            if len(places) != 1:
                return Refusal(
                    "partial", f"{self.path}: the line {mark!r} stands for a class and must occur exactly once"
                )
            lines[places[0]] = _with_settings(source, added, self.scale_class)
        data = "".join(lines).encode()
        return check_python(self.path, data) or {**made, self.path: Entry(data, entry.mode)}


def elide(tree: Tree, baseline: BaselineConfig, scale: str) -> Elision:
    """The code without the settings of other scales. Nothing is left out if there are none, or the file cannot be parsed."""
    entry, path = tree.get(baseline.settings_file), baseline.settings_file
    ours = baseline.settings_class.get(scale, "")
    others = {name for name in baseline.settings_class.values() if name != ours}
    if entry is None or not ours or not others:
        return Elision(tree, tree)
    try:
        text = entry.data.decode()
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return Elision(tree, tree)
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    if ours not in classes:
        return Elision(tree, tree)
    lines, kept, marks = text.splitlines(keepends=True), list[str](), dict[str, str]()
    at = 0
    for name in sorted((others & classes.keys()) - _needed(ours, classes), key=lambda one: classes[one].lineno):
        first, end = _span(classes[name])
        mark = f"# class {name}: settings of another scale, not shown; a new setting of {ours} is copied into it."
        marks[mark] = "".join(lines[first:end])
        kept += [*lines[at:first], mark + _line_end(lines[end - 1])]
        at = end
    if not marks or any(line.strip() in marks for line in lines):
        return Elision(tree, tree)
    shown = "".join([*kept, *lines[at:]]).encode()
    return Elision(tree, {**tree, path: Entry(shown, entry.mode)}, path, ours, marks)


def _needed(name: str, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    """Names of the class and of all classes that it refers to, directly or indirectly."""
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one in classes and one not in found:
            found.add(one)
            waiting += [node.id for node in ast.walk(classes[one]) if isinstance(node, ast.Name)]
    return found


def _span(node: ast.ClassDef) -> tuple[int, int]:
    """Indices of a class's first line, including decorators, and of the line after its last."""
    assert node.end_lineno is not None
    return min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1, node.end_lineno


def _line_end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :] or "\n"


@dataclass(frozen=True)
class _Setting:
    name: str
    text: str
    """Lines of the setting, including the comments before it."""
    indent: int


def _settings(node: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    found = (one for one in node.body if isinstance(one, ast.AnnAssign))
    return {one.target.id: one for one in found if isinstance(one.target, ast.Name)}


def _class(source: str, name: str) -> ast.ClassDef | None:
    return next((one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == name), None)


def _new_settings(old: str, new: str, name: str) -> Iterator[_Setting]:
    """Settings that were added to a class."""
    before, after = _class(old, name), _class(new, name)
    if before is None or after is None:
        return
    lines, known = new.splitlines(keepends=True), _settings(before)
    for setting, node in _settings(after).items():
        if setting in known or node.end_lineno is None:
            continue
        first = node.lineno - 1
        while lines[first - 1].lstrip().startswith("#"):
            first -= 1
        yield _Setting(setting, "".join(lines[first : node.end_lineno]), node.col_offset)


def _with_settings(source: str, added: list[_Setting], scale_class: str) -> str:
    """The text of a class with those of the added settings that it lacks appended to its own."""
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    own = _settings(node)
    if not own or any(isinstance(base, ast.Name) and base.id == scale_class for base in node.bases):
        return source
    last = list(own.values())[-1]
    assert last.end_lineno is not None
    texts = [one.text for one in added if one.name not in own and one.indent == last.col_offset]
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: last.end_lineno], *texts, *lines[last.end_lineno :]])
