"""One HTML file about some runs, which opens anywhere, offline: `python -m pipeline report RUN [RUN …]`.

Text comes first (`summary.py`), then plots, a table of all candidates, and a page for each of them (`details.py`). Table and
pages are stored as blocks of base64-encoded gzip, which the browser unpacks on demand: 10,000 candidates stay below 20 MB.
Nothing is fetched: the page's Content-Security-Policy allows only its own scripts and styles by their hashes. So text from a
model could not be executed even if escaping failed.
"""

import base64
import functools
import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

from analysis.arms import contest, groups, interval, line_of, value_at
from analysis.columns import BASELINE
from analysis.conversations import conversations
from analysis.details import HERE, TEMPLATES, Curve, Limits, detail, thinned, training_curve
from analysis.load import Tables, load
from analysis.readings import (
    STEPS,
    NodeJobs,
    Yield,
    failures,
    funnel,
    lineage,
    narrowing,
    node_jobs,
    of_run,
    slots,
    sorts,
    steps,
    unsafe,
    utilisation,
    yields,
)
from analysis.summary import summary
from pipeline.metric import Metric
from pipeline.store import files
from pipeline.text import plain

_BLOCK = 40
"""Number of candidates whose pages are unpacked together."""
_FULL = 2000
"""With more candidates than this, pages are shortened."""
_SHORT = Limits(diff_lines=80, log_lines=6, conversation_chars=0)
MOST_MB = 20.0
"""Maximum size of the file: pages of the last candidates are left out if necessary, with a note in the file."""
_PLOT_STYLE = """:where(.plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot text),
:where(.plot tspan) {
  white-space: pre;
}"""
"""The style that Observable Plot adds to each plot, which is allowed by its hash."""


def report(*runs: Path | str, output: Path | str) -> Path:
    """Write the report of at least one run to a file; returns its path. Raises `BadInput` if one is not a run."""
    path = Path(output)
    files.make_folder(path.parent)
    path.write_text(html(load(*runs)), encoding="utf-8")
    return path


def html(tables: Tables, head: str = "") -> str:
    """The report as HTML. `head` is additional markup for the top, used by the live server."""
    about = [_about(tables, run) for run in tables.paths]
    data: dict[str, Any] = {"runs": [one.data for one in about], "compare": _comparison(tables)}
    blocks: list[str] = []
    room = MOST_MB * 1e6 - 1e6
    kept = 0
    for block in _blocks(tables, about):
        packed = _packed(block)
        room -= len(packed)
        if room < 0:
            break
        blocks.append(packed)
        kept += len(block)
    everyone = sum(len(one.candidates) for one in about)
    style = _text("report.css") + _colours()
    scripts = [_text("d3.min.js"), _text("plot.umd.min.js"), _text("report.js")]
    return TEMPLATES.get_template("report.html").render(
        title=_title(tables),
        unsafe=unsafe(tables.candidates) if len(about) > 2 else [],  # then the runs and their warnings are folded
        summaries=[one.summary for one in about],
        yields=[one.yields for one in about],
        nodes=[one.nodes for one in about],
        metrics=[one.metric for one in about],
        damaged=[plain(line) for line in tables.damaged],
        policy=policy(scripts, [style, _PLOT_STYLE]),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=_packed(data),
        left_out=everyone - kept,
        contest=contest(tables),
        metric=about[0].metric if about else None,
        blocks=blocks,
        head=Markup(head),
    )


