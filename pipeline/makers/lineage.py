"""The change of each ancestor of a candidate, computed from cumulative patches, and the code without one of the changes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.patching import Refusal
from pipeline.patching.trees import Tree, merge
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate

Code = Callable[[Candidate | None], Tree]
"""Returns the code of a candidate; for none, that of the unmodified baseline."""


def lineage(archive: Archive, candidate: Candidate) -> tuple[Candidate, ...]:
    """The ancestors of a candidate and the candidate itself, each once and after its parents."""
    found: dict[str, Candidate] = {}

    def visit(one: Candidate) -> None:
        for parent in one.idea.parents:
            if parent not in found:
                visit(archive.candidate(parent))
        found[one.id] = one

    visit(candidate)
    return tuple(found.values())


def built_on(code: Code, archive: Archive, candidate: Candidate) -> Tree:
    """The code that a candidate changed: that of the baseline, of its parent, or the merge of its parents' changes. A parent
    whose changes conflict is left out."""
    parents = [code(archive.candidate(name)) for name in candidate.idea.parents]
    tree = parents[0] if parents else code(None)
    for other in parents[1:]:
        merged = merge(code(None), tree, other)
        tree = tree if isinstance(merged, Refusal) else merged
    return tree


@dataclass(frozen=True)
class Removal:
    """A candidate's code without the change of one ancestor, or why there is no such code."""

    ancestor: Candidate
    """The ancestor whose change is removed."""
    code: Tree | None
    """The code without the change; none if it cannot be removed."""
    why: Literal["", "conflict", "no change", "overwritten"] = ""
    """Why there is no code: later changes are on the same lines, the ancestor changed nothing itself, or nothing of its
    change is left in the candidate."""
    reason: str = ""
    """Details: for `conflict`, files and lines."""


def without(code: Code, archive: Archive, candidate: Candidate, ancestor: Candidate) -> Removal:
    """Remove the change of an ancestor by a three-way merge: the step from the ancestor's code back to the code that it
    changed is applied to the candidate's code."""
    before, after, ours = built_on(code, archive, ancestor), code(ancestor), code(candidate)
    if before == after:
        return Removal(ancestor, None, "no change")
    tree = merge(after, ours, before)
    if isinstance(tree, Refusal):
        return Removal(ancestor, None, "conflict", tree.reason)
    return Removal(ancestor, tree) if tree != ours else Removal(ancestor, None, "overwritten")
