"""Text utilities: counts as text, text that is safe to store and display, and the answer in a model's text without
reasoning.

Models mark their reasoning in various ways, and servers may pass on only a part of the marks: only the closing one (if
the chat template opened it), only the opening one (if the text was cut off), or both. Drafts in the reasoning are not
the answer. `FAMILIES` is the only table of these marks. Parsers of ideas and code get the result of `split_reasoning`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SURROGATE = re.compile("[\ud800-\udfff]")


def counted(number: int, what: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def writable(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD. JSON may contain lone surrogates, which UTF-8 cannot
    encode."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


LONGEST_LINE = 4000
"""Maximum number of characters of a line that are shown; the rest is cut."""
_HIDDEN = "\N{REPLACEMENT CHARACTER}"
_BORDERS = re.compile(
    r"<(?=\||/?s>|/?think|</?SYS>>|(?:start|end)_of_turn>|/?(?:system|user|assistant|human|tool)>|(?:bos|eos|pad)>)"
    r"|\|(?=>)|\[(?=/?(?:INST|THINK|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\])|◁(?=/?think)",
    re.I,
)
"""The first character of marks by which servers separate the turns of a conversation."""


def plain(text: str, longest: int = LONGEST_LINE) -> str:
    """Text of a program or a model, made safe to display: control characters except newline and tab, characters that
    change the writing direction, and invisible characters become U+FFFD; long lines are cut."""
    return "\n".join(_plain(line, longest) for line in text.split("\n"))


def plain_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Like `plain`, on one line."""
    return _plain(" ".join(text.split()), longest)


def _plain(line: str, longest: int) -> str:
    shown = line[:longest]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() or char == "\t" else _HIDDEN for char in shown)
    return shown if len(line) <= longest else f"{shown}… ({len(line) - longest} more characters)"


def inert(text: str) -> str:
    """Text for a prompt that cannot end a turn of the conversation: a space is inserted after the first character of
    such marks."""
    return _BORDERS.sub(lambda found: f"{found[0]} ", text)


def quoted(text: str) -> str:
    """Output of a program for a prompt, with a bar before each line, so that it cannot be mistaken for a part of the
    prompt."""
    return "\n".join(f"| {line}" for line in inert(plain(text)).split("\n"))


def fence_around(text: str) -> str:
    """A fence of backticks that no line of the text closes."""
    return "`" * (1 + max([2, *(len(run) for run in re.findall("`+", text))]))


@dataclass(frozen=True)
class Family:
    """One form of marks around reasoning. The patterns ignore case."""

    names: str
    """Models that use it."""
    opens: str
    """Pattern of the opening mark."""
    closes: str
    """Pattern of the closing mark."""
    token: bool = False
    """Whether the marks are special tokens that prose never contains: the opening one then counts anywhere in a
    line."""
    at_start: bool = False
    """Whether the opening mark is prose, which counts only at the start of a reply that also has the closing mark."""


_MORE = r"(?:\s[^<>\n]{0,80})?"
"""Pattern of attributes in an opening tag."""
_IN_XML = (
    r"thinking(?:_process)?|thoughts?|reason|reasoning(?:_content)?|reflection|scratchpad|antthinking|budget:thinking|"
    r"internal_thoughts?|(?:inner_)?monologue|analysis|cot|chain_of_thought|planning|draft"
)

