"""The results of a run in numbers: the statistics of the paper and the series behind the plots. Pure functions of tables.

The paper (arXiv 2601.14525, section 4) reports the share of ideas with a valid score, hyper-parameter versus algorithmic
ideas, whether the best still improves, explore versus exploit, and how a search narrows.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.changes import Sort, change_of, sort_of
from analysis.columns import BASELINE
from analysis.load import Tables
from pipeline.likeness import largest_group, sampled, similarity, words_of
from pipeline.metric import Metric
from pipeline.report.isolation import warnings
from pipeline.report.standings import Verdict, verdict

STEPS = ("proposed", "implemented", "passed smoke", "trained", "scored", "better")
"""Steps of the funnel: all candidates, those whose code applied and was new, …, those clearly better than the baseline."""
_ALIKE = 0.5
"""Minimum share of common words (Jaccard) for two ideas to count as the same."""


@dataclass(frozen=True)
class Yield:
    """The results of one group of ideas."""

    name: str
    """Name of the group: an origin, a maker, or a kind of change."""
    proposed: int
    """Number of ideas."""
    scored: int
    """Number of ideas with a score."""
    better: int
    """Number of ideas clearly better than the baseline by one trial."""
    parents: int
    """Number of ideas that a later idea builds on."""
    usd: float | None
    """Price of the ideas and their code, US dollars; none if no price is known."""
    device_h: float
    """Device hours of their trials."""
    median_gain: float | None
    """Median gain of scored ideas over the baseline, in the unit of the metric; robust against a diverged training."""
    best: str | None
    """Candidate with the best value."""
    best_gain: float | None
    """Gain of that candidate by one trial, which is partly luck."""


@dataclass(frozen=True)
class Narrowing:
    """The diversity of the ideas of a generation."""

    generation: int
    ideas: int
    """Number of ideas."""
    distinct_code: float | None
    """Number of distinct codes divided by the number of implemented candidates, 0 to 1."""
    commonest: float
    """Share of ideas in the largest group with half of their words in common, 0 to 1."""
    similarity: float | None
    """Mean share of common words (Jaccard) of two ideas, 0 to 1."""


@dataclass(frozen=True)
class Saturation:
    """Whether the best by one trial still improves. The maximum of more trials always rises by luck, ever more slowly."""

    candidates: int
    """Number of scored candidates, in order of their outcomes."""
    last: int | None
    """Position of the last candidate that improved the best, from 1."""
    rising: bool
    """Whether that candidate is in the last third."""


@dataclass(frozen=True)
class Step:
    """One improvement of the best by one trial."""

    candidate: str
    value: float
    """Value in the unit of the metric."""
    gain: float | None
    """Gain over the baseline."""
    outcome: int
    """Number of outcomes so far, including failures."""
    device_h: float
    """Device hours of the search so far."""


def of_run(tables: Tables, run: str) -> pd.DataFrame:
    """The candidates of one run, in order of proposal."""
    return tables.candidates[tables.candidates["run"] == run]


def unsafe(candidates: pd.DataFrame) -> list[str]:
    """A warning if code that was not isolated has a score."""
    return [f"{line}." for line in warnings(Counter(candidates["sandbox"].dropna()))]


def completion(candidates: pd.DataFrame) -> tuple[int, int]:
    """Numbers of candidates with a score, and of all with an outcome."""
    return int((candidates["state"] == "scored").sum()), int(candidates["state"].isin(["scored", "failed"]).sum())


def better(candidates: pd.DataFrame) -> pd.Series:
    """Whether each candidate is clearly better than the baseline by one trial."""
    found = [
        gain is not pd.NA and error is not pd.NA and verdict(gain, error) is Verdict.GAIN
        for gain, error in zip(candidates["gain"], candidates["gain_error"], strict=True)
    ]
    return pd.Series(found, index=candidates.index, dtype=bool)


def step_of(candidates: pd.DataFrame) -> pd.Series:
    """The last of `STEPS` that each candidate reached, as an index."""
    state, stage, kind = (candidates[name].fillna("") for name in ("state", "stage", "kind"))
    scored = state == "scored"
    trained = scored | ((state == "failed") & (stage == "evaluate"))
    passed = trained | (stage == "train") | state.isin(["ready", "queued", "running"])
    implemented = passed | (kind == "smoke")
    reached = implemented.astype(int) + passed.astype(int) + trained.astype(int) + scored.astype(int)
    return reached + (better(candidates) & scored).astype(int)


def funnel(candidates: pd.DataFrame, by: str) -> pd.DataFrame:
    """Number of candidates that reached each of `STEPS`, one row for each value of a column such as `generation`."""
    reached = step_of(candidates)
    groups = candidates[by].fillna("none") if candidates[by].dtype == "string" else candidates[by]
    columns = {name: (reached >= number).groupby(groups).sum() for number, name in enumerate(STEPS)}
    return pd.DataFrame(columns)


def failures(candidates: pd.DataFrame) -> pd.DataFrame:
    """Number of failed candidates, one row for each kind and stage, commonest first."""
    failed = candidates[candidates["state"] == "failed"]
    counts = failed.groupby(["kind", "stage"]).size().rename("count").reset_index()
    return counts.sort_values(["count", "kind"], ascending=[False, True], ignore_index=True)


def by_order(candidates: pd.DataFrame) -> pd.DataFrame:
    """Candidates with an outcome, in order of outcomes."""
    return candidates[candidates["order"].notna()].sort_values("order", kind="stable")


def steps(candidates: pd.DataFrame, metric: Metric, column: str = "value") -> list[Step]:
    """The improvements of the best, by one trial or by another column such as `confirmed`, in order of outcomes."""
    found: list[Step] = []
    best, hours = -math.inf, 0.0
    ordered = by_order(candidates)
    gain = "confirmed_gain" if column == "confirmed" else "gain"
    rows = zip(
        *(ordered[name].to_list() for name in ("candidate", column, gain, "search_h", "order", "mark")), strict=True
    )
    for name, value, over, spent, order, mark in rows:
        hours += 0.0 if spent is pd.NA else spent
        if value is pd.NA or mark == "banned" or metric.goodness(value) <= best:
            continue
        best = metric.goodness(value)
        found.append(Step(name, value, None if over is pd.NA else over, int(order), hours))
    return found


def saturation(candidates: pd.DataFrame, metric: Metric) -> Saturation:
    """Whether the best by one trial still improves."""
    scored = by_order(candidates)["candidate"][by_order(candidates)["value"].notna()].to_list()
    improved = steps(candidates, metric)
    last = scored.index(improved[-1].candidate) + 1 if improved else None
    return Saturation(len(scored), last, last is not None and 3 * last > 2 * len(scored))


def yields(candidates: pd.DataFrame, names: "pd.Series | Sequence[str]", metric: Metric) -> list[Yield]:
    """The results of each group of candidates; `names` is the group of each candidate."""
    built_on = {parent for parents in candidates["parents"] for parent in parents}
    frame = candidates.assign(of=list(names), better=better(candidates), parent=candidates["candidate"].isin(built_on))
    found = []
    for name, part in frame.groupby("of", sort=True):
        scored = part[part["value"].notna()]
        best = max(
            zip(scored["value"], scored.index, strict=True), key=lambda one: metric.goodness(one[0]), default=None
        )
        row = scored.loc[best[1]] if best is not None else None
        gains = [float(gain) for gain in scored["gain"].dropna()]
        found.append(
            Yield(
                str(name),
                len(part),
                len(scored),
                int(part["better"].sum()),
                int(part["parent"].sum()),
                float(part["usd"].sum()) if part["usd"].notna().any() else None,
                float(part["device_h"].fillna(0.0).sum()),
                statistics.median(gains) if gains else None,
                str(row["candidate"]) if row is not None else None,
                float(row["gain"]) if row is not None and row["gain"] is not pd.NA else None,
            )
        )
    return found


def sorts(tables: Tables, run: str, most: int | None = None) -> "pd.Series":
    """Whether each candidate of a run changed only settings or the algorithm, by the syntax trees of the changed files;
    `none` if it has no code. Reads the patches, with `most` only those of the first candidates."""
    candidates = of_run(tables, run)
    found, known = [], dict[str, str]()
    rows = zip(candidates["candidate"], candidates["syntax"], candidates["attempts"], strict=True)
    for name, syntax, attempts in itertools.islice(rows, most):
        if syntax is pd.NA:
            found.append("none")
            continue
        if syntax not in known:
            sort = sort_of(change_of(tables.paths[run], name, int(attempts) - 1))
            known[syntax] = (sort or Sort.ALGORITHM).value if sort is not None else "none"
        found.append(known[syntax])
    return pd.Series(found, index=candidates.index[: len(found)], dtype="string")


def narrowing(candidates: pd.DataFrame) -> list[Narrowing]:
    """The diversity of the ideas of each generation of a run."""
    found = []
    for number, part in candidates.groupby("generation", sort=True):
        code = part["syntax"].dropna()
        words = [words_of(f"{title} {text}") for title, text in zip(part["title"], part["text"], strict=True)]
        compared = sampled(words)
        found.append(
            Narrowing(
                int(str(number)),
                len(part),
                code.nunique() / len(code) if len(code) else None,
                largest_group(compared, _ALIKE) / len(compared),
                similarity(words),
            )
        )
    return found


@dataclass(frozen=True)
class NodeJobs:
    """The ended jobs of one node."""

    host: str
    scored: int
    failed: int


def node_jobs(jobs: pd.DataFrame) -> list[NodeJobs]:
    """Ended jobs by node, in the order of their names. A node with many failures may be broken."""
    ended = jobs[jobs["ended"].notna()]
    found = (ended["ended"] == "scored").groupby(ended["host"]).agg(["sum", "count"])
    return [NodeJobs(str(host), int(scored), int(count - scored)) for host, scored, count in found.itertuples()]


def slots(jobs: pd.DataFrame) -> pd.DataFrame:
    """Number of running jobs over time: one row for each change, with `at` (seconds since 1970) and `running`."""
    ran = jobs[jobs["started_at"].notna() & jobs["ended_at"].notna()]
    changes: Counter[float] = Counter()
    for start, end in zip(ran["started_at"], ran["ended_at"], strict=True):
        changes[float(start)] += 1
        changes[float(end)] -= 1
    at = sorted(changes)
    return pd.DataFrame({"at": at, "running": list(itertools.accumulate(changes[one] for one in at))})


def utilisation(jobs: pd.DataFrame, wide: int) -> float | None:
    """Share of the time of `wide` slots in use from the first start to the last end, 0 to 1; none before a job has ended."""
    line = slots(jobs)
    if len(line) < 2 or wide < 1:
        return None
    at = line["at"].to_list()
    busy = sum(
        count * (later - now) for count, now, later in zip(line["running"].to_list(), at[:-1], at[1:], strict=False)
    )
    return float(busy / (wide * (at[-1] - at[0]))) if at[-1] > at[0] else None


def lineage(candidates: pd.DataFrame, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of child and parent among some candidates and their ancestors; a candidate without parents has `baseline`."""
    parents = dict(zip(candidates["candidate"], candidates["parents"], strict=True))
    pairs: dict[tuple[str, str], None] = {}
    left = list(wanted)
    seen = set(left)
    while left:
        child = left.pop(0)
        for parent in parents.get(child, ()) or (BASELINE,):
            pairs[child, parent] = None
            if parent not in seen and parent != BASELINE:
                seen.add(parent)
                left.append(parent)
    return list(pairs)
