"""The live page of a run: jobs in flight first, then scored and failed candidates. It fits any terminal and needs no
colour. Pure functions from an archive to lines; only `current_page` and the newest metrics are read from files."""

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pipeline.commands.progress import Progress, best_lines, left_text, span
from pipeline.methods.base import Terms
from pipeline.policy.notices import collapse_signs
from pipeline.policy.race import race
from pipeline.policy.stopping import finishing
from pipeline.records import Holdup, Purpose, Waiting
from pipeline.report.isolation import warnings
from pipeline.report.standings import baseline_estimate, standing
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths, short
from pipeline.store.views import Candidate, Trial, Try
from pipeline.text import counted, plain_line

_MOST_ROWS = 100
"""Most rows built for each part; no terminal shows more."""
_LOOK_BACK = 1000
"""How many of the newest outcomes are searched for scores and failures."""
_TAIL_BYTES = 8192
_NOTICE_LINES = 3
_KEPT_LINES = 4


@dataclass(frozen=True)
class Row:
    """One line of a part: cells from left to right; the last takes the remaining width."""

    cells: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Rows under a heading, the most important first."""

    heading: str
    rows: tuple[Row, ...]
    count: int
    """Number of all rows, including those not in `rows`."""
    widths: tuple[int, ...]
    """Most columns of each cell but the last."""


@dataclass(frozen=True)
class Page:
    """The content of the page; `lines` lays it out for a terminal."""

    head: tuple[tuple[str, str], ...]
    """Lines as pairs of name and text."""
    title: str
    times: str
    """Shown right of the title."""
    done: int
    total: int
    flying: str
    """Shown right of the progress bar."""
    notices: tuple[str, ...]
    """Warnings: missing isolation, a pause, an alarm, what the run waits for, a collapse of the policy."""
    parts: tuple[Part, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.max_height
        yield from lines(self, options.max_width, height, options.ascii_only)


def current_page(terms: Terms, archive: Archive, now: Progress) -> Page:
    """The page of a run, with what it waits for."""
    return page_of(terms, archive, now, open_holdups(archive.paths))


def open_holdups(paths: RunPaths) -> tuple[Holdup, ...]:
    """What the run waits for."""
    waiting = files.read_if_there(paths.waiting, Waiting)
    return waiting.holdups if waiting is not None else ()


def page_of(
    terms: Terms,
    archive: Archive,
    now: Progress,
    holdups: Sequence[Holdup] = (),
    watch: Callable[[Try], str] | None = None,
) -> Page:
    """The page of an archive. `watch` returns what a running job is doing."""
    at = terms.clock()
    return Page(
        head=tuple(head(terms, archive, now)),
        title=f"{now.run}  {now.phase}",
        times="  ".join(times(now)),
        done=now.trainings,
        total=now.trainings + now.trainings_left,
        flying=flying(now),
        notices=tuple(notices(archive, now, holdups)),
        parts=(
            in_flight(archive, at, watch or doing),
            *confirming(terms, archive),
            scored(terms, archive),
            failed(archive),
        ),
    )


def head(terms: Terms, archive: Archive, now: Progress) -> Iterator[tuple[str, str]]:
    """Name and text of the lines about the best candidates and the baseline."""
    yield from best_lines(terms, archive)
    reference = baseline_estimate(archive)
    if reference is not None:
        value = terms.metric.text_error(reference.mean, reference.standard_error)
        yield "baseline", f"{value}, {counted(reference.n, 'seed')}"


def times(now: Progress) -> Iterator[str]:
    """The elapsed and the remaining time."""
    if now.elapsed_s is not None:
        yield f"{span(now.elapsed_s)} elapsed"
    if now.left_min is not None and not now.finished:
        yield left_text(now.left_min)


def flying(now: Progress) -> str:
    """Counts of running and queued trials and of candidates without code."""
    counts = [f"{count} {state}" for state in ("running", "queued") if (count := now.trials.get(state, 0))]
    if now.unwritten:
        counts.append(f"{now.unwritten} without code yet")
    return ", ".join(counts) or "nothing runs"


def notices(archive: Archive, now: Progress, holdups: Sequence[Holdup]) -> Iterator[str]:
    """Lines about missing isolation, a pause or alarm, each holdup, and a collapse of the policy."""
    yield from warnings(archive.index.sandboxes)
    if now.paused:
        yield f"PAUSED: {plain_line(now.paused)}"
    yield from map(holdup_line, holdups)
    yield from map(plain_line, collapse_signs(archive))


def holdup_line(holdup: Holdup) -> str:
    """What the run waits for, and when it tries again."""
    since = time.strftime("%H:%M:%S", time.localtime(holdup.since))
    if holdup.next_at is None:
        then = "manual action required"
    else:
        then = f"next try by {time.strftime('%H:%M:%S', time.localtime(holdup.next_at))}"
    return f"waiting since {since} ({holdup.what}): {plain_line(holdup.reason)}; {then}"


# ---- parts


def in_flight(archive: Archive, at: float, watch: Callable[[Try], str]) -> Part:
    """One row for each job, running jobs first: of the baseline, of candidates, of elites trained again."""
    names = {attempt.paths: candidate for candidate in archive.open for attempt in candidate.attempts}
    jobs = [(holder, trial, one) for holder, trial in archive.open_trials() if (one := trial.in_flight) is not None]
    running = [job for job in jobs if job[2].claim is not None]
    queued = [job for job in jobs if job[2].claim is None]
    rows = [
        Row(
            (
                *_whose(names.get(holder.paths), trial),
                watch(one) if one.claim is not None else "queued",
                _since(one, at),
                _title(names.get(holder.paths)),
            )
        )
        for holder, trial, one in [*running, *queued][:_MOST_ROWS]
    ]
    return Part("in flight", tuple(rows), len(jobs), (9, 18, 26, 10))


def confirming(terms: Terms, archive: Archive) -> Iterator[Part]:
    """The candidates that are trained again after the search: first those in the race, then the elites."""
    reference, found = baseline_estimate(archive), race(terms, archive)
    if reference is None or not found.seeds or not finishing(terms, archive):
        return
    rows = []
    for one in found.racing:
        assert one.attempt is not None
        scores = [score for score in one.attempt.scores(Purpose.CONFIRM) if score.seed in found.seeds]
        value, gain = "no score yet", ""
        if scores:
            row = standing(terms.metric, one.id, scores, reference)
            value = terms.metric.text_error(row.value, row.standard_error)
            gain = terms.metric.text_gain(row.gain, row.gain_error)
        rows.append(Row((short(one.id), f"{len(scores)} of {len(found.seeds)} seeds", value, gain, _title(one))))
    if rows:
        heading = "race for the elites" if found.pending else "final training of the best"
        yield Part(heading, tuple(rows), len(rows), (9, 14, 18, 18))


def scored(terms: Terms, archive: Archive) -> Part:
    """The most recently scored candidates, with the score of their search trial."""
    reference, rows = baseline_estimate(archive), []
    for candidate in _newest(archive):
        score = candidate.score
        if score is None:
            continue
        value, gain = terms.metric.text_error(score.value, score.standard_error), ""
        if reference is not None:
            row = standing(terms.metric, candidate.id, [score], reference)
            value = terms.metric.text_error(row.value, row.standard_error)
            gain = terms.metric.text_gain(row.gain, row.gain_error)
        rows.append(Row((short(candidate.id), value, gain, _title(candidate))))
    return Part("scored, newest first", tuple(rows[:_MOST_ROWS]), len(archive.index.ranking), (9, 18, 18))


def failed(archive: Archive) -> Part:
    """The most recently failed candidates, each with its reason."""
    rows = []
    for candidate in _newest(archive):
        failure = candidate.failure
        if failure is not None:
            reason = (
                f"same code as {short(failure.twin.rpartition('/')[0])}"
                if failure.twin
                else failure.reason.partition("\n")[0]
            )
            rows.append(Row((short(candidate.id), failure.kind.value, plain_line(reason))))
    return Part("failed, newest first", tuple(rows[:_MOST_ROWS]), sum(archive.index.failures.values()), (9, 14))


def _newest(archive: Archive) -> Iterator[Candidate]:
    last = archive.index.outcomes
    for order in range(last, max(0, last - _LOOK_BACK), -1):
        candidate = archive.outcome(order)
        if candidate is not None:
            yield candidate


def _whose(candidate: Candidate | None, trial: Trial) -> tuple[str, str]:
    """Name of the trial's candidate, or `baseline`, and the purpose of the trial."""
    name = short(candidate.id) if candidate is not None else "baseline"
    words = {
        Purpose.SEARCH: "search",
        Purpose.BASELINE: f"seed {trial.seed}",
        Purpose.CONFIRM: f"final, seed {trial.seed}",
        Purpose.TEST: f"test, seed {trial.seed}",
        Purpose.LOOK: "time to target",
    }
    return name, words.get(trial.purpose, f"{trial.purpose.value}, seed {trial.seed}")


def _since(one: Try, at: float) -> str:
    began = one.claim.at if one.claim is not None else one.job.submitted_at
    return span(max(0.0, at - began)) if began is not None else ""


def _title(candidate: Candidate | None) -> str:
    return plain_line(candidate.idea.title) if candidate is not None else "the unmodified code"


def doing(one: Try) -> str:
    """What a running job is doing: its current step and first metric, or `scoring`."""
    if one.job.of is not None or one.paths.evaluate_log.exists():
        return "scoring"
    metrics = dict(last_metrics(one.paths.metrics))
    step = metrics.pop("step", None)
    parts = [f"step {step:g}"] if step is not None else []
    parts += [f"{plain_line(name)} {value:.4g}" for name, value in list(metrics.items())[:1]]
    return "  ".join(parts) or "starting"


def last_metrics(path: Path) -> Mapping[str, float]:
    """The numbers in the last complete line of a metrics.jsonl. A variant may write anything: empty if unreadable."""
    try:
        with files.open_regular(path) as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            whole = file.read().rpartition(b"\n")[0].splitlines()
        found = json.loads(whole[-1]) if whole else None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    numbers = {name: value for name, value in found.items() if type(value) in (int, float)}
    return {name: float(value) for name, value in numbers.items() if abs(value) < 1e300 and not math.isnan(value)}


