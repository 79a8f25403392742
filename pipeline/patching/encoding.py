"""Conversion between the bytes and the text of a code file, by Python's own rule for source files.

A Python file has the encoding named in its coding line (PEP 263), else UTF-8; any file may begin with a byte order
mark. A change is made to the text without the mark; when written back, the file keeps its mark and its encoding.
"""

import codecs
import io
import tokenize

from pipeline.patching.refusal import Refusal

_ASCII = bytes(range(128))
_ESCAPED = ("utf-8", "surrogateescape")  # preserves bytes that are not UTF-8


def text_of(path: str, data: bytes) -> str:
    """The text of a file, without its byte order mark. Bytes that are invalid in its encoding become surrogates."""
    data = data.removeprefix(codecs.BOM_UTF8)
    encoding = coding_of(path, data)
    if encoding is not None:
        try:
            text = data.decode(encoding)
            if text.encode(encoding) == data:
                return text
        except (UnicodeError, LookupError):
            pass
    return data.decode(*_ESCAPED)


def bytes_of(path: str, text: str, old: bytes) -> bytes | Refusal:
    """The new content of a file. It has a byte order mark if the old content has one. Refused if the text contains a
    character that does not exist in the encoding named in its coding line."""
    mark = codecs.BOM_UTF8 if old.startswith(codecs.BOM_UTF8) else b""
    text = text.removeprefix("\ufeff")
    data = text.encode(*_ESCAPED) if _can_be_escaped(text) else text.encode("utf-8", "replace")
    encoding = coding_of(path, data)
    if encoding is None or (encoding == "utf-8" and mark):
        return mark + data
    try:
        return mark + text.encode(encoding)
    except UnicodeEncodeError as error:
        lacking = text[error.start : error.end]
        if _is_escaped(lacking):  # the old content was invalid in its encoding too
            return mark + data
        line = text.count("\n", 0, error.start) + 1
        what = f"{lacking!r} does not exist in {encoding}, the encoding that the file's coding line names"
        return Refusal("unreadable", f"{path} line {line}: {what}; write it otherwise")


def coding_of(path: str, data: bytes) -> str | None:
    """The encoding named in the coding line of a Python file; none for UTF-8, for other files, and for encodings that
    are unknown or do not extend ASCII."""
    if not path.endswith((".py", ".pyi")):
        return None
    first = b"".join(line + b"\n" for line in data.split(b"\n", 2)[:2])
    try:
        # Only the coding line matters: without one, bytes that are not UTF-8 raise SyntaxError here.
        encoding, _ = tokenize.detect_encoding(io.BytesIO(first).readline)
        text = _ASCII.decode("ascii")
        extends = text.encode(encoding) == _ASCII and _ASCII.decode(encoding) == text
    except (SyntaxError, LookupError, ValueError):
        return None
    return encoding if extends and encoding not in ("utf-8", "utf-8-sig") else None


def _is_escaped(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _can_be_escaped(text: str) -> bool:
    """Whether all lone surrogates in a text stand for bytes."""
    try:
        text.encode(*_ESCAPED)
    except UnicodeEncodeError:
        return False
    return True
