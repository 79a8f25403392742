"""Finds where the hunks of a reply belong in a file, and applies them.

A hunk is matched at four levels, each more tolerant than the one before; the first level that matches anywhere is used:

1. its old lines, exactly;
2. ignoring white space at the ends of lines;
3. all lines shifted by the same indentation, in tabs or spaces; added lines are shifted with them;
4. an alignment: removed lines must be in the file (ignoring white space); context lines may differ slightly, be missing
   or be superfluous, as long as half of all lines are in the file.

A hunk that fits two places equally well goes to the one at its stated line, under its stated heading, or between its
neighbours; if two places remain, it is refused. A place is never chosen just because it is the nearest.
"""

import difflib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.patching.reading import Hunk, Line
from pipeline.patching.refusal import Refusal

Pairs = tuple[int | None, ...]  # for each old line of a hunk, its index in the file, or None if missing


@dataclass(frozen=True)
class Place:
    """A place where a hunk fits."""

    start: int
    """The first line of the file that it covers, from 0."""
    lines: tuple[Line, ...]
    """The reading of the hunk that fits here."""
    pairs: Pairs
    tab: int = 4
    """Columns per tab when lines are shifted."""

    def heading_above(self, heading: str, file: Sequence[str]) -> bool:
        """Whether the place is inside the function or class named by the heading."""
        limit = math.inf
        for line in reversed(file[: self.start + 1]):
            if (line.strip() and _width(line, self.tab) < limit) or line.strip() == heading:
                if line.strip() == heading:
                    return True
                limit = _width(line, self.tab)
        return False


@dataclass
class Changes:
    """All changes to the lines of one file."""

    removed: set[int] = field(default_factory=set)
    added: dict[int, list[str]] = field(default_factory=dict)
    """Index of a line of the file → the new lines before it."""


def patch(path: str, text: str, hunks: Sequence[Hunk]) -> str | Refusal:
    """The text of a file after all hunks. They are applied to the original file; if that fails, one after another, each
    to the result of the one before, since a model may write blocks that build on each other."""
    done = _patch_at_once(path, text, hunks)
    if not isinstance(done, Refusal) or len(hunks) < 2:
        return done
    once = {(hunk.readings, hunk.start): hunk for hunk in hunks}  # an exact repetition is applied once
    for hunk in once.values():
        after = _patch_at_once(path, text, [hunk])
        if isinstance(after, Refusal):
            return done
        text = after
    return text


def _patch_at_once(path: str, text: str, hunks: Sequence[Hunk]) -> str | Refusal:
    raw = split(text)
    file = [line.rstrip("\r\n") for line in raw]
    found = [_places(file, hunk) for hunk in hunks]
    missing = [hunk for hunk, places in zip(hunks, found, strict=True) if not places]
    if missing:
        reason = f"{path} {missing[0].where}: {_nearest(file, missing[0])}"
        return Refusal("wrong_file" if len(missing) == len(hunks) else "partial", reason)
    for hunk, places in zip(hunks, found, strict=True):
        readings = {place.lines for place in places}
        if len(readings) > 1:
            return Refusal("ambiguous", f"{path} {hunk.where}: it can be read in {len(readings)} ways that fit")
    chosen = _choose(file, hunks, found)
    if isinstance(chosen, Refusal):
        return Refusal(chosen.kind, f"{path} {chosen.reason}")
    changes = Changes()
    for hunk, place in zip(hunks, chosen, strict=True):
        if hunk.maybe_cut and _is_cut(file, hunk, place):
            return Refusal("cut_off", f"{path} {hunk.where}: its end is not in the file, the reply seems cut off")
        if not _collect(file, place, changes):
            return Refusal("conflict", f"{path} {hunk.where}: it changes lines that another hunk changes too")
    return _rewrite(raw, changes, hunks)


def _is_cut(file: Sequence[str], hunk: Hunk, place: Place) -> bool:
    """Whether a hunk at the end of a reply seems incomplete. A complete one ends in context that is in the file, or in
    added lines at the end of the file."""
    last, pair = place.lines[-1], place.pairs[-1] if place.pairs else None
    if last.tag == " ":
        return pair is None or file[pair].rstrip() != last.text.rstrip()
    return hunk.short and pair is not None and pair < len(file) - 1


def split(text: str) -> list[str]:
    """The lines with their line endings. Only newlines end a line: `str.splitlines` also splits at form feeds and
    more."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


# Finding -------------------------------------------------------------------------------------------------------------


def _places(file: Sequence[str], hunk: Hunk) -> list[Place]:
    """All places where the hunk fits, at the strictest level at which it fits anywhere."""
    levels: tuple[Callable[[Sequence[str], tuple[Line, ...]], list[Place]], ...]
    levels = (_exactly, _but_for_line_ends, _but_for_indentation, _aligned)
    if not any(line.tag != "+" for line in hunk.readings[0]):
        return _without_context(file, hunk)
    for level in levels:
        places = [place for lines in hunk.readings for place in level(file, lines)]
        if places:
            return places
    return []


def _without_context(file: Sequence[str], hunk: Hunk) -> list[Place]:
    """A place for a hunk with only added lines: where the header says, if its counts are right, as in the output of
    `diff -U0`."""
    if not file:
        return [Place(0, hunk.readings[0], ())]
    if not hunk.start or not hunk.exact or hunk.start > len(file):
        return []
    return [Place(hunk.start, hunk.readings[0], ())]


def _old(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines if line.tag != "+"]


def _exactly(file: Sequence[str], lines: tuple[Line, ...]) -> list[Place]:
    return _windows(file, lines, lambda text: text)


def _but_for_line_ends(file: Sequence[str], lines: tuple[Line, ...]) -> list[Place]:
    return _windows(file, lines, str.rstrip)


def _windows(file: Sequence[str], lines: tuple[Line, ...], seen: Callable[[str], str]) -> list[Place]:
    """The places where the old lines match consecutive lines of the file."""
    old, lines_of_file = [seen(text) for text in _old(lines)], [seen(text) for text in file]
    starts = range(len(file) - len(old) + 1)
    hits = [at for at in starts if lines_of_file[at] == old[0] and lines_of_file[at : at + len(old)] == old]
    return [Place(at, lines, tuple(range(at, at + len(old)))) for at in hits]


def _but_for_indentation(file: Sequence[str], lines: tuple[Line, ...]) -> list[Place]:
    together = _windows(file, lines, str.strip)
    for tab in (4, 8, 2):
        places = [Place(place.start, lines, place.pairs, tab) for place in together]
        moved = [place for place in places if len(_moves(file, place)) == 1]
        if moved:
            return moved
    return []


def _moves(file: Sequence[str], place: Place) -> set[int]:
    """Number of columns by which the lines of the file are indented more than those of the hunk; one entry per distinct
    value."""
    pairs = zip(place.pairs, _old(place.lines), strict=True)
    return {_move(file[at], text, place.tab) for at, text in pairs if at is not None and text.strip()}


def _move(there: str, text: str, tab: int) -> int:
    return _width(there, tab) - _width(text, tab)


def _width(line: str, tab: int) -> int:
    expanded = line.expandtabs(tab)
    return len(expanded) - len(expanded.lstrip())


_PUNCTUATION = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})


def _squeezed(text: str) -> str:
    """A line without white space, and with typographic punctuation replaced by ASCII."""
    return "".join(text.translate(_PUNCTUATION).split())


def _similar(one: str, two: str) -> bool:
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    return matcher.real_quick_ratio() >= 0.6 and matcher.quick_ratio() >= 0.6 and matcher.ratio() >= 0.6


_MOST_CELLS = 1_000_000  # of an alignment; larger ones take seconds


Row = dict[int, tuple[int, Pairs]]  # index of the line at which an alignment ends → its cost and its pairs


def _aligned(file: Sequence[str], lines: tuple[Line, ...]) -> list[Place]:
    """The cheapest alignments of the old lines with consecutive lines of the file, by dynamic programming.

    A line costs 0 if it is in the file, 1 if its indentation or its text differs slightly, and 2 if it is context that
    the file lacks. A line of the file that the hunk lacks costs 2. An empty line that either lacks costs 1. Next to a
    change only empty lines may be missing. Otherwise the place of the change would be a guess, and an added line
    without its `+` would be lost.
    """
    old = [line for line in lines if line.tag != "+"]
    if len(old) * len(file) > _MOST_CELLS or not any(line.text.strip() for line in old):
        return []
    squeezed = [_squeezed(line) for line in file]
    row: Row = dict.fromkeys(_promising(squeezed, old), (0, ()))
    for line, (change_before, change_after) in zip(old, _beside_changes(lines), strict=True):
        want = _squeezed(line.text)
        following: Row = {}
        for at in range(len(file) + 1):
            if at not in row:
                continue
            cost, pairs = row[at]
            if line.tag == " " and not (want and (change_before or change_after)):
                _offer(following, at, cost + (2 if want else 1), (*pairs, None), len(old))
            if at == len(file):
                continue
            if squeezed[at] == want:
                _offer(following, at + 1, cost + (file[at].rstrip() != line.text.rstrip()), (*pairs, at), len(old))
            elif line.tag == " " and want and _similar(squeezed[at], want):
                _offer(following, at + 1, cost + 1, (*pairs, at), len(old))
            if pairs and pairs[-1] is not None and not (squeezed[at] and (change_before or line.tag == "-")):
                _offer(row, at + 1, cost + (2 if squeezed[at] else 1), pairs, len(old))
        row = following
    return _cheapest(file, lines, old, row)


def _offer(row: Row, end: int, cost: int, pairs: Pairs, most: int) -> None:
    if cost <= most and (end not in row or cost < row[end][0]):
        row[end] = (cost, pairs)


def _promising(squeezed: Sequence[str], old: Sequence[Line]) -> list[int]:
    """Lines at which an alignment may begin: half of the old lines must be among the lines below."""
    wanted = [_squeezed(line.text) for line in old if line.text.strip()]
    known = set(wanted)
    there = [0, *itertools.accumulate(line in known for line in squeezed)]
    ends = [min(at + 2 * len(old), len(squeezed)) for at in range(len(squeezed))]
    return [at for at, end in enumerate(ends) if 2 * (there[end] - there[at]) >= len(wanted)]


def _beside_changes(lines: Sequence[Line]) -> list[tuple[bool, bool]]:
    """For each old line, whether a change is directly before it and directly after it."""
    tags = [" ", *(line.tag for line in lines), " "]
    around = zip(tags, tags[1:-1], tags[2:], strict=False)
    return [(before != " ", after != " ") for before, tag, after in around if tag != "+"]


def _cheapest(
    file: Sequence[str],
    lines: tuple[Line, ...],
    old: Sequence[Line],
    row: Row,
) -> list[Place]:
    """The cheapest alignments among those in which at least half of the lines with text are in the file."""
    wanted = sum(bool(line.text.strip()) for line in old)
    believed: list[tuple[int, Place]] = []
    for cost, pairs in row.values():
        there = [
            at
            for at, line in zip(pairs, old, strict=True)
            if at is not None and line.text.strip() and _squeezed(file[at]) == _squeezed(line.text)
        ]
        first = next((at for at in pairs if at is not None), None)
        if first is not None and there and 2 * len(there) >= wanted:
            believed.append((cost, Place(first, lines, pairs)))
    least = min((cost for cost, _ in believed), default=0)
    places = {place.pairs: place for cost, place in believed if cost == least}
    # Alignments that share a line are the same place.
    distinct: list[Place] = []
    for place in places.values():
        if not any(set(place.pairs) & set(other.pairs) - {None} for other in distinct):
            distinct.append(place)
    return distinct


# Choosing ------------------------------------------------------------------------------------------------------------


def _choose(file: Sequence[str], hunks: Sequence[Hunk], found: Sequence[list[Place]]) -> list[Place] | Refusal:
    """One place for each hunk, or a refusal of the first hunk with several places."""
    narrowed = [_told_apart(file, hunk, places) for hunk, places in zip(hunks, found, strict=True)]
    in_order = _in_order(narrowed)
    if in_order:
        return in_order
    for hunk, places in zip(hunks, narrowed, strict=True):
        if len(places) > 1:
            numbers = ", ".join(str(place.start + 1) for place in places[:5])
            what = f"{hunk.where}: its lines fit equally well at lines {numbers}; give more lines around the change"
            return Refusal("ambiguous", what)
    return [places[0] for places in narrowed]


def _told_apart(file: Sequence[str], hunk: Hunk, places: list[Place]) -> list[Place]:
    """The one place at the stated line, or under the stated heading; all places if not exactly one agrees."""
    if len(places) > 1 and hunk.start is not None:
        at_line = [place for place in places if place.start == max(hunk.start - 1, 0)]
        if len(at_line) == 1:
            return at_line
    if len(places) > 1 and hunk.heading:
        under = [place for place in places if place.heading_above(hunk.heading.strip(), file)]
        if len(under) == 1:
            return under
    return places


def _in_order(found: Sequence[list[Place]]) -> list[Place] | None:
    """The places of hunks in ascending order, if exactly one such choice exists: then the first possible place for each
    hunk, from the top, equals the last possible place, from the bottom."""
    first: list[Place] = []
    for places in found:
        below = [place for place in places if not first or place.start > first[-1].start]
        if not below:
            return None
        first.append(min(below, key=lambda place: place.start))
    last: list[Place] = []
    for places in reversed(found):
        above = [place for place in places if not last or place.start < last[0].start]
        last.insert(0, max(above, key=lambda place: place.start))
    return first if first == last else None


def _nearest(file: Sequence[str], hunk: Hunk) -> str:
    """A message with the line that was not found, and the nearest line of the file."""
    old = [text.strip() for text in _old(hunk.readings[0]) if text.strip()]
    there = {line.strip() for line in file}
    missing = next((text for text in old if text not in there), None)
    if not old:
        return "it only adds lines and gives no line around them"
    if missing is None:
        return f"its lines are in the file but not together, beginning with {old[0]!r}"
    near = difflib.get_close_matches(missing, sorted(there - {""}), n=1, cutoff=0.4)
    if not near:
        return f"no line of the file is like {missing!r}"
    number = next(at for at, line in enumerate(file, 1) if line.strip() == near[0])
    return f"there is no line {missing!r}; the nearest is line {number}: {near[0]!r}"


# Rewriting -----------------------------------------------------------------------------------------------------------


def _collect(file: Sequence[str], place: Place, changes: Changes) -> bool:
    """Add the changes of a hunk at its place; false if an earlier hunk changes the same lines."""
    moves = _moves(file, place)
    uniform = moves.pop() if len(moves) == 1 else None
    cursor, number = place.start, 0
    mine: dict[int, list[str]] = {}
    for at, line in enumerate(place.lines):
        if line.tag == "+":
            by = uniform if uniform is not None else _move_of_change(file, place, at)
            mine.setdefault(cursor, []).append(_moved(line.text, by, place, file))
            continue
        pair = place.pairs[number]
        number += 1
        if pair is None:
            continue
        cursor = pair + 1
        if line.tag == "-":
            if pair in changes.removed:
                return False
            changes.removed.add(pair)
    if set(mine) & set(changes.added):
        return False
    changes.added |= mine
    return True


def _move_of_change(file: Sequence[str], place: Place, at: int) -> int:
    """Number of columns by which the removed lines that an added line replaces are shifted, if they agree; else 0."""
    first = at
    while first and place.lines[first - 1].tag != " ":
        first -= 1
    skipped = sum(line.tag != "+" for line in place.lines[:first])
    removed = [line.text for line in place.lines[first:at] if line.tag == "-"]
    pairs = zip(place.pairs[skipped : skipped + len(removed)], removed, strict=True)
    moves = {_move(file[at], text, place.tab) for at, text in pairs if at is not None and text.strip()}
    return moves.pop() if len(moves) == 1 else 0


def _moved(text: str, by: int, place: Place, file: Sequence[str]) -> str:
    """The line shifted to the right by `by` columns, in tabs if the file uses tabs there."""
    tabs = any(file[at].startswith("\t") for at in place.pairs if at is not None)
    spaces_in_tabs = tabs and text.startswith(" ")
    if not text.strip() or (not by and not spaces_in_tabs):
        return text
    width = max(_width(text, place.tab) + by, 0)
    return ("\t" * (width // place.tab) + " " * (width % place.tab) if tabs else " " * width) + text.lstrip()


def _rewrite(raw: Sequence[str], changes: Changes, hunks: Sequence[Hunk]) -> str:
    """The text of the file after the changes. New lines have the line ending of most of its lines."""
    newline = "\r\n" if 2 * sum(line.endswith("\r\n") for line in raw) > len(raw) else "\n"
    lines: list[str] = []
    for at in range(len(raw) + 1):
        lines += [line + newline for line in changes.added.get(at, [])]
        if at < len(raw) and at not in changes.removed:
            lines.append(raw[at])
    lines = [line if line.endswith("\n") else line + newline for line in lines]
    if not lines:
        return ""
    last_changes = len(raw) - 1 in changes.removed or len(raw) in changes.added
    bare = bool(raw) and not raw[-1].endswith("\n")
    old_bare, new_bare = any(hunk.old_bare for hunk in hunks), any(hunk.new_bare for hunk in hunks)
    if last_changes and old_bare != new_bare:
        bare = new_bare
    return "".join(lines)[: -len(newline)] if bare else "".join(lines)
