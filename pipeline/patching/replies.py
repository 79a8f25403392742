"""Applies a reply to code: finds the file of every edit, makes the edit, and checks the result as a whole.

A reply is applied if a careful reader could apply it. It is refused, with a reason and without writing anything, if it
is ambiguous, touches a protected file, leaves the folder, applies only in part, results in Python that does not parse,
deletes everything, replaces code by a placeholder, or changes nothing.
"""

import ast
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.patching.encoding import bytes_of, text_of
from pipeline.patching.placing import patch, split
from pipeline.patching.planted import check_planted
from pipeline.patching.reading import Edit, read
from pipeline.patching.refusal import Refusal
from pipeline.patching.rules import Rules
from pipeline.patching.syntax import check_python
from pipeline.patching.trees import Entry, Tree, parents, read_tree, write_tree


def apply_reply(base: Path, reply: str, target: Path, rules: Rules | None = None) -> Refusal | None:
    """Apply the reply to the base and write the result to the target, a new folder. On a refusal nothing is written.

    Raises NotADirectoryError if the base is missing and FileExistsError if the target is not empty.
    """
    tree = read_tree(base)
    patched = tree if isinstance(tree, Refusal) else patched_tree(tree, reply, rules)
    if isinstance(patched, Refusal):
        return patched
    write_tree(patched, target)
    return None


def patched_tree(base: Mapping[str, Entry], reply: str, rules: Rules | None = None) -> Tree | Refusal:
    """`apply_reply` on values."""
    rules = rules or Rules()
    edits = read(reply, base.keys())
    if isinstance(edits, Refusal):
        return edits
    resolved: list[str] = []
    for edit in edits:
        path = _resolve(edit, base, rules)
        if isinstance(path, Refusal):
            return path
        resolved.append(path)
    by_path: dict[str, list[Edit]] = {}
    for edit, path in zip(edits, _same_root(edits, resolved, base), strict=True):
        by_path.setdefault(path, []).append(edit)
    tree = dict(base)
    for path, of_file in by_path.items():
        refusal = _edit_file(tree, path, of_file, rules)
        if refusal:
            return refusal
    return judge(base, tree, rules) or dict(sorted(tree.items()))


# Which file ----------------------------------------------------------------------------------------------------------


def _resolve(edit: Edit, base: Mapping[str, Entry], rules: Rules) -> str | Refusal:
    """The path in the base that an edit refers to; for a new file, its future path."""
    if not edit.path:
        return _only_file_that_fits(edit, base, rules)
    written = [edit.path] if edit.moves else [edit.path, edit.new_path]
    names: list[str] = []
    for name in written:
        if name and name != "/dev/null":
            path = _clean(name)
            if isinstance(path, Refusal):
                return path
            link = next((parent for parent in parents(path) if _is_link(base.get(parent))), None)
            if link:
                return Refusal("outside", f"{path}: {link} is a link, and nothing is written through links")
            names.append(path)
    if not names:
        return Refusal("unreadable", "a diff from /dev/null to /dev/null names no file")
    if edit.creates or edit.text is not None:
        return _new_or_whole(edit, names[-1], base)
    means = [_existing(name, base) for name in names]
    for refusal in means:
        if isinstance(refusal, Refusal):
            return refusal
    found = {path for path in means if isinstance(path, str)}
    if not found and _only_adds(edit):
        return names[-1]
    if not found:
        near = difflib.get_close_matches(names[0], base, n=3, cutoff=0.5) or sorted(base)[:5]
        return Refusal("wrong_file", f"there is no file {names[0]}; there are {', '.join(near)}")
    if len(found) > 1 or means[-1] is None:
        return Refusal("ambiguous", f"one diff names {' and '.join(names)}: which of them? A rename has to say so")
    return found.pop()


def _clean(name: str) -> str | Refusal:
    """A path in the tree's notation, or a refusal if it is not a valid path inside the folder."""
    path = name.strip().replace("\\", "/")
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        return Refusal("outside", f"{name} is an absolute path: write it relative to the folder of the code")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        return Refusal("outside", f"{name} leaves the folder of the code")
    if ".git" in (part.lower() for part in parts):
        return Refusal("outside", f"{name} is in a repository's own folder, which is no part of the code")
    printable = all(character.isprintable() for character in path)
    if not parts or not printable or any(len(part.encode()) > 250 for part in parts) or len(path) > 1000:
        return Refusal("unreadable", f"{name[:80]!r} cannot be the name of a file")
    return "/".join(parts)


