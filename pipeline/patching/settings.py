"""Settings of a baseline, read and changed in the text of its dataclass.

    @dataclass
    class Settings:
        learning_rate: float = 3e-4  # of AdamW

Only the characters of a value change; comments, order and layout stay, so that two changes of different settings
merge.
"""

import ast
from collections.abc import Mapping

from pipeline.patching.refusal import Refusal


def read_settings(source: str, class_name: str) -> dict[str, object] | Refusal:
    """Name → value of the settings whose values are literals; computed ones (`field(…)`, `2 * 8`) are left out."""
    found = _values(source, class_name)
    if isinstance(found, Refusal):
        return found
    literals = {name: _literal(node) for name, node in found.items()}
    return {name: literal[0] for name, literal in literals.items() if literal is not None}


def edit_settings(source: str, class_name: str, changes: Mapping[str, object]) -> str | Refusal:
    """The source with these settings set to these values. A setting that has its value already keeps its text."""
    found = _values(source, class_name)
    if isinstance(found, Refusal):
        return found
    edits: list[tuple[int, int, bytes]] = []
    starts = _line_starts(source.encode())
    for name, value in changes.items():
        if name not in found:
            valid = ", ".join(sorted(found)) or "none"
            return Refusal("unknown_setting", f"{class_name} has no setting {name!r}; it has: {valid}")
        text = repr(value)
        written = _literal_text(text)
        if written is None or not _same(written[0], value):
            return Refusal("bad_value", f"{name}: {text} cannot be written as a Python literal")
        node = found[name]
        now = _literal(node)
        if now is not None and _same(now[0], value):
            continue
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        edits.append((start, end, text.encode()))
    data = source.encode()
    for start, end, new in sorted(edits, reverse=True):
        data = data[:start] + new + data[end:]
    return data.decode()


def _values(source: str, class_name: str) -> dict[str, ast.expr] | Refusal:
    """Name → value node of the annotated assignments in the body of the class."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return Refusal("syntax", f"the source of {class_name} does not parse: {error}")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    named = [node for node in classes if node.name == class_name]
    if len(named) != 1:
        names = ", ".join(node.name for node in classes) or "none"
        return Refusal("unknown_setting", f"{len(named)} classes are named {class_name!r}; the classes are: {names}")
    return {
        node.target.id: node.value
        for node in named[0].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }


def _literal(node: ast.expr) -> tuple[object] | None:
    """The value in a tuple (it may be None), or None if it has to be computed."""
    try:
        return (ast.literal_eval(node),)
    except ValueError:
        return None


def _literal_text(text: str) -> tuple[object] | None:
    try:
        return _literal(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return None


def _same(one: object, two: object) -> bool:
    """Equal and written alike: 1, 1.0 and True are three values for a setting."""
    return repr(one) == repr(two)


def _line_starts(data: bytes) -> list[int]:
    """Where each line begins, as `ast` counts lines and columns: in bytes, at every newline."""
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts
