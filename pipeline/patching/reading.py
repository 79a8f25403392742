"""Parses the reply of a language model into edits, in one pass from top to bottom, without looking at any file.

Three formats are detected automatically, inside fences or not, with prose around and between them:

* unified diffs, including those with wrong counts or line numbers, without `a/` and `b/`, or without hunk headers, and
  the `*** Update File: …` dialect;
* search/replace blocks: a line with the path, `<<<<<<< SEARCH`, `=======`, `>>>>>>> REPLACE`;
* whole files: a line with the path, then a fenced block.

The outermost element wins: a fence inside a hunk, or a diff inside a whole file, is content. Existing diff parsers
(unidiff, whatthepatch, `git apply --recount`) trust the counts of a hunk, refuse it or drop its last lines if the
counts are wrong, and do not support prose; hence this parser.
"""

import ast
import difflib
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pipeline.patching.refusal import Refusal
from pipeline.text import split_reasoning

Tag = Literal[" ", "-", "+"]


class Line(NamedTuple):
    """A line of a hunk: kept, removed or added. Its text has no line ending."""

    tag: Tag
    text: str


@dataclass(frozen=True)
class Hunk:
    """A change to consecutive lines."""

    where: str
    """Name for refusals: "hunk 2" or "block 1"."""
    readings: tuple[tuple[Line, ...], ...]
    """Its lines; several readings if the text is ambiguous and only the file can decide."""
    start: int | None = None
    """The stated first line in the old file, from 1; None if not stated."""
    heading: str = ""
    """The text after `@@ … @@`: by convention the function or class around the hunk."""
    exact: bool = False
    """Whether its counts match its lines."""
    short: bool = False
    """Whether it has fewer lines than its counts say."""
    maybe_cut: bool = False
    """Whether the reply ends in it, and neither its counts nor a fence confirm that it is complete."""
    old_bare: bool = False
    new_bare: bool = False
    """Whether `\\ No newline at end of file` follows the last line of the old or new side."""


@dataclass(frozen=True)
class Edit:
    """One change to one file, as the reply states it."""

    path: str
    """As written; "" if no file is named."""
    new_path: str = ""
    """The second path of a diff, as written, if there is one."""
    hunks: tuple[Hunk, ...] = ()
    text: str | None = None
    """The whole new content."""
    creates: bool = False
    deletes: bool = False
    moves: bool = False
    """A rename from `path` to `new_path`."""
    mode: str = ""
    """The mode in a git header, such as 100755."""
    loose: bool = False
    """Whether the file is named in the middle of a sentence, which is weak evidence for a whole file."""


class Fence(NamedTuple):
    """An opening line such as ```python."""

    indent: int
    mark: str
    info: str

    @property
    def language(self) -> str:
        return self.info.split(" ")[0].split(":")[0].lower()

    def closed_by(self, line: str) -> bool:
        text = line.strip()
        return len(text) >= len(self.mark) and set(text) == {self.mark[0]} and _indent(line) <= self.indent