def _existing(path: str, base: Mapping[str, Entry]) -> str | Refusal | None:
    """The file of the base that a path refers to, even with too many or too few leading folders."""
    parts = path.split("/")
    for skip in range(len(parts)):
        shorter = "/".join(parts[skip:])
        if shorter in base:
            return shorter
    longer = [known for known in base if known.endswith("/" + path)]
    if len(longer) > 1:
        return Refusal("ambiguous", f"{path} may be {' or '.join(sorted(longer))}: write the whole path")
    return longer[0] if longer else None


def _only_adds(edit: Edit) -> bool:
    """Whether a diff must be of a new file, though it does not say so."""
    lines = [line for hunk in edit.hunks for line in hunk.readings[0]]
    return bool(lines) and all(line.tag == "+" for line in lines) and all(hunk.start == 0 for hunk in edit.hunks)


def _same_root(edits: Sequence[Edit], resolved: Sequence[str], base: Mapping[str, Entry]) -> list[str]:
    """The paths; those of new files without the leading folders that the reply also added to existing files."""
    roots = {edit.path.removesuffix(path) for edit, path in zip(edits, resolved, strict=True) if path in base}
    root = roots.pop() if len(roots) == 1 else ""
    return [path if path in base or not root.endswith("/") else path.removeprefix(root) for path in resolved]


def _new_or_whole(edit: Edit, path: str, base: Mapping[str, Entry]) -> str | Refusal:
    """The path of a whole file: as written, unless its content shows that it replaces an existing file."""
    if path in base:
        return path
    if edit.creates and edit.text is None:  # a diff that states that the file is new is trusted
        return path
    existing = _existing(path, base)
    folder_exists = "/" in path and any(known.startswith(path.rsplit("/", 1)[0] + "/") for known in base)
    if isinstance(existing, Refusal):
        return existing
    if existing and not folder_exists and _alike(_text(existing, base[existing]), edit.text or ""):
        return existing
    return path


def _alike(old: str, new: str) -> bool:
    """Whether one text is a version of the other."""
    return difflib.SequenceMatcher(None, split(old), split(new), autojunk=False).ratio() >= 0.5


def _only_file_that_fits(edit: Edit, base: Mapping[str, Entry], rules: Rules) -> str | Refusal:
    """The file of a change that names no file: the only one that it fits."""
    where = edit.hunks[0].where if edit.hunks else "a new file"
    fits = [
        path
        for path, entry in base.items()
        if edit.hunks and rules.allows(path) and not isinstance(patch(path, _text(path, entry), edit.hunks), Refusal)
    ]
    if len(fits) == 1:
        return fits[0]
    seen = f"it fits {', '.join(fits)}" if fits else "it fits none"
    return Refusal("ambiguous" if fits else "wrong_file", f"{where} names no file, and {seen}: write the path above it")


# Making the edits ----------------------------------------------------------------------------------------------------


def _edit_file(tree: Tree, path: str, edits: Sequence[Edit], rules: Rules) -> Refusal | None:
    """Make all edits of one file in the tree."""
    old = tree.get(path)
    if _is_link(old):
        return Refusal("outside", f"{path}: {path} is a link, and nothing is written through links")
    for parent in parents(path):
        if parent in tree:
            return Refusal("wrong_file", f"{path}: {parent} is a file")
    if any(known.startswith(path + "/") for known in tree):
        return Refusal("wrong_file", f"{path} is a folder")
    hunks = tuple(hunk for edit in edits for hunk in edit.hunks)
    edit = edits[0]
    only_hunks = all(each.text is None and not (each.creates or each.deletes or each.moves) for each in edits)
    if len(edits) > 1 and not only_hunks and any(each != edit for each in edits):
        return Refusal("ambiguous", f"{path} is given {len(edits)} times in different ways")
    if (hunks or edit.deletes or edit.moves) and (refusal := rules.check([path])):
        return refusal  # before the hunks are matched: for the author this reason matters more
    if old and b"\0" in old.data and (hunks or edit.text is not None):
        return Refusal("unreadable", f"{path} is not a text file")
    if edit.mode and edit.mode not in ("100644", "100755"):
        return Refusal("outside", f"{path}: mode {edit.mode} is a link or another repository")
    if edit.creates or edit.text is not None or (old is None and _only_adds(edit)):
        return _write(tree, path, edit)
    if old is None:
        return Refusal("wrong_file", f"there is no file {path}")
    if edit.moves:
        return _move(tree, path, edit, rules)
    text = _text(path, old)
    after = "" if edit.deletes and not hunks else patch(path, text, hunks) if hunks else text
    if isinstance(after, Refusal):
        return after
    if edit.deletes:
        if after.strip():
            return Refusal("partial", f"{path}: the diff deletes the file but does not list all of its lines")
        del tree[path]
        return None
    return _put(tree, path, after, edit)