FAMILIES = (
    Family("DeepSeek, Qwen, GLM, MiniMax and most others", rf"<think{_MORE}>", r"</think\s*>"),
    Family(
        "models that are asked to think in XML; EXAONE, Reka, Reflection",
        rf"<(?:{_IN_XML}){_MORE}>",
        rf"</(?:{_IN_XML})\s*>",
    ),
    Family("chat front ends that fold reasoning", r"<details type=\"reasoning\"[^>\n]*>", r"</details>"),
    Family("s1", r"<\|im_start\|>think\b", r"(?:<\|im_end\|>\s*)?<\|im_start\|>answer\b", True),
    Family(
        "Thinking in tokens of other names",
        r"<\|(?:(?:begin|start)_of_thinking|thinking|(?:thought|thinking|reasoning)_start)\|>",
        r"<\|(?:end_of_thinking|/thinking|(?:thought|thinking|reasoning)_end)\|>",
        True,
    ),
    Family("LongCat, Hunyuan", r"<(?:longcat_think|think:opensource)>", r"</(?:longcat_think|think:opensource)>", True),
    Family("Seed-OSS", r"<seed:think>", r"</seed:think>", True),
    Family("Magistral", r"\[THINK\]", r"\[/THINK\]", True),
    Family("Kimi", r"◁think▷", r"◁/think▷", True),
    Family("Command", r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", True),
    Family("Apertus", r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", True),
    Family("OpenThinker, Sky-T1", r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", True),
    Family("Solar Open", r"<\|think\|>", r"<\|end\|>\s*<\|begin\|>\s*assistant\s*<\|content\|>", True),
    Family("MedGemma", r"<unused94>(?:thought\b)?", r"<unused95>", True),
    Family("Gemma 4", r"<\|channel>\s*(?:thought|thinking|analysis)\b", r"<channel\|>", True),
    Family(
        "gpt-oss (harmony)",
        r"<\|channel\|>\s*(?!final\b)\w+[^<\n]*(?:<\|constrain\|>\w+\s*)?<\|message\|>",
        r"(?:<\|(?:end|return|call)\|>\s*)?(?:<\|start\|>\s*assistant[^<\n]*)?<\|channel\|>\s*final\b[^<\n]*<\|message\|>",
        True,
    ),
    Family(
        "gpt-oss where a server drops special tokens",
        r"(?-i:analysis)(?=\S)",
        r"(?-i:assistant\s*final)",
        at_start=True,
    ),
    Family("Granite 3", r"here(?:'s| is) my thought process:", r"here(?:'s| is) my response:", at_start=True),
)
_WRAPPERS = (
    (r"<(answer|response|output|final_answer|solution)>", r"</{0}>"),
    (r"<\|START_(RESPONSE|TEXT)\|>", r"<\|END_{0}\|>"),
    (r"<\|begin_of_(solution)\|>", r"<\|end_of_{0}\|>"),
    (r"<\|(?:answer)_(prefix)\|>", r"<\|answer_suffix\|>"),
)
"""Marks around the answer itself, removed only after reasoning."""
_ENDS = re.compile(r"(?:<\|(?:end|return|call|im_end|eot_id|END_OF_TURN_TOKEN)\|>|</s>)\s*\Z", re.I)
"""Marks at the end of a turn, removed only after reasoning."""


@dataclass(frozen=True)
class Split:
    """A model's text, split into reasoning and answer."""

    answer: str
    """The answer: the whole text if it has no reasoning, empty if it has only reasoning."""
    reasoning: bool = False
    """Whether the text has reasoning."""
    unclosed: bool = False
    """Whether the text ends inside its reasoning, as if cut off. Then `answer` is empty."""


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    opens: bool
    alone: bool = True
    """Whether it counts even without an opening mark."""


def split_reasoning(text: str) -> Split:
    """The answer in a text, without reasoning.

    Marks in a fenced block, a SEARCH/REPLACE block, a hunk of a diff, a JSON value, inline code or quotes are content
    and do not count. An opening tag counts at the start of a line, a closing one unless a sentence continues around it.
    Text between an opening and its closing mark is removed. A closing mark without an opening one ends reasoning that
    began with the text: everything before it is removed.
    """
    parts: list[str] = []
    at, inside, found = 0, False, False
    for mark in _marks(text):
        if mark.opens and not inside:
            parts.append(text[at : mark.start])
        elif not mark.opens and not inside:
            if not mark.alone:
                continue
            parts.clear()
        inside, at, found = mark.opens, mark.end, True
    if not found:
        return Split(text)
    if inside:
        return Split("", reasoning=True, unclosed=True)
    answer = "".join([*parts, text[at:]])
    return Split(_unwrapped(answer) if answer.strip() else "", reasoning=True)


def _unwrapped(answer: str) -> str:
    text = _ENDS.sub("", answer)
    for opens, closes in _WRAPPERS:
        found = re.match(rf"\s*{opens}[ \t]*\n?", text, re.I)
        if found:
            text = text[found.end() :]
            return re.sub(rf"\s*{closes.format(found[1])}\s*\Z", "\n", text, count=1, flags=re.I)
    return text


_ANY = re.compile(
    "|".join(
        f"(?P<{kind}{number}>{getattr(family, kind)})"
        for number, family in enumerate(FAMILIES)
        for kind in ("closes", "opens")  # harmony: the final channel closes, any other opens
    ),
    re.I,
)


def _marks(text: str) -> Iterator[_Mark]:
    """The marks that count, in order of position."""
    if _ANY.search(text) is None:
        return
    spans, _ = _structure(text)
    begun = {family for family in FAMILIES if family.at_start and _begins(text, family)}
    for match in _ANY.finditer(text):
        kind, number = re.fullmatch(r"(opens|closes)(\d+)", match.lastgroup or "").groups()  # type: ignore[union-attr]
        family, opens = FAMILIES[int(number)], kind == "opens"
        if family.at_start and family not in begun:
            continue
        span = next((one for one in spans if one.start <= match.start() < one.end), None)
        if span is not None and (opens or not _ends_a_draft(text, match, span)):
            continue
        if _quoted(text, match.start()):
            continue
        before, after = _around(text, match)
        first = not text[: match.start()].strip()
        if not opens:
            alone = family.token or not before.strip() or not after.strip() or _glued(before, after)
            yield _Mark(match.start(), match.end(), False, alone)
        elif first or (not family.at_start and (family.token or not before)):
            yield _Mark(match.start(), match.end(), True)


def _begins(text: str, family: Family) -> bool:
    """Whether the text begins with the family's opening mark, and has the closing one or text directly after the
    opening one."""
    found = re.match(rf"\s*{family.opens}", text, re.I)
    if found is None:
        return False
    return re.search(family.closes, text, re.I) is not None or text[found.end() : found.end() + 1].isupper()


def _around(text: str, match: "re.Match[str]") -> tuple[str, str]:
    """The text before and after a mark on its line."""
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    return text[start : match.start()], text[match.end() : end if end >= 0 else len(text)]


def _glued(before: str, after: str) -> bool:
    """Whether a mark has no space on either side, unlike a word of a sentence."""
    return not before[-1:].isspace() and not after[:1].isspace() and after[:1] not in ".,;:!?)'"


def _quoted(text: str, at: int) -> bool:
    """Whether a position is in inline code or between double quotes on its line."""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)]
    return any(
        found.start() < at - start < found.end() for found in re.finditer(r"(`+)[^`\n]+\1|\"(?:[^\"\\\n]|\\.)*\"", line)
    )


# Spans of content ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """A span of text that is content, whatever marks it contains."""

    start: int
    end: int
    marked: bool
    """Whether it is a fence or a block, whose closing mark may be missing in a draft."""


_FENCE = re.compile(r"( *)(`{3,}|~{3,})([^`\n]*)$")
_SEARCH = re.compile(r"<{5,9} ?(?:SEARCH|ORIGINAL)\b")
_REPLACE = re.compile(r">{5,9} ?(?:REPLACE|UPDATED)\b")
_DIFF = re.compile(r"(?:@@(?:[ -]|$)|--- \S|\+\+\+ \S)")


def _structure(text: str) -> tuple[list[_Span], bool]:
    """The spans of content, and whether all marks of fences and blocks are balanced."""
    spans: list[_Span] = []
    whole = True
    at = 0
    while at < len(text):
        line, after = _line(text, at)
        found = _FENCE.match(line)
        if found:
            end, closed = _end_of_fence(text, after, found[2], len(found[1]))
        elif _SEARCH.match(line.strip()):
            end, closed = _end_of_block(text, after)
        elif _DIFF.match(line):
            end, closed = _end_of_hunk(text, after), True
        elif line[:1] in ("{", "["):
            end, closed = _end_of_json(text, at) or after, True
            if end == after:
                at = after
                continue
        else:
            whole = whole and not _REPLACE.match(line.strip())
            at = after
            continue
        spans.append(_Span(at, end, marked=bool(found) or bool(_SEARCH.match(line.strip()))))
        whole, at = whole and closed, end
    return spans, whole


def _line(text: str, at: int) -> tuple[str, int]:
    """The line that begins at `at`, without its line ending, and the start of the next line."""
    end = text.find("\n", at)
    return (text[at:].rstrip("\r"), len(text)) if end < 0 else (text[at:end].rstrip("\r"), end + 1)


def _end_of_fence(text: str, at: int, mark: str, indent: int) -> tuple[int, bool]:
    depth = 1
    while at < len(text):
        line, at = _line(text, at)
        found = _FENCE.match(line.rstrip())
        if found and found[2][0] == mark[0] and len(found[2]) >= len(mark) and len(found[1]) <= indent:
            depth += 1 if found[3].strip() else -1
            if not depth:
                return at, True
    return len(text), False


def _end_of_block(text: str, at: int) -> tuple[int, bool]:
    depth = 1
    while at < len(text):
        line, at = _line(text, at)
        depth += bool(_SEARCH.match(line.strip())) - bool(_REPLACE.match(line.strip()))
        if not depth:
            return at, True
    return len(text), False


def _end_of_hunk(text: str, at: int) -> int:
    """Position after the last line that can belong to a diff; an empty line belongs to it if more of the diff
    follows."""
    end = at
    while at < len(text):
        line, at = _line(text, at)
        if line[:1] in (" ", "+", "-", "\\", "\t") or _DIFF.match(line):
            end = at
        elif line:
            break
    return end


def _end_of_json(text: str, at: int) -> int | None:
    """Position after a complete JSON object or array that begins at `at`; none if there is none."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None


def _ends_a_draft(text: str, match: "re.Match[str]", span: _Span) -> bool:
    """Whether a closing mark within a fence or a block ends reasoning with an unclosed draft: it is at the start or end
    of its line, and the marks below it are balanced without those above."""
    before, after = _around(text, match)
    if not span.marked or (before.strip() and after.strip()):
        return False
    return _structure(text[match.end() :])[1]