def read(reply: str, known: Collection[str] = ()) -> tuple[Edit, ...] | Refusal:
    """The edits of a reply, in order, or a refusal. `known` are the paths of the base, which help to recognise a
    path."""
    split = split_reasoning(reply.removeprefix("\ufeff").replace("\r\n", "\n"))
    text = split.answer
    if split.unclosed:
        return Refusal("cut_off", "the reply ends while it is still thinking: there is only reasoning and no answer")
    if not text.strip():
        what = "holds only reasoning and no answer" if split.reasoning else "is empty"
        return Refusal("unreadable", f"the reply {what}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return Refusal("unreadable", "the reply is not valid text: it holds half a character")
    edits = _Reader(text, known).edits()
    if isinstance(edits, tuple) and not edits:
        formats = "a unified diff, SEARCH/REPLACE blocks, or whole files (a line with the path, then a fenced block)"
        return Refusal("unreadable", f"the reply holds no change that names its file; write {formats}")
    return edits


# Significant lines -------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"( *)(`{3,}|~{3,})([^`]*)$")
_SEARCH = re.compile(r"<{5,9} ?(?:SEARCH|ORIGINAL)\b[ :]*(.*)$")
_DIVIDER = re.compile(r"={5,9}$")
_REPLACE = re.compile(r">{5,9} ?(?:REPLACE|UPDATED)\b")
_HUNK = re.compile(r"@@+ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@+ ?(.*)$")
_DIALECT = re.compile(r"\*\*\* (Update|Add|Delete) File: (.+)$")
_HUNK_ENDS = ("@@", "diff --git ", "```", "~~~", "*** Begin Patch", "*** End Patch", "*** End of File")
_DIFF_LANGUAGES = ("diff", "patch", "udiff")
_SHELL_LANGUAGES = ("bash", "sh", "shell", "console", "zsh", "terminal", "output", "log")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _dedent(line: str, width: int) -> str:
    return line[min(width, _indent(line)) :]


def _suits(fence: Fence, path: str) -> bool:
    """Whether a fence with this language can hold the file: shell commands are not Python."""
    return fence.language not in _SHELL_LANGUAGES or path.endswith(".sh") or not _SOURCE.search(path)


def _fence(line: str) -> Fence | None:
    found = _FENCE.match(line.rstrip())
    return Fence(len(found[1]), found[2], found[3].strip()) if found else None


_TAGS: dict[str, Tag] = {" ": " ", "-": "-", "+": "+"}


# Paths ---------------------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"(?i)^(?:(?:new |updated |modified |full |complete )?(?:file|filename|file ?path|path)) ?[:=] ?")
_NOTE = re.compile(r"(?i) \((?:new|new file|modified|updated|changed|edited|full|complete|whole file)[^)]*\)$")
_LIST_MARK = re.compile(r"^(?:#+|[-*+>]|//|\d+[.)]) +")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,9}$")
_SOURCE = re.compile(r"\.(?:py|pyi|pyx|md|rst|txt|json|jsonl|ya?ml|toml|cfg|ini|sh|c|cc|cpp|h|cu|csv|jinja2?|j2)$")


def path_of(line: str, known: Collection[str] = ()) -> tuple[str, bool] | None:
    """The path that a line names, and whether the line contains nothing else; None if it names no path or several."""
    text = line.strip()
    while (shorter := _LIST_MARK.sub("", text).strip()) != text:
        text = shorter
    text = _bare(_NOTE.sub("", _LABEL.sub("", _bare(text))))
    if text in known or _is_path(text):
        return text, True
    words = [_bare(word).rstrip(".") for word in re.findall(r"`[^`]+`|\S+", text)]
    named = {word for word in words if word in known or (_SOURCE.search(word) and _is_path(word))}
    return (named.pop(), False) if len(named) == 1 else None


def _bare(text: str) -> str:
    """The text without the marks around it: `**model.py**:` becomes model.py."""
    return text.strip().strip("*`\"'():,;").strip()


def _is_path(text: str) -> bool:
    if not text or "://" in text or any(mark in text for mark in " \t()<>{}=,;|`"):
        return False
    return bool(_EXTENSION.search(text)) or any(mark in text.strip("/\\") for mark in "/\\")


# The pass over the reply ---------------------------------------------------------------------------------------------


