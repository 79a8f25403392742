"""The page of one candidate as HTML: idea, lineage, code, scores, curve, log, prompts and replies."""

import functools
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

from analysis.changes import Change, change_of, on_parent
from analysis.conversations import Exchange
from analysis.rows import curve_rows
from pipeline.metric import Metric
from pipeline.store import files
from pipeline.store.paths import RunPaths, TrialPaths, short
from pipeline.text import plain

Curve = list[list[float]]
"""Points (step, value) of a training."""
HERE = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
"""Escapes all values, since titles, ideas, logs and replies come from models and from the code of variants."""
TEMPLATES.filters["short"] = short
_POINTS = 120
"""Maximum number of points of a curve."""


@dataclass(frozen=True)
class Limits:
    """Limits on what is shown of each candidate."""

    diff_lines: int = 600
    log_lines: int = 40
    conversation_chars: int = 12_000
    """Length of one prompt or reply; 0 omits them."""


def detail(
    paths: RunPaths,
    metric: Metric,
    row: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    curves: Sequence[Curve],
    children: Sequence[str],
    exchanges: Sequence[Exchange],
    limits: Limits,
) -> str:
    """The page of one candidate as HTML. `curves` are its own and that of its first parent."""
    candidate, attempts = str(row["candidate"]), int(row["attempts"])
    ours = change_of(paths, candidate, attempts - 1) if attempts else {}
    parents = list(row["parents"])
    theirs = _newest_change(paths, parents[0]) if parents else {}
    log = ""
    if trials:
        newest = TrialPaths(paths.folder / str(trials[-1]["folder"])).try_(int(trials[-1]["tries"]) - 1)
        log = files.tail(newest.train_log, limits.log_lines)
    cut = limits.conversation_chars
    return TEMPLATES.get_template("candidate.html").render(
        row=row,
        metric=metric,
        trials=trials,
        parents=parents,
        children=children,
        text=plain(str(row["text"])),
        reason=plain(str(row["reason"] or "")),
        diff=coloured(_against_baseline(paths, candidate, attempts), limits.diff_lines),
        parent_diff=coloured(on_parent(ours, theirs), limits.diff_lines) if parents and ours else "",
        log=plain(log),
        curve=curves[0],
        parent_curve=curves[1],
        exchanges=[
            {
                "key": one.key,
                "purpose": one.purpose,
                "prompt": plain(one.prompt[:cut]),
                "replies": [plain(reply[:cut]) for reply in one.replies],
                "cut": len(one.prompt) > cut or any(len(reply) > cut for reply in one.replies),
            }
            for one in (exchanges if cut else ())
        ],
        attempts=attempts,
    )


def _newest_change(paths: RunPaths, candidate: str) -> dict[str, Change]:
    number = len(files.folders(paths.candidate(candidate).folder, "attempt"))
    return change_of(paths, candidate, number - 1) if number else {}


def _against_baseline(paths: RunPaths, candidate: str, attempts: int) -> str:
    if not attempts:
        return ""
    try:
        return paths.candidate(candidate).attempt(attempts - 1).patch.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def training_curve(paths: RunPaths, trials: Sequence[Mapping[str, Any]]) -> Curve:
    """Points (step, value) of the first quantity of the newest training, thinned out."""
    training = [one for one in trials if one["purpose"] != "test"]
    if not training:
        return []
    first = training[0]
    newest = TrialPaths(paths.folder / str(first["folder"])).try_(int(first["tries"]) - 1)
    rows = list(curve_rows(newest))
    return thinned([(row["step"], row["value"]) for row in rows if row["metric"] == rows[0]["metric"]])


def thinned(points: Sequence[tuple[float, float]]) -> Curve:
    """At most `_POINTS` of the points, rounded to the precision of a plot."""
    stride = max(1, -(-len(points) // _POINTS))
    return [[float(f"{step:.6g}"), float(f"{value:.4g}")] for step, value in points[::stride]]


# ---- colours


@functools.lru_cache(4096)
def coloured(patch: str, most: int) -> Markup:
    """A unified diff as HTML with added and removed lines marked and syntax highlighting."""
    lines = plain(patch).splitlines()
    shown = "\n".join(_coloured(lines[:most]))
    if len(lines) > most:
        shown += f"\n… {len(lines) - most} more lines; see patch.diff in the run folder"
    return Markup(shown)


def _coloured(lines: Sequence[str]) -> Iterator[str]:
    path = ""
    for line in lines:
        if line.startswith("diff --git "):
            path = line.rpartition(" b/")[2]
            yield f'<span class="file">{html.escape(path)}</span>'
        elif line.startswith(("--- ", "+++ ", "index ", "old mode", "new mode")):
            continue
        elif line.startswith("@@"):
            yield f'<span class="hunk">{html.escape(line)}</span>'
        else:
            mark = {"+": "add", "-": "del"}.get(line[:1], "ctx")
            yield f'<span class="{mark}">{html.escape(line[:1])}{_code(path, line[1:])}</span>'


@functools.lru_cache(65536)
def _code(path: str, line: str) -> str:
    tokens = _lexer(PurePosixPath(path).suffix).get_tokens(line)
    out: list[str] = []
    for kind, text in tokens:
        name = STANDARD_TYPES[kind if kind in STANDARD_TYPES else kind.parent]
        escaped = html.escape(text.rstrip("\n"))
        out.append(
            f'<i class="{name}">{escaped}</i>' if name and name not in ("w", "n") and escaped.strip() else escaped
        )
    return "".join(out)


@functools.lru_cache(64)
def _lexer(suffix: str) -> Any:
    try:
        return get_lexer_for_filename(f"x{suffix}", stripnl=False, ensurenl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False, ensurenl=False)
