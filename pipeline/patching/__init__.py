"""The one door for code as data.

`trees` reads, writes, compares, patches and merges folders; `rules` says which files may be touched; `settings`
changes values in a dataclass; `syntax` knows the same code in other clothes; `replies` applies what a language model
wrote. Everything is a pure function on values, a thin function on folders beside it, and a `Refusal` where a change
cannot be made.
"""

from pipeline.patching.refusal import KINDS, Refusal
from pipeline.patching.replies import apply_reply, patched_tree
from pipeline.patching.rules import Rules
from pipeline.patching.settings import edit_settings, read_settings
from pipeline.patching.syntax import syntax_hash
from pipeline.patching.trees import apply_diff, changed_paths, copy_tree, diff_trees, merge_trees

__all__ = [
    "KINDS",
    "Refusal",
    "Rules",
    "apply_diff",
    "apply_reply",
    "changed_paths",
    "copy_tree",
    "diff_trees",
    "edit_settings",
    "merge_trees",
    "patched_tree",
    "read_settings",
    "syntax_hash",
]
