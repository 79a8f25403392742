"""Settings of a baseline, read and changed in the text of the file that contains them. Three forms are supported:

    @dataclass
    class Settings:
        learning_rate: float = 3e-4  # of AdamW

constants at the top level of a module (`learning_rate = 3e-4`, without a class name), and the keys of a YAML or JSON
file (data_files.py). Only the characters of a value change; comments, order and layout stay, so that two changes of
different settings merge.
"""

import ast
from collections import Counter
from collections.abc import Mapping

from pipeline.patching import data_files
from pipeline.patching.refusal import Refusal


def read_settings(source: str, class_name: str, path: str = "settings.py") -> dict[str, object] | Refusal:
    """Name → value of the settings whose values are literals; computed ones (`field(…)`, `2 * 8`) are omitted. Without
    a class name, the constants of the module. In a YAML or JSON file, names have a dot for each level."""
    if path.endswith(data_files.SUFFIXES):
        places = data_files.places(source, path)
        return places if isinstance(places, Refusal) else {name: place.value for name, place in places.items()}
    found = _values(source, class_name)
    if isinstance(found, Refusal):
        return found
    literals = {name: _literal(node) for name, node in found.items()}
    return {name: literal[0] for name, literal in literals.items() if literal is not None}


def edit_settings(
    source: str, class_name: str, changes: Mapping[str, object], path: str = "settings.py"
) -> str | Refusal:
    """The source with these settings changed to these values, or a refusal. A setting that already has its value keeps
    its text."""
    if path.endswith(data_files.SUFFIXES):
        return _edit_data(source, changes, path)
    found = _values(source, class_name)
    if isinstance(found, Refusal):
        return found
    edits: list[tuple[int, int, bytes]] = []
    starts = _line_starts(source.encode())
    for name, value in changes.items():
        if name not in found:
            return _unknown(class_name or path, name, found)
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


def _edit_data(source: str, changes: Mapping[str, object], path: str) -> str | Refusal:
    found = data_files.places(source, path)
    if isinstance(found, Refusal):
        return found
    edits: list[tuple[int, int, str]] = []
    for name, value in changes.items():
        if name not in found:
            return _unknown(path, name, found)
        value = list(value) if isinstance(value, tuple) else value
        text = data_files.literal(value, path)
        if text is None:
            return Refusal("bad_value", f"{name}: {value!r} cannot be written in {path}")
        if not _same(found[name].value, value):
            edits.append((found[name].start, found[name].end, text))
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def _unknown(place: str, name: str, found: Mapping[str, object]) -> Refusal:
    valid = ", ".join(sorted(found)) or "none"
    return Refusal("unknown_setting", f"{place} has no setting {name!r}; it has: {valid}")


def _values(source: str, class_name: str) -> dict[str, ast.expr] | Refusal:
    """Name → value node of the annotated assignments in the body of the class; without a class name, of the assignments
    at the top level of the module to names that are assigned only once there."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return Refusal("syntax", f"the source of {class_name or 'the settings'} does not parse: {error}")
    if not class_name:
        pairs = list(filter(None, map(_assigned, tree.body)))
        times = Counter(name for name, _ in pairs)
        return {name: value for name, value in pairs if times[name] == 1}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    named = [node for node in classes if node.name == class_name]
    if len(named) != 1:
        names = ", ".join(node.name for node in classes) or "none"
        return Refusal("unknown_setting", f"{len(named)} classes are named {class_name!r}; the classes are: {names}")
    pairs = list(filter(None, map(_assigned, (node for node in named[0].body if isinstance(node, ast.AnnAssign)))))
    return dict(pairs)


def _assigned(node: ast.stmt) -> tuple[str, ast.expr] | None:
    """Name and value of an assignment to one name."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
        return targets[0].id, value
    return None


def _literal(node: ast.expr) -> tuple[object] | None:
    """The value in a tuple (it may be None), or None if it is not a literal."""
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
    """Whether two values are equal and written the same way: 1, 1.0 and True are three different values of a
    setting."""
    return repr(one) == repr(two)


def _line_starts(data: bytes) -> list[int]:
    """Byte offset of each line, as `ast` counts lines and columns."""
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts
