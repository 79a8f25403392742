"""The corpus of replies: format and expectation of a case.

`corpus/base` is the code that all replies are about; `evaluate.py` is protected in it. Each folder `corpus/FORMAT/CASE`
holds `reply.md`, as a model wrote it, byte for byte, and either `expected.diff`, what `git diff` shows between the base
and the right result, or `refused.txt`: the kind of the refusal, and a part of its reason.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.patching import Refusal, Rules
from pipeline.patching.trees import Tree, apply, read_tree

CORPUS = Path(__file__).parent / "corpus"
RULES = Rules(protected=["evaluate.py"])


@dataclass(frozen=True)
class Case:
    name: str
    format: str
    reply: bytes
    expected: Tree | None
    """The right result, if the reply can be applied."""
    kind: str = ""
    reason: str = ""


def base() -> Tree:
    tree = read_tree(CORPUS / "base")
    assert not isinstance(tree, Refusal)
    return tree


def cases() -> list[Case]:
    """All cases, in order."""
    return [_read(file.parent) for file in sorted(CORPUS.glob("*/*/reply.md"))]


def _read(folder: Path) -> Case:
    name, reply = f"{folder.parent.name}/{folder.name}", (folder / "reply.md").read_bytes()
    refused = folder / "refused.txt"
    if refused.exists():
        kind, reason = refused.read_text(encoding="utf-8").splitlines()
        return Case(name, folder.parent.name, reply, None, kind, reason)
    expected = apply(base(), (folder / "expected.diff").read_bytes().decode())
    assert not isinstance(expected, Refusal), expected
    return Case(name, folder.parent.name, reply, expected)
