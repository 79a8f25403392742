"""Bytes of source files: they are decoded by Python's own rule, and a change preserves what it does not touch."""

import codecs

import pytest

from pipeline.patching import Refusal, patched_tree
from pipeline.patching.encoding import bytes_of, coding_of, text_of
from pipeline.patching.trees import Entry, Tree

BOM = codecs.BOM_UTF8
LATIN = "# -*- coding: latin-1 -*-\n"


def block(path: str, old: str, new: str) -> str:
    return f"{path}\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"


def patched(data: bytes, reply: str, path: str = "a.py") -> bytes | Refusal:
    base: Tree = {path: Entry(data), "b.py": Entry(b"y = 1\n")}
    made = patched_tree(base, reply)
    return made if isinstance(made, Refusal) else made[path].data


FILES = {
    "UTF-8": (b"", "x = 'é 学'\n", "utf-8"),
    "a byte order mark": (BOM, "import os\nx = 'é'\n", "utf-8"),
    "a mark and a coding line": (BOM, "# coding: utf-8\nx = 'é'\n", "utf-8"),
    "latin-1": (b"", f"{LATIN}x = 'é'\n", "latin-1"),
    "latin-1 in the second line": (b"", f"#!/usr/bin/env python\n{LATIN}x = 'é'\n", "latin-1"),
    "shift-jis": (b"", "# vim: set fileencoding=shift_jis :\nx = '学習'\n", "shift_jis"),
    "windows lines": (b"", "import os\r\nx = 'é'\r\n", "utf-8"),
    "windows lines and a mark": (BOM, "import os\r\nx = 'é'\r\n", "utf-8"),
    "no newline at the end": (b"", "x = 'é'", "utf-8"),
}


@pytest.mark.parametrize(("mark", "text", "encoding"), FILES.values(), ids=FILES)
def test_an_edit_keeps_encoding_mark_and_newlines(mark: bytes, text: str, encoding: str) -> None:
    data = mark + text.encode(encoding)
    assert text_of("a.py", data) == text and bytes_of("a.py", text, data) == data
    old = next(line for line in text.splitlines() if line.startswith("x ="))
    edited = patched(data, block("a.py", old, f"{old}  # ok"))
    assert edited == mark + text.replace(old, f"{old}  # ok").encode(encoding)
    first = text.splitlines()[0]
    added = patched(data, block("a.py", first, f"{first}\nz = 1"))  # found despite the byte order mark
    newline = "\r\n" if "\r\n" in text else "\n"
    assert isinstance(added, bytes) and f"z = 1{newline}".encode() in added + b"\n" and added.startswith(mark)


@pytest.mark.parametrize(("mark", "text", "encoding"), FILES.values(), ids=FILES)
def test_a_whole_file_keeps_encoding_mark_and_newlines(mark: bytes, text: str, encoding: str) -> None:
    data = mark + text.encode(encoding)
    new = f"{text.rstrip()}\nz = 1\n".replace("\r\n", "\n")
    for start in ("", "\ufeff"):
        whole = patched(data, f"a.py\n```python\n{start}{new}```\n")
        newline = "\r\n" if "\r\n" in text else "\n"
        assert whole == mark + new.replace("\n", newline).encode(encoding)


def test_a_file_from_windows() -> None:
    data = BOM + b"import os\nx = 1\n"
    assert patched(data, block("a.py", "x = 1", "x = 2")) == BOM + b"import os\nx = 2\n"
    assert patched(data, block("a.py", "import os", "import sys")) == BOM + b"import sys\nx = 1\n"
    reply = "```diff\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n-import os\n+import sys\n x = 1\n```\n"
    assert patched(data, reply) == BOM + b"import sys\nx = 1\n"


def test_a_character_that_the_encoding_lacks_is_refused_with_its_position() -> None:
    refusal = patched(f"{LATIN}x = 1\n".encode("latin-1"), block("a.py", "x = 1", "x = '学'"))
    assert isinstance(refusal, Refusal)
    assert refusal.kind == "unreadable" and "a.py line 2: '学' does not exist in iso-8859-1" in refusal.reason


def test_a_new_coding_line_is_obeyed() -> None:
    whole = f"{LATIN}x = 'é'\n"
    assert patched(b"x = 1\n", f"a.py\n```\n{whole}```\n") == whole.encode("latin-1")
    assert patched(whole.encode("latin-1"), "a.py\n```\nx = 'é'\n```\n") == "x = 'é'\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        b"# -*- coding: latin-1 -*- \xe9\nx = 1\n",
        b"# coding: no-such-thing\nx = 1\n",
        b"x = 1\n# \xe9\n",
        b"\xff\xfex = 1\n",
        BOM + b"# coding: latin-1\nx = 1\n",
        b"# coding: utf-16\nx = 1\n",
        b"# coding: rot13\nx = 1\n",
        b"# coding: base64\nx = 1\n",
        b"# coding: idna\nx = 1\n",
        b"# coding: unicode_escape\nx = 1\n",
        b"# coding: utf-7\nx = 1 # +AGE-\n",
        BOM + BOM + b"x = 1\n",
        b"",
        b"\n\n",
        b"# coding:\nx = 1\n",
    ],
)
@pytest.mark.parametrize("path", ["a.py", "a.txt", "a.pyi"])
def test_any_bytes_result_in_code_or_a_refusal(data: bytes, path: str) -> None:
    """And what is not touched does not change."""
    text = text_of(path, data)
    again = bytes_of(path, text, data)
    assert isinstance(again, Refusal) or again == data or data.startswith(BOM + BOM)
    for reply in (
        block(path, "x = 1", "x = 2"),
        block(path, "", "x = 3"),
        f"{path}\n```\nx = 4\n\ud800```\n",
        f"{path}\n```\ny = '学'\n```\n",
    ):
        made = patched(data, reply, path)
        if isinstance(made, Refusal):
            made.reason.encode()
        elif b"x = 1" in data and b"x = 2" in made:
            assert made == data.replace(b"x = 1", b"x = 2")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"x = 1\n", None),
        (b"\xe9\n", None),
        (LATIN.encode() + b"\xe9", "iso-8859-1"),
        (b"# coding: cp1252", "cp1252"),
        (b"\n# coding: cp1252\n", "cp1252"),
        (b"x\n# coding: cp1252\n", None),
        (b"\n\n# coding: cp1252\n", None),
        (b"# coding: UTF-8\n", None),
        (b"# coding: nonsense\n", None),
    ],
)
def test_the_coding_line_is_found_as_python_finds_it(data: bytes, encoding: str | None) -> None:
    assert coding_of("a.py", data) == encoding
    assert coding_of("a.txt", data) is None


def test_a_refusal_can_be_written() -> None:
    assert Refusal("syntax", "a \udce9 b").reason == "a \N{REPLACEMENT CHARACTER} b"
