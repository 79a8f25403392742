"""Where the hunks of a reply belong in a file, and the file after them.

A hunk is tried in four readings, each more patient than the one before; the first that fits anywhere decides:

1. its old lines, as they are;
2. white space at the ends of lines aside;
3. all lines moved by the same indentation, tabs or spaces; added lines are moved with them;
4. an alignment: removed lines must be there (white space aside), context lines may be slightly off, missing or
   superfluous, as long as half of all lines are there.

A hunk that fits two places equally well goes to the one at its stated line, or under its stated heading, or between
its neighbours; if that leaves two, it is refused. Nothing is ever taken because it is merely nearest.
"""

import difflib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.patching.reading import Hunk, Line
from pipeline.patching.refusal import Refusal

Pairs = tuple[int | None, ...]  # for each old line of a hunk the line of the file, or None if the file lacks it


@dataclass(frozen=True)
class Place:
    """Where a hunk fits."""

    start: int
    """The first line of the file that it covers, from 0."""
    lines: tuple[Line, ...]
    """The reading of the hunk that fits here."""
    pairs: Pairs
    tab: int = 4
    """How many columns a tab is worth when lines are moved."""

    def heading_above(self, heading: str, file: Sequence[str]) -> bool:
        """Whether this is inside the function or class that the hunk names."""
        limit = 1_000_000
        for line in reversed(file[: self.start + 1]):
            if (line.strip() and _width(line, self.tab) < limit) or line.strip() == heading:
                if line.strip() == heading:
                    return True
                limit = _width(line, self.tab)
        return False


@dataclass
class Changes:
    """What is done to the lines of one file, all at once."""

    removed: set[int] = field(default_factory=set)
    added: dict[int, list[str]] = field(default_factory=dict)
    """Before which line of the file → the new lines."""


def patch(path: str, text: str, hunks: Sequence[Hunk]) -> str | Refusal:
    """The text of a file after all hunks. They mean the file as it was; where they cannot, each means the file as the
    one before left it, as blocks that were written one after another may."""
    done = _patch_at_once(path, text, hunks)
    if not isinstance(done, Refusal) or len(hunks) < 2:
        return done
    once = {(hunk.readings, hunk.start): hunk for hunk in hunks}  # a block that is merely repeated is meant once
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
    """Whether a hunk at the end of a reply does not end as a whole one would: with context that the file has, or with
    added lines at the end of the file."""
    last, pair = place.lines[-1], place.pairs[-1] if place.pairs else None
    if last.tag == " ":
        return pair is None or file[pair].rstrip() != last.text.rstrip()
    return hunk.short and pair is not None and pair < len(file) - 1


def split(text: str) -> list[str]:
    """The lines with their ends. Only newlines end a line: `str.splitlines` also knows form feeds and more."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


# Finding -------------------------------------------------------------------------------------------------------------


def _places(file: Sequence[str], hunk: Hunk) -> list[Place]:
    """All places where the hunk fits, in the least patient reading in which it fits at all."""
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
    """Only added lines: they go where the header says if it is right about all else, as `diff -U0` writes them."""
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
    """The places where the old lines stand one below the other."""
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
    """By how many columns the lines of the file stand to the right of those of the hunk."""
    pairs = zip(place.pairs, _old(place.lines), strict=True)
    return {_move(file[at], text, place.tab) for at, text in pairs if at is not None and text.strip()}


def _move(there: str, text: str, tab: int) -> int:
    return _width(there, tab) - _width(text, tab)


def _width(line: str, tab: int) -> int:
    expanded = line.expandtabs(tab)
    return len(expanded) - len(expanded.lstrip())


_PUNCTUATION = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})


def _squeezed(text: str) -> str:
    """A line without white space and without the punctuation of typesetters."""
    return "".join(text.translate(_PUNCTUATION).split())


def _similar(one: str, two: str) -> bool:
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    return matcher.real_quick_ratio() >= 0.6 and matcher.quick_ratio() >= 0.6 and matcher.ratio() >= 0.6


_MOST_CELLS = 1_000_000  # of an alignment: larger ones cost seconds, and no person would look for them either


Row = dict[int, tuple[int, Pairs]]  # where an alignment ends in the file → its cost and its pairs


def _aligned(file: Sequence[str], lines: tuple[Line, ...]) -> list[Place]:
    """The cheapest alignments of the old lines with consecutive lines of the file, by dynamic programming.

    A line costs 0 if it is there, 1 if it is there at another indentation or slightly off, 2 if it is context that
    the file lacks, 2 for a line of the file that the hunk lacks; empty lines come and go for 1. Next to a change
    nothing but an empty line may be lacking, or the place of the change would be a guess, and a line that lost its
    `+` would be lost with it.
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
    """Where an alignment may begin: half of the old lines have to be among the lines below."""
    wanted = [_squeezed(line.text) for line in old if line.text.strip()]
    known = set(wanted)
    there = [0, *itertools.accumulate(line in known for line in squeezed)]
    ends = [min(at + 2 * len(old), len(squeezed)) for at in range(len(squeezed))]
    return [at for at, end in enumerate(ends) if 2 * (there[end] - there[at]) >= len(wanted)]