def _write(tree: Tree, path: str, edit: Edit) -> Refusal | None:
    """Write a new file, or replace a whole file."""
    old = tree.get(path)
    if edit.text is None:
        lines = [line for hunk in edit.hunks for line in hunk.readings[0]]
        wrong = next((line.text for line in lines if line.tag != "+" and line.text.strip()), None)
        if wrong is not None:
            return Refusal("unreadable", f"{path} is new in this diff, but a line has no + before it: {wrong!r}")
        text = "".join(line.text + "\n" for line in lines)
        if edit.hunks and edit.hunks[-1].new_bare:
            text = text.removesuffix("\n")
    else:
        text = edit.text.removeprefix("\ufeff")
    if old is None:
        return _put(tree, path, text, edit)
    before = _text(path, old)
    if "\r\n" in before and "\r\n" not in text:
        text = text.replace("\n", "\r\n")
    if text in (before + "\n", before + "\r\n"):
        text = before
    if edit.creates and text != before and before.strip():
        what = "an empty SEARCH has no place in it" if edit.text is not None else "the diff says that it is new"
        return Refusal("conflict", f"{path} exists already, and {what}")
    if edit.loose and not _alike(before, text):
        return Refusal("ambiguous", f"{path} is named in a sentence above a block that is not the whole file")
    return _put(tree, path, text, edit)


def _move(tree: Tree, path: str, edit: Edit, rules: Rules) -> Refusal | None:
    """Rename a file and apply its hunks, if any. Only the old path may be incomplete; the new one is taken as
    written."""
    goal = _clean(edit.new_path)
    if isinstance(goal, Refusal):
        return goal
    if goal in tree or any(known.startswith(goal + "/") for known in tree):
        return Refusal("conflict", f"{path} cannot become {goal}, which exists already")
    refusal = _edit_file(tree, path, [replace(edit, moves=False, new_path="")], rules) if edit.hunks else None
    if refusal:
        return refusal
    if any(parent in tree and parent != path for parent in parents(goal)):
        return Refusal("wrong_file", f"{path} cannot become {goal}: a folder of it is a file or a link")
    tree[goal] = tree.pop(path)
    return None


def _is_link(entry: Entry | None) -> bool:
    return entry is not None and entry.mode == "120000"


def _text(path: str, entry: Entry) -> str:
    return text_of(path, entry.data)


def _put(tree: Tree, path: str, text: str, edit: Edit) -> Refusal | None:
    """Put the new text of a file into the tree, with the file's encoding and mode."""
    old = tree.get(path)
    mode = old.mode if old else "100644"
    if edit.mode:
        mode = "100755" if edit.mode == "100755" else "100644"
    data = bytes_of(path, text, old.data if old else b"")
    if isinstance(data, Refusal):
        return data
    tree[path] = Entry(data, mode)
    return None


# Checking the result -------------------------------------------------------------------------------------------------


def judge(base: Mapping[str, Entry], tree: Mapping[str, Entry], rules: Rules) -> Refusal | None:
    """None if the tree is acceptable, else a refusal. Checks the actual changes, not those that the reply states."""
    changed = sorted(path for path in {*base, *tree} if base.get(path) != tree.get(path))
    if not changed:
        return Refusal("no_change", "the code is the same afterwards")
    refusal = rules.check(changed) or check_planted(base, tree, rules)
    if refusal:
        return refusal
    for path in tree:
        if any(parent in tree for parent in parents(path)):
            return Refusal("wrong_file", f"{path} needs a folder where a file is")
    for path in changed:
        if path in tree:
            old, new = base.get(path, Entry(b"")), tree[path]
            refusal = _elided(path, _text(path, old), _text(path, new)) or check_python(path, new.data)
            refusal = refusal or _stubbed(path, old.data, new.data) or _emptied(path, old, new)
            if refusal:
                return refusal
    for suffix in ("", ".py"):
        before = [path for path, entry in base.items() if path.endswith(suffix) and rules.allows(path) and entry.data]
        if before and not any(path.endswith(suffix) and rules.allows(path) and tree[path].data for path in tree):
            return Refusal("deletes_everything", "no code that may be changed is left")
    return None


