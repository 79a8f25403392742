"""Settings of a YAML or JSON file, read and changed in place.

    optimizer:
      lr: 3e-4  # of AdamW

is the setting `optimizer.lr`. Only the characters of a value change; comments, order and layout stay.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from pipeline.patching.refusal import Refusal

SUFFIXES = (".yaml", ".yml", ".json")
_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Place:
    """Position of a value in a text."""

    value: object
    start: int
    """Offset of its first character."""
    end: int
    """Offset after its last character."""


def places(source: str, path: str) -> dict[str, Place] | Refusal:
    """Name → place of every setting that occurs once and is not an alias: numbers, strings, booleans, null, and lists
    in brackets. A Refusal if the text does not parse."""
    found: dict[str, Place] = {}
    twice: set[str] = set()
    try:
        if path.endswith(".json"):
            json.loads(source)
            source = source.replace("\t", " ")  # white space that YAML rejects; it cannot occur inside a JSON string
        for name, place in _walk(yaml.compose(source, yaml.SafeLoader), source, "", set()):
            twice |= {name} & found.keys()
            found[name] = place
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Refusal("syntax", f"{path} does not parse: {error}")
    return {name: place for name, place in found.items() if name not in twice}


def literal(value: object, path: str) -> str | None:
    """A value as text that every parser of the file reads the same way; none if it cannot be written."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float) and not path.endswith(".json"):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # without the point YAML 1.1 reads it as a string
    if isinstance(value, list | tuple):
        parts = [literal(part, path) for part in value]
        return None if None in parts else f"[{', '.join(part for part in parts if part is not None)}]"
    if value is None or isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())
    return None


def _walk(node: yaml.Node | None, source: str, name: str, seen: set[int]) -> Iterator[tuple[str, Place]]:
    if node is None or id(node) in seen:
        return  # an alias: one piece of text for several settings
    seen.add(id(node))
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                yield from _walk(value, source, f"{name}.{key.value}" if name else str(key.value), seen)
    elif source[start : start + 1] not in ("&", "!", "|", ">", "") and (
        isinstance(node, yaml.ScalarNode) or (isinstance(node, yaml.SequenceNode) and node.flow_style)
    ):
        held = _value(node)
        if held is not None:
            yield name, Place(held[0], start, end)


def _value(node: yaml.Node) -> tuple[object] | None:
    """The value in a tuple (it may be None); none unless it is a number, string, boolean, null or a list of them."""
    if isinstance(node, yaml.SequenceNode):
        parts = [_value(part) for part in node.value]
        return None if None in parts else ([part[0] for part in parts if part is not None],)
    if not isinstance(node, yaml.ScalarNode):
        return None
    if node.style is None and node.tag.endswith(":str") and _FLOAT.fullmatch(node.value):
        return (float(node.value),)  # 3e-4, which YAML 1.1 reads as a string, and every trainer converts
    value = yaml.SafeLoader("").construct_object(node)
    if isinstance(value, str):
        try:  # JSON escapes some characters as a surrogate pair
            value = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return None
    return (value,) if value is None or isinstance(value, bool | int | float | str) else None