class _Reader:
    """The position of the pass, and the edits found so far."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.ends_whole = text.endswith("\n")
        self.lines = text.rstrip("\n").split("\n")
        self.known = known
        self.at = 0
        self.found: list[Edit] = []
        self.fence: Fence | None = None  # the fence around the current diff or blocks
        self.path = ""  # the path that was named last
        self.blocks = 0

    def edits(self) -> tuple[Edit, ...] | Refusal:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if self._diff_starts(self.at) or self._bare_hunk_starts():
                refusal = self._diff()
            elif _SEARCH.match(line.strip()):
                refusal = self._block()
            elif self.fence and self.fence.closed_by(line):
                self.fence, refusal = None, None
                self.at += 1
            elif opened := _fence(line):
                refusal = self._fenced(opened)
            else:
                refusal = None
                self.at += 1
            if refusal:
                return refusal
        return tuple(self.found)

    def _line(self, at: int) -> str:
        return self.lines[at] if at < len(self.lines) else ""

    def _path_above(self, at: int) -> tuple[str, bool] | None:
        """The path on the nearest line above that is neither empty nor a fence."""
        for above in range(at - 1, -1, -1):
            line = self.lines[above]
            if line.strip() and not _fence(line):
                return path_of(line, self.known)
        return None

    # Fenced blocks

    def _fenced(self, fence: Fence) -> Refusal | None:
        """Handle the opening of a fence around a diff or blocks, which are read next, or around a whole file or an
        illustration."""
        inside = next((at for at in range(self.at + 1, len(self.lines)) if self.lines[at].strip()), len(self.lines))
        path, clean = self._path_of_file(fence, inside)
        closers = self._closers(fence)
        content = self._content(fence, closers, path)
        if self._wraps_changes(fence, inside, content, file=path if clean else ""):
            self.fence, self.path = fence, path or self.path
            self.at += 1
            return None
        after = self.at + len(content) + 2
        if not path or not _suits(fence, path) or (not clean and not closers):
            self.at = after if closers else self.at + 1
            return None
        if not closers:
            return Refusal("cut_off", f"{path}: the fence is never closed, the reply seems to be cut off")
        if not path.endswith(".py") and len(closers) > 1 and self._stray_fences(after):
            return Refusal("ambiguous", f"{path}: fences inside the file; put a longer fence (````) around it")
        text = "".join(_dedent(line, fence.indent) + "\n" for line in content)
        self.found.append(Edit(path, text=text, loose=not clean))
        self.at, self.path = after, path
        return None

    def _wraps_changes(self, fence: Fence, inside: int, content: Sequence[str], file: str) -> bool:
        """Whether a fence holds a diff or blocks, with or without a path above them, and not a file whose content looks
        like some."""
        if path_of(self._line(inside), self.known) and self._change_starts(inside + 1):
            inside += 1
        if fence.language in _DIFF_LANGUAGES or self._change_starts(inside):
            return True
        is_file = bool(file) and not (file.endswith(".py") and not _parses(content))
        return not is_file and any(_SEARCH.match(line.strip()) for line in content)

    def _change_starts(self, at: int) -> bool:
        return self._diff_starts(at) or bool(_SEARCH.match(self._line(at).strip()))

    def _path_of_file(self, fence: Fence, inside: int) -> tuple[str, bool]:
        """The path of a whole file: in the opening line of the fence, on the line above, or in a comment on its first
        line."""
        for word in reversed(re.split(r"[ :=]", fence.info)):
            if _bare(word) in self.known or _SOURCE.search(_bare(word)):
                return _bare(word), True
        above = self._path_above(self.at)
        first = self._line(inside).strip()
        if above is None and first.startswith(("# ", "// ")):
            above = path_of(first, self.known)
            if above and not above[1]:
                above = None
        return above or ("", False)

    def _closers(self, fence: Fence) -> list[int]:
        """Indexes of lines that could close this fence, those that do so by counting nested fences with a language
        first."""
        depth = 1
        sure: list[int] = []
        maybe: list[int] = []
        for at in range(self.at + 1, len(self.lines)):
            line = self.lines[at]
            if fence.closed_by(line):
                depth -= 1
                (sure if depth <= 0 else maybe).append(at)
            elif (inner := _fence(line)) and inner.info and inner.indent <= fence.indent:
                if path_of(self._line(at - 1), self.known) and sure:
                    break  # the next file
                depth = max(depth, 0) + (len(inner.mark) >= len(fence.mark))
        return sure + maybe

    def _content(self, fence: Fence, closers: Sequence[int], path: str) -> list[str]:
        """The lines in a fence. For a Python file that contains fences, up to the first closing line with which it
        parses."""
        contents = [self.lines[self.at + 1 : at] for at in closers]
        if path.endswith(".py"):
            for content in contents:
                if _parses([_dedent(line, fence.indent) for line in content]):
                    return content
        return contents[0] if contents else self.lines[self.at + 1 :]

    def _stray_fences(self, at: int) -> bool:
        """Whether the fences below are unbalanced."""
        opened: Fence | None = None
        for line in self.lines[at:]:
            if opened and opened.closed_by(line):
                opened = None
            elif not opened:
                opened = _fence(line)
        return opened is not None

    # Search/replace blocks

    def _block(self) -> Refusal | None:
        """Read one block, from `<<<<<<< SEARCH` to its `>>>>>>> REPLACE`; blocks inside it are content."""
        first, width = self.at, _indent(self.lines[self.at])
        self.blocks += 1
        where = f"block {self.blocks}"
        marker = _SEARCH.match(self.lines[first].strip())
        named = path_of(marker[1], self.known) if marker else None
        named = named or self._path_above(first)
        if named:
            self.path = named[0]
        depth, body = 1, list[str]()
        while depth:
            self.at += 1
            if self.at >= len(self.lines):
                missing = "=======" if not any(_DIVIDER.match(line) for line in body) else ">>>>>>> REPLACE"
                at = f"{where} ({self.path or 'no file named'})"
                return Refusal("cut_off", f"{at}: {missing} is missing, the reply seems to be cut off")
            line = _dedent(self.lines[self.at], width)
            depth += bool(_SEARCH.match(line)) - bool(_REPLACE.match(line))
            body.append(line)
        self.at += 1
        body.pop()
        dividers = [at for at, line in enumerate(body) if _DIVIDER.match(line.rstrip())]
        if not dividers:
            return Refusal("unreadable", f"{where} ({self.path or 'no file named'}): there is no ======= line in it")
        sides = [(body[:at], body[at + 1 :]) for at in dividers]
        if not self.path.endswith(".md"):  # in which fences are content
            sides += [(_without_fence(search), _without_fence(replace)) for search, replace in sides]
        if not any(line.strip() for line in sides[0][0]):
            self.found.append(Edit(self.path, text="".join(line + "\n" for line in sides[0][1]), creates=True))
        else:
            hunk = Hunk(where, tuple(dict.fromkeys(compare(search, replace) for search, replace in sides)))
            self.found.append(Edit(self.path, hunks=(hunk,)))
        return None

    # Unified diffs

    def _diff_starts(self, at: int) -> bool:
        line, following = (self._line(at + ahead).lstrip(" ") for ahead in (0, 1))
        if line.startswith("--- "):
            return following.startswith(("+++ ", "@@"))
        if line.startswith("+++ "):
            return following.startswith("@@")
        return (
            line.startswith(("diff --git ", "@@ ", "*** Begin Patch"))
            or line.rstrip() == "@@"
            or bool(_DIALECT.match(line))
        )

    def _bare_hunk_starts(self) -> bool:
        """Whether a hunk without a header starts here: a changed line in a fence marked as a diff."""
        fenced = self.fence is not None and self.fence.language in _DIFF_LANGUAGES
        return fenced and self._line(self.at).lstrip(" ").startswith(("+", "-"))

    def _diff(self) -> Refusal | None:
        """Read the header and the hunks of one file."""
        width = _indent(self.lines[self.at]) if self._diff_starts(self.at) else self.fence.indent if self.fence else 0
        header = self._header(width)
        if isinstance(header, Refusal):
            return header
        if not (header.path or header.new_path):  # the file may be named above, or be the same as before
            above = self._path_above(self.at)
            header = Edit(above[0] if above else self.path)
        self.path = header.new_path if header.path in ("", "/dev/null") else header.path
        hunks: list[Hunk] = []
        while self.at < len(self.lines):
            line = _dedent(self.lines[self.at], width)
            if not line.strip() and self._hunk_below(width):
                self.at += 1
            elif line.startswith("@@"):
                self.at += 1
                hunks.append(self._hunk(line, width, len(hunks) + 1))
            elif not hunks and line[:1] in ("+", "-", " "):
                hunks.append(self._hunk("", width, 1))
            else:
                break
            if hunks and (cut := self._cut(hunks[-1])):
                return Refusal("cut_off", f"{self.path} {hunks[-1].where}: {cut}")
        hunks = [hunk for hunk in hunks if any(hunk.readings)]
        if not hunks and not self._says_enough(header):
            return Refusal("cut_off", f"{self.path or 'the diff'}: a header with no change below it")
        self.found.append(replace(header, hunks=tuple(hunks)))
        return None

    def _says_enough(self, header: Edit) -> bool:
        """Whether a header is meaningful without hunks. At the end of a reply it may be incomplete."""
        at_end = self.at >= len(self.lines)
        if header.moves and at_end and not self.ends_whole:
            return header.new_path.endswith(_suffix(header.path))
        if header.creates and not header.new_path.endswith("__init__.py"):  # the only file that is often empty
            below = self._line(self.at)
            return not at_end and (not below.strip() or self._diff_starts(self.at) or _fence(below) is not None)
        return header.creates or header.deletes or header.moves or bool(header.mode)

    def _hunk_below(self, width: int) -> bool:
        below = next((line for line in self.lines[self.at :] if line.strip()), "")
        return _dedent(below, width).startswith("@@")

    def _header(self, width: int) -> Edit | Refusal:
        """Read all lines before the first hunk."""
        fields: dict[str, str] = {}
        while self.at < len(self.lines):
            line = _dedent(self.lines[self.at], width).rstrip()
            dialect = _DIALECT.match(line)
            again = bool(fields) and (line.startswith("diff --git ") or dialect is not None)
            again = again or (line.startswith("--- ") and _is_complete(fields, _header_path(line[4:])))
            if again or (line.startswith("--- ") and "old" in fields) or (line.startswith("+++ ") and "new" in fields):
                break
            if line.startswith(("GIT binary patch", "Binary files ", "copy from ", "Subproject commit ")):
                return Refusal("unreadable", f"{line!r}: only changes of text can be read")
            if dialect:
                fields["old"] = dialect[2].strip()
                fields[{"Update": "update", "Add": "new file", "Delete": "deleted file"}[dialect[1]]] = ""
            elif line.startswith("diff --git "):
                fields["git"] = line.removeprefix("diff --git ")
            elif line.startswith("--- "):
                fields["old"] = _header_path(line[4:])
            elif line.startswith("+++ ") or (line == "+++" and "old" in fields):
                fields["new"] = _header_path(line[4:])
            elif line.startswith(("rename from ", "rename to ")):
                _, side, path = line.split(" ", 2)
                fields[f"rename {side}"] = _header_path(path)
            elif line.startswith("*** Move to: "):
                fields["rename from"] = fields.get("old", "")
                fields["rename to"] = line.removeprefix("*** Move to: ").strip()
            elif line.startswith(("new file mode ", "deleted file mode ", "new mode ")):
                name, mode = line.rsplit(" ", 1)
                fields[name.removesuffix(" mode") if "file" in name else "mode"] = mode
            elif not line.startswith(("*** Begin Patch", "index ", "similarity ", "dissimilarity ", "old mode ")):
                break
            self.at += 1
        old, new = fields.get("old", ""), fields.get("new", "")
        if "rename to" in fields:
            old, new = _without_prefixes(fields.get("rename from", old), fields["rename to"])
            return Edit(old, new, moves=True)
        if not old and not new and "git" in fields:
            old, new = _git_paths(fields["git"])
        old, new = _without_prefixes(old, new)
        creates = old == "/dev/null" or "new file" in fields
        deletes = new == "/dev/null" or "deleted file" in fields
        mode = fields.get("new file") or fields.get("mode") or ""
        return Edit(old or new, new, creates=creates, deletes=deletes, mode=mode)

    def _hunk(self, header: str, width: int, number: int) -> Hunk:
        """Read the lines of a hunk up to its end. Its counts are used only to find where a diff without a fence may
        end."""
        counts = _HUNK.match(header)
        stated = (int(counts[2] or 1), int(counts[4] or 1)) if counts else None
        lines: list[Line] = []
        sure = 0  # number of lines that certainly belong to the hunk
        met = 0  # number of lines after which the counts are met and an empty line follows
        old = new = 0
        bare: set[Tag] = set()
        while self.at < len(self.lines):
            raw = _dedent(self.lines[self.at], width)
            if self._hunk_ends(raw, width, blank_before=len(lines) > sure and not lines[-1].text):
                break
            done = (old, new) == stated
            if done and raw.startswith("--- ") and self._diff_starts(self.at):
                break
            if done and raw in ("-- ", "--"):  # a signature ends a mailed patch
                self.at += 1
                break
            if done and not raw and not met:
                met = len(lines)
            if raw.startswith("\\"):
                bare |= {lines[-1].tag} if lines else set()
            else:
                # A line without a tag is a context line that lost its space, or the start of prose after the hunk.
                line = Line(_TAGS[raw[0]], raw[1:]) if raw[:1] in _TAGS else Line(" ", raw)
                lines.append(line)
                old, new = old + (line.tag != "+"), new + (line.tag != "-")
                sure = len(lines) if raw[:1] in _TAGS else sure
            self.at += 1
        body = tuple(lines[:sure])
        readings = [body]
        if self.fence is None and met and all(line.tag != "+" for line in body[met:]) and len(body) > met:
            readings.append(body[:met])  # the rest may be a list in the prose below
        size = (sum(line.tag != "+" for line in body), sum(line.tag != "-" for line in body))
        short = stated is not None and (size[0] < stated[0] or size[1] < stated[1])
        return Hunk(
            f"hunk {number}",
            tuple(readings),
            start=int(counts[1]) if counts else None,
            heading=(counts[5] if counts else header.strip("@ ")).strip(),
            exact=size == stated,
            short=short,
            maybe_cut=self.at >= len(self.lines) and (self.fence is not None or short or counts is None),
            old_bare=bool(bare & {"-", " "}),
            new_bare=bool(bare & {"+", " "}),
        )

    def _hunk_ends(self, raw: str, width: int, blank_before: bool) -> bool:
        """Whether the hunk ends before this line. A `---` line is a header only if `+++` and `@@` follow: otherwise it
        may remove a line that begins with two dashes."""
        if raw.startswith(_HUNK_ENDS) or _DIALECT.match(raw) or _SEARCH.match(raw):
            return True
        if raw.startswith("--- ") and _dedent(self._line(self.at + 1), width).startswith("+++ "):
            return _dedent(self._line(self.at + 2), width).startswith("@@")
        prose = raw[:1] not in ("", " ", "+", "-", "\\", "\t")
        return self.fence is None and prose and blank_before

    def _cut(self, hunk: Hunk) -> str:
        """Why the reply seems to end in the middle of this hunk, or "". Cases that depend on the file are decided in
        `placing`."""
        lines = hunk.readings[0]
        if not hunk.maybe_cut:
            return ""
        if self.fence is not None and (hunk.short or not self.ends_whole):
            return "the fence is never closed, the reply seems to be cut off"
        changes = [line.tag for line in lines if line.tag != " "]
        ends_in = lines[-1].tag if lines else ""
        if not changes or ends_in == "-" or (ends_in == "+" and not self.ends_whole):
            return "it ends in the middle of a change, the reply seems to be cut off"
        return ""


def _without_fence(lines: list[str]) -> list[str]:
    """The lines without the fence around them, if there is one."""
    text = [at for at, line in enumerate(lines) if line.strip()]
    fence = _fence(lines[text[0]]) if len(text) > 1 else None
    return lines[text[0] + 1 : text[-1]] if fence and fence.closed_by(lines[text[-1]]) else lines


def compare(search: Sequence[str], replace: Sequence[str]) -> tuple[Line, ...]:
    """The lines of a hunk that turns `search` into `replace`."""
    lines: list[Line] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, search, replace, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line(" ", text) for text in search[i1:i2]]
        else:
            lines += [Line("-", text) for text in search[i1:i2]]
            lines += [Line("+", text) for text in replace[j1:j2]]
    return tuple(lines)


def _header_path(text: str) -> str:
    """The path of a `---` or `+++` line, without time stamp, quotes or remark."""
    path = text.split("\t")[0].strip()
    path = re.sub(r" +\d{4}-\d\d-\d\d[ T].*$", "", path)
    path = re.sub(r" +\((?:original|modified|old|new|updated|before|after)[^)]*\)$", "", path)
    if len(path) > 1 and path[0] == path[-1] == '"':
        octal = re.sub(r"\\(\d{3}|.)", _unescape, path[1:-1])
        return octal.encode("latin-1", errors="replace").decode(errors="replace") if "\\" in path else octal
    return path.strip("`'\"")


def _without_prefixes(old: str, new: str) -> tuple[str, str]:
    """The two paths without git's `a/` and `b/`, if they have these prefixes."""
    prefixed = old.startswith("a/") or old in ("", "/dev/null"), new.startswith("b/") or new in ("", "/dev/null")
    if not all(prefixed):
        return old, new
    return old.removeprefix("a/"), new.removeprefix("b/")