# ---- layout


def lines(page: Page, width: int, height: int | None, plain: bool = False) -> list[Text]:
    """The page in at most `height` lines of at most `width` columns. Without a height all lines are returned and notices
    are not wrapped, so that commands in them can be copied."""
    top = [_ends(page.title, page.times, width), _bar(page, width, plain)]
    size = max([len(name) for name, _ in page.head], default=0)
    top += [Text(f"{name:{size}}  {text}") for name, text in page.head]
    for notice in page.notices:
        if height is None:
            top.append(Text(notice, style="bold", overflow="ignore"))
            continue
        wrapped = textwrap.wrap(notice, max(20, width), subsequent_indent="  ")
        if len(wrapped) > _NOTICE_LINES:
            wrapped = [*wrapped[: _NOTICE_LINES - 1], wrapped[_NOTICE_LINES - 1] + "…"]
        top += [Text(line, style="bold") for line in wrapped]
    parts = [part for part in page.parts if part.count]
    if height is not None:
        top = top[: height - 1]
    airy = height is None or height - len(top) >= 20
    room = None if height is None else height - 1 - len(top) - airy * len(parts)
    found = list(top)
    for part, share in zip(parts, shares([part.count for part in parts], room), strict=True):
        if share:
            found += [Text(""), *_part(part, share, width)] if airy else _part(part, share, width)
    for line in found:
        line.truncate(width, overflow=line.overflow or "ellipsis")
    return found


def shares(counts: Sequence[int], room: int | None) -> list[int]:
    """Number of lines of each part, heading included. The first part has priority; the others keep a few lines."""
    wanted = [1 + count for count in counts]
    if not wanted or room is None or sum(wanted) <= room:
        return wanted
    kept = [min(want, _KEPT_LINES) for want in wanted[1:]]
    while kept and sum(kept) > room - min(wanted[0], _KEPT_LINES):
        kept.pop()
    got = [min(wanted[0], room - sum(kept)), *kept]
    for number in range(1, len(got)):
        got[number] += min(wanted[number] - got[number], room - sum(got))
    return [share if share > 1 else 0 for share in got] + [0] * (len(wanted) - len(got))


def _part(part: Part, share: int, width: int) -> list[Text]:
    shown = part.rows[: share - 1]
    if part.count > len(shown) > 1 and len(shown) == share - 1:
        shown = shown[:-1]  # room for the line that counts the rows not shown
    sizes = [
        min(most, max((len(row.cells[number]) for row in part.rows), default=0))
        for number, most in enumerate(part.widths)
    ]
    heading = f"{part.heading} ({part.count})"
    found = [Text(heading, style="bold")]
    for row in shown:
        line = Text(" ")
        for cell, size in zip(row.cells, sizes, strict=False):
            text = Text(cell)
            text.truncate(size, overflow="ellipsis", pad=True)
            line.append_text(text).append("  ")
        found.append(line.append(row.cells[-1]))
    if part.count > len(shown) and len(found) < share:
        found.append(Text(f" … and {part.count - len(shown)} more"))
    return found


def _ends(left: str, right: str, width: int) -> Text:
    """A line with `left` in bold at its start and `right` at its end."""
    first = Text(left, style="bold")
    if not right:
        return first
    first.truncate(max(0, width - len(right) - 2), overflow="ellipsis", pad=True)
    return first.append(f"  {right}")


def _bar(page: Page, width: int, plain: bool) -> Text:
    full, empty = ("#", "-") if plain else ("━", "─")
    words = f"  {page.done} of {page.total} trainings; {page.flying}"
    size = max(10, min(50, width - len(words) - 1))
    filled = round(size * page.done / max(1, page.total))
    return Text(full * filled + empty * (size - filled) + words)