def _title(tables: Tables) -> str:
    """Of one run or two their names; of more that of their group, if it is one, and how many there are."""
    names = list(tables.paths)
    if len(names) < 3:
        return ", ".join(names) or "no run"
    found = set(tables.runs["group"].fillna(""))
    (group,) = found if len(found) == 1 else {""}
    return f"{group}, {len(names)} runs" if group else f"{names[0]} and {len(names) - 1} more"


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A Content-Security-Policy that allows only these scripts and styles."""
    allowed = {"script-src": scripts, "style-src": styles}
    parts = [f"{kind} {' '.join(map(_hash, texts))}" for kind, texts in allowed.items()]
    return "; ".join(["default-src 'none'", *parts, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


def _colours() -> str:
    """Pygments styles for code in the light and the dark scheme."""
    light, dark = (
        HtmlFormatter(style=name).get_style_defs("pre.diff")  # type: ignore[no-untyped-call]
        for name in ("default", "github-dark")
    )
    only = re.compile(r"^pre\.diff \.\w+ \{.*$", re.M)
    return (
        f"{' '.join(only.findall(light))}\n@media (prefers-color-scheme: dark) {{ {' '.join(only.findall(dark))} }}\n"
    )


def _packed(value: Any) -> str:
    """A value as JSON, gzip, base64: safe inside a script element for any value."""
    return base64.b64encode(gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 6, mtime=0)).decode()


# ---- one run


@dataclass(frozen=True)
class _About:
    run: str
    metric: Metric
    candidates: pd.DataFrame
    summary: Any
    yields: list[tuple[str, list[Yield]]]
    nodes: list[NodeJobs]
    data: dict[str, Any]


def _about(tables: Tables, run: str) -> _About:
    metric, candidates = tables.metric(run), of_run(tables, run)
    kinds = sorts(tables, run)
    by_name = dict(zip(candidates["candidate"], kinds, strict=True))
    completions = tables.completions[tables.completions["run"] == run]
    priced = completions["usd"].dropna()
    usd = (float(priced.sum()) if len(priced) else math.nan) if len(completions) else None
    said = summary(tables, run, by_name, usd)
    jobs = tables.jobs[tables.jobs["run"] == run]
    wide = int(slots(jobs)["running"].max()) if len(slots(jobs)) else 0
    row = tables.about(run)
    elites = candidates["candidate"][candidates["elite"]].to_list()
    elites = elites or [one.candidate for one in steps(candidates, metric)[-1:]]
    data = {
        "name": run,
        "metric": {"name": metric.name, "up": metric.goodness(1.0) > 0, "percent": metric.percent},
        "baseline": {"value": row["value"], "sd": row["seed_sd"], "n": row["trials"]},
        "device": row["device"],
        "rows": _rows(candidates, by_name),
        "single": [
            (one.outcome, one.value, one.candidate, round(one.device_h, 6)) for one in steps(candidates, metric)
        ],
        "confirmed": [(one.outcome, one.value, one.candidate) for one in steps(candidates, metric, "confirmed")],
        "funnel": _funnel(candidates),
        "failures": failures(candidates).to_dict("records"),
        "narrowing": [
            [one.generation, one.distinct_code, one.commonest, one.similarity] for one in narrowing(candidates)
        ],
        "slots": _slots(jobs),
        "slots_used": utilisation(jobs, wide),
        "slots_wide": wide,
        "lineage": lineage(candidates, elites),
        "elites": elites,
        "curve": _baseline_curve(tables, run),
        "learning": _learning(tables, run),
    }
    tried = [
        ("explore or exploit", candidates["origin"]),
        ("settings or algorithm", kinds),
        ("ideas by", candidates["proposer"].replace("", pd.NA)),
        ("code by", candidates["maker"]),
    ]
    found = [(name, yields(candidates, of.fillna("none"), metric)) for name, of in tried]
    nodes = node_jobs(jobs)
    telling = nodes if len(nodes) > 1 or any(one.failed for one in nodes) else []
    return _About(run, metric, candidates, said, found, telling, data)


def _rows(candidates: pd.DataFrame, kinds: dict[str, str]) -> list[list[Any]]:
    """The rows of the table of candidates, in the order of `COLUMNS` in report.js."""
    names = (
        *("candidate", "title", "origin", "state", "value", "standard_error", "gain", "gain_error", "gain_parent"),
        *("confirmed", "confirmed_gain", "test", "test_gain", "elite", "mark", "kind", "reason", "order", "device_h"),
        "maker",
    )
    found = []
    for values in zip(*(candidates[name].to_list() for name in names), strict=True):
        row = [None if value is pd.NA else value for value in values]
        row = [float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value for value in row]
        row[1] = plain(str(row[1]))[:200]
        row[16] = plain(str(row[16] or "")).partition("\n")[0][:160]
        found.append([*row, kinds.get(str(row[0]), "none")])
    return found


def _funnel(candidates: pd.DataFrame) -> list[list[Any]]:
    table = funnel(candidates, "generation")
    return [[int(str(name)), step, int(row[step])] for name, row in table.iterrows() for step in STEPS]


def _slots(jobs: pd.DataFrame) -> list[list[float]]:
    line = slots(jobs)
    if not len(line):
        return []
    start = float(line["at"].iloc[0])
    stride = max(1, len(line) // 1000)
    return [[round((at - start) / 3600, 6), count] for at, count in line.iloc[::stride].itertuples(index=False)]


def _learning(tables: Tables, run: str) -> list[dict[str, Any]]:
    """The measures of reinforcement learning that are drawn, step by step."""
    names = (
        *("step", "reward_mean", "reward_low", "reward_high", "reward_best", "common_share", "entropy", "kl"),
        *("thinking", "idea_length", "clipped", "truncated", "staleness", "sample_h", "execute_h", "update_h"),
    )
    found = []
    for row in _records(tables.learning[tables.learning["run"] == run]):
        shares = {f"{name}_share": row[name] / row["ideas"] for name in ("distinct", "failed")}
        found.append({name: row[name] for name in names} | shares)
    return found


def _baseline_curve(tables: Tables, run: str) -> list[list[float]]:
    curves = tables.curves(run, [BASELINE])
    if not len(curves):
        return []
    first = curves[(curves["folder"] == curves["folder"].iloc[0]) & (curves["metric"] == curves["metric"].iloc[0])]
    return thinned(list(zip(first["step"], first["value"], strict=True)))


# ---- pages of candidates


def _blocks(tables: Tables, about: Sequence[_About]) -> Iterator[list[str]]:
    """The pages of all candidates in the order of the rows, in blocks."""
    everyone = sum(len(one.candidates) for one in about)
    block: list[str] = []
    for one in about:
        for page in _pages(tables, one, everyone > _FULL):
            block.append(page)
            if len(block) == _BLOCK:
                yield block
                block = []
    if block:
        yield block


def _pages(tables: Tables, about: _About, shortened: bool) -> Iterator[str]:
    paths, candidates = tables.paths[about.run], about.candidates
    ideas = zip(candidates["candidate"], candidates["title"], candidates["text"], strict=True)
    said = {} if shortened else conversations(paths, ideas, tables.damaged)
    trials: dict[str, list[dict[str, Any]]] = {}
    ours = tables.trials[(tables.trials["run"] == about.run) & (tables.trials["candidate"] != BASELINE)]
    for trial in _records(ours):
        trials.setdefault(trial["candidate"], []).append(trial)
    children: dict[str, list[str]] = {}
    for name, parents in zip(candidates["candidate"], candidates["parents"], strict=True):
        for parent in parents:
            children.setdefault(parent, []).append(name)

    @functools.cache  # a parent has many children
    def curve(candidate: str | None) -> Curve:
        return training_curve(paths, trials.get(candidate or "", []))

    for row in _records(candidates):
        name = row["candidate"]
        full = not shortened or row["elite"] or name in children
        limits = Limits() if full else _SHORT
        curves = curve(name), curve(row["parents"][0] if row["parents"] else None)
        yield detail(
            paths, about.metric, row, trials.get(name, []), curves, children.get(name, []), said.get(name, []), limits
        )


def _records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = list(table.columns)
    for values in zip(*(table[name].to_list() for name in names), strict=True):
        yield {name: None if value is pd.NA else value for name, value in zip(names, values, strict=True)}


# ---- several runs


def _comparison(tables: Tables) -> dict[str, Any]:
    """The best so far of each group of runs, at equal outcomes and at equal device hours; empty for a single run, or if
    metrics differ."""
    metrics = {(tables.metric(run).name, tables.metric(run).direction) for run in tables.paths}
    if len(tables.paths) < 2 or len(metrics) > 1:
        return {"why_not": "the runs have different metrics" if len(metrics) > 1 else "", "lines": []}
    lines = []
    for by in ("candidates", "device_h"):
        for label, runs in groups(tables).items():
            corners = [line for run in runs if (line := line_of(of_run(tables, run), tables.metric(run), by))]
            if corners:
                end = min(line[-1][0] for line in corners)
                grid = sorted({at for line in corners for at, _ in line if at <= end})
                points = []
                for at in grid:
                    values = [value for line in corners if (value := value_at(line, at)) is not None]
                    if len(values) == len(corners):
                        half = interval(values) if len(values) > 1 else None
                        points.append([round(at, 6), sum(values) / len(values), half])
                lines.append({"by": by, "label": label, "runs": len(corners), "points": points})
    return {"why_not": "", "lines": lines}