def _unescape(found: re.Match[str]) -> str:
    """The character for one escape sequence in a path that git quoted."""
    code = found[1]
    return chr(int(code, 8) & 255) if code.isdigit() and len(code) == 3 else {"t": "\t", "n": "\n"}.get(code, code)


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return name[name.rfind(".") :] if "." in name else ""


def _is_complete(fields: Mapping[str, str], next_path: str) -> bool:
    """Whether a header is complete without hunks, and the `---` line below it belongs to another file."""
    named = {fields.get("rename from", ""), *_git_paths(fields.get("git", " "))} - {""}
    own = {_without_prefixes(path, "")[0] for path in named} | {"/dev/null"}
    whole = fields.keys() & {"rename to", "deleted file", "mode"}
    return bool(whole and named) and _without_prefixes(next_path, "")[0] not in own


def _git_paths(text: str) -> tuple[str, str]:
    """The two paths of `diff --git a/x b/x`, which may contain spaces if they are the same."""
    middle = len(text) // 2
    old, new = text[:middle], text[middle + 1 :]
    if text[middle : middle + 1] == " " and old[2:] == new[2:]:
        return old, new
    return (_header_path(text.split(" ")[0]), _header_path(text.split(" ")[-1]))


def _parses(lines: Sequence[str]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse("\n".join(lines) + "\n")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
