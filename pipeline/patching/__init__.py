"""All operations on code as data.

`trees` reads, writes, compares, patches and merges folders; `rules` says which files may be touched; `settings`
changes values in a dataclass; `syntax` recognises code that differs in comments and layout only; `replies` applies the
reply of a language model. Each operation is a pure function on values, with a thin wrapper for folders. A change that
cannot be made is returned as a `Refusal`.
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