def _beside_changes(lines: Sequence[Line]) -> list[tuple[bool, bool]]:
    """For each old line, whether a change stands directly before it, and directly after it."""
    tags = [" ", *(line.tag for line in lines), " "]
    around = zip(tags, tags[1:-1], tags[2:], strict=False)
    return [(before != " ", after != " ") for before, tag, after in around if tag != "+"]


def _cheapest(
    file: Sequence[str],
    lines: tuple[Line, ...],
    old: Sequence[Line],
    row: Row,
) -> list[Place]:
    """The alignments worth believing: at least half of the lines with text are there, and none is cheaper."""
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
    # Alignments that share a line are one place seen twice.
    distinct: list[Place] = []
    for place in places.values():
        if not any(set(place.pairs) & set(other.pairs) - {None} for other in distinct):
            distinct.append(place)
    return distinct


# Choosing ------------------------------------------------------------------------------------------------------------


def _choose(file: Sequence[str], hunks: Sequence[Hunk], found: Sequence[list[Place]]) -> list[Place] | Refusal:
    """One place for each hunk, or the hunk that has several."""
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
    """The places that agree with the stated line, or with the stated heading, if exactly one does."""
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
    """The places of hunks one below the other, if there is exactly one such choice: then taking the first possible
    place for each from above and the last possible from below come to the same."""
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
    """What was looked for and not found, and what the file has instead."""
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
    """Enters what the hunk does at its place; False if an earlier hunk changes the same lines."""
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
    """By how much the removed lines that an added line replaces are moved, if they agree; else 0."""
    first = at
    while first and place.lines[first - 1].tag != " ":
        first -= 1
    skipped = sum(line.tag != "+" for line in place.lines[:first])
    removed = [line.text for line in place.lines[first:at] if line.tag == "-"]
    pairs = zip(place.pairs[skipped : skipped + len(removed)], removed, strict=True)
    moves = {_move(file[at], text, place.tab) for at, text in pairs if at is not None and text.strip()}
    return moves.pop() if len(moves) == 1 else 0


def _moved(text: str, by: int, place: Place, file: Sequence[str]) -> str:
    """The line moved to the right by so many columns, in tabs where the file has tabs around it."""
    tabs = any(file[at].startswith("\t") for at in place.pairs if at is not None)
    spaces_in_tabs = tabs and text.startswith(" ")
    if not text.strip() or (not by and not spaces_in_tabs):
        return text
    width = max(_width(text, place.tab) + by, 0)
    return ("\t" * (width // place.tab) + " " * (width % place.tab) if tabs else " " * width) + text.lstrip()


def _rewrite(raw: Sequence[str], changes: Changes, hunks: Sequence[Hunk]) -> str:
    """The file after the changes, new lines with the line ending that most of its lines have."""
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