def _emptied(path: str, old: Entry, new: Entry) -> Refusal | None:
    """A refusal if the file had content and is now empty, or has nothing but comments."""

    def holds(entry: Entry) -> bool:
        if path.endswith(".py") and check_python(path, entry.data) is None:
            return bool(_parsed(path, entry.data).body)
        return bool(entry.data.strip())

    if holds(old) and not holds(new):
        return Refusal("deletes_everything", f"nothing is left in {path}; to delete it, say so in a diff")
    return None


_COMMENT = re.compile(r"^(#+|//+|/\*+|<!--|--|;+|%+)? *(.*?) *(\*/|-->)?$")
_KEYWORDS = {"rest", "existing", "unchanged", "remaining", "remains", "same", "previous", "omitted", "code"}
_PHRASES = (
    re.compile(r"\b(rest|remainder|remaining)\b.*\b(unchanged|same|as before|omitted|goes here|stays?|remains?)\b"),
    re.compile(
        r"\b(existing|original|previous) (code|implementation|content)\b.*\b(here|unchanged|same|remains?|stays?)\b"
    ),
    re.compile(r"^(unchanged|same as before|omitted|no changes?)\b.{0,20}$"),
)


def is_placeholder(line: str) -> bool:
    """Whether a line is a placeholder for omitted code: `# ... existing code ...`, `// rest unchanged`, `[...]`."""
    found = _COMMENT.match(line.strip())
    comment, said = (found[1], found[2].lower()) if found else (None, "")
    said = said.replace("…", "...")
    inner = said.strip("[](){}<> ")
    dots = inner.startswith("...") or inner.endswith("...")
    if not comment and not said.startswith(("...", "[...", "(...", "<...", "[rest", "(rest", "{...")):
        return False
    if dots and not inner.strip(". "):
        return bool(comment) or said != "..."  # a bare `...` may be Python: `_stubbed` decides
    if dots and _KEYWORDS & set(re.findall(r"[a-z]+", inner)):
        return True
    return any(phrase.search(inner) for phrase in _PHRASES)


def _elided(path: str, old: str, new: str) -> Refusal | None:
    """A refusal if a new line is a placeholder for omitted code."""
    there = {line.strip() for line in old.split("\n")}
    for number, line in enumerate(new.split("\n"), 1):
        if line.strip() not in there and is_placeholder(line):
            return Refusal("elided", f"{path} line {number} leaves code out: {line.strip()!r}; write all of it")
    return None


def _stubbed(path: str, old: bytes, new: bytes) -> Refusal | None:
    """A refusal for a `...` that the old code did not have, among statements or as the body of a function that had
    another body."""
    if not path.endswith(".py"):
        return None
    before = dict(_bodies(_parsed(path, old)))
    for name, body in _bodies(_parsed(path, new)):
        dots = [node for node in body if _is_dots(node)]
        rest = [node for node in body if not _is_dots(node) and not _is_text(node)]
        had = [node for node in before.get(name, []) if not _is_dots(node) and not _is_text(node)]
        had_dots = any(_is_dots(node) for node in before.get(name, []))
        if dots and not had_dots and (rest or had or not name):
            return Refusal("elided", f"{path} line {dots[0].lineno} leaves code out: '...'; write all of it")
    return None


def _parsed(path: str, source: bytes) -> ast.Module:
    """The syntax tree of a file, from its bytes, since Python decodes them itself; empty if it is not valid Python."""
    return ast.Module([], []) if check_python(path, source) is not None else ast.parse(source)


def _bodies(tree: ast.Module) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Qualified name → statements of the module and of every class and function in it."""

    def walk(prefix: str, body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
        yield prefix, body
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(f"{prefix}.{node.name}", node.body)

    return walk("", tree.body)


def _is_dots(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
