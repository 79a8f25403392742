"""Comparison of search methods: the runs of one method form an arm, and each run counts once, by the value of its best.

Two questions are answered: at equal candidates, and at equal device hours, where the best by one trial is taken of every run
at the hours that all runs have reached.

The best of a run is its first elite, measured on the test split if all runs have test scores, so that luck in the search
does not count. Intervals and differences are over runs (Welch, Biometrika 34, 1947): searches vary more than trainings.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.special import stdtrit

from analysis.load import Tables
from analysis.readings import by_order, of_run, steps, unsafe
from pipeline.metric import Metric
from pipeline.text import counted

BASES = (("test", "on the test split"), ("confirmed", "with other seeds"), ("value", "by one trial, partly luck"))
"""Columns with the value of the best, most trustworthy first, each with its description."""


@dataclass(frozen=True)
class Arm:
    """The runs of one method."""

    label: str
    """Its name, or search method and ideator."""
    runs: tuple[str, ...]
    values: tuple[float, ...]
    """Value of the best of each run, in the unit of the metric."""

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def half(self) -> float | None:
        """Half width of the 95 % interval of the mean; none with one run."""
        return interval(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """One arm against another."""

    ours: str
    theirs: str
    gain: float
    """How much better the mean of `ours` is; positive is better."""
    half: float | None
    """Half width of its 95 % interval; none if an arm has only one run."""

    @property
    def said(self) -> str:
        """The conclusion in words."""
        if self.half is None:
            return "unknown: an interval requires two runs of each"
        if abs(self.gain) <= self.half:
            return "not clear"
        return "better" if self.gain > 0 else "worse"


@dataclass(frozen=True)
class Contest:
    """Which method is better."""

    basis: str
    """How the best of each run is measured."""
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    """Every arm against every later one."""
    hours: float | None
    """Device hours of the search at which the second comparison is made; none where a run has no score within them."""
    at_hours: tuple[Difference, ...]
    """The same at these hours, by one trial each."""
    device: str
    """`GPU` or `core`."""


def groups(tables: Tables) -> dict[str, list[str]]:
    """Arm, or where runs have none search method and ideator, to the runs of it."""
    found: dict[str, list[str]] = {}
    names = ("run", "arm", "method", "ideator")
    for run, arm, method, ideator in zip(*(tables.runs[name] for name in names), strict=True):
        found.setdefault(str(arm) if arm is not pd.NA and arm else f"{method}, {ideator}", []).append(str(run))
    return found


def contest(tables: Tables) -> Contest | None:
    """Which method is better; none for runs of one method, or of different metrics."""
    metrics = {(tables.metric(run).name, tables.metric(run).direction): tables.metric(run) for run in tables.paths}
    if len(metrics) != 1 or len(groups(tables)) < 2:
        return None
    (metric,) = metrics.values()
    basis, found = arms(tables)
    hours, equal = at_equal_hours(tables, metric)
    device = " and ".join(sorted(set(tables.runs["device"])))
    return Contest(
        basis, tuple(found), tuple(differences(found, metric)), hours, tuple(differences(equal, metric)), device
    )


def conclusion(tables: Tables) -> list[str]:
    """What the contest says, for a terminal; nothing where there is none."""
    found = contest(tables)
    if found is None:
        return []
    metric = tables.metric(next(iter(tables.paths)))
    lines = [f"the best of each run, {found.basis}; mean over runs, with 95 % intervals:"]
    for arm in found.arms:
        value = metric.text(arm.mean) if arm.half is None else metric.text_error(arm.mean, arm.half)
        lines.append(f"  {arm.label}: {value} ({counted(len(arm.runs), 'run')})")
    lines += [f"  {_against(one, metric)}" for one in found.differences]
    if found.hours is not None:
        lines.append(f"at equal {found.device} hours ({found.hours:.3g} of the search), by one trial, partly luck:")
        lines += [f"  {_against(one, metric)}" for one in found.at_hours]
    return [*lines, *unsafe(tables.candidates)]


def _against(one: Difference, metric: Metric) -> str:
    return f"{one.ours} against {one.theirs}: {metric.text_gain(one.gain, one.half)}, {one.said}"


def arms(tables: Tables) -> tuple[str, list[Arm]]:
    """How the best of each run is measured, and the methods; a run whose best has no value counts for no method."""
    bests = {run: _best(tables, run) for run in tables.paths}
    known = {run: best for run, best in bests.items() if best is not None}
    column, said = next(
        ((name, said) for name, said in BASES if all(best[name] is not pd.NA for best in known.values())), BASES[-1]
    )
    made = []
    for label, runs in groups(tables).items():
        ours = tuple(run for run in runs if run in known)
        if ours:
            made.append(Arm(label, ours, tuple(float(known[run][column]) for run in ours)))
    return said, made


def at_equal_hours(tables: Tables, metric: Metric) -> tuple[float | None, list[Arm]]:
    """The device hours of the search that every run has reached, and the arms by the best by one trial there."""
    lines = {run: line_of(of_run(tables, run), metric, "device_h") for run in tables.paths}
    hours = min((line[-1][0] for line in lines.values() if line), default=None)
    if hours is None:
        return None, []
    made = []
    for label, runs in groups(tables).items():
        known = [(run, value) for run in runs if (value := value_at(lines[run], hours)) is not None]
        if not known:
            return None, []
        made.append(Arm(label, tuple(run for run, _ in known), tuple(value for _, value in known)))
    return hours, made


def differences(found: Sequence[Arm], metric: Metric) -> list[Difference]:
    """Every arm against every later one."""
    return [difference(ours, theirs, metric) for ours, theirs in itertools.combinations(found, 2)]


def difference(ours: Arm, theirs: Arm, metric: Metric) -> Difference:
    """One arm against another, by Welch's interval with the degrees of freedom of Satterthwaite."""
    gain = metric.gain(ours.mean, theirs.mean)
    if min(len(ours.values), len(theirs.values)) < 2:
        return Difference(ours.label, theirs.label, gain, None)
    parts = [(statistics.variance(one.values) / len(one.values), len(one.values) - 1) for one in (ours, theirs)]
    total = sum(part for part, _ in parts)
    if not total:
        return Difference(ours.label, theirs.label, gain, 0.0)
    freedom = total**2 / sum(part**2 / count for part, count in parts)
    return Difference(ours.label, theirs.label, gain, float(stdtrit(freedom, 0.975)) * math.sqrt(total))


def interval(values: Sequence[float]) -> float:
    """Half width of the 95 % interval of a mean over at least two runs, by Student's t."""
    quantile = float(stdtrit(len(values) - 1, 0.975))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def line_of(candidates: pd.DataFrame, metric: Metric, by: str) -> list[tuple[float, float]]:
    """The best so far of one run as corners; the last is its end."""
    found = [(one.outcome if by == "candidates" else one.device_h, one.value) for one in steps(candidates, metric)]
    if not found:
        return []
    ordered = by_order(candidates)
    end = float(len(ordered)) if by == "candidates" else float(ordered["search_h"].sum())
    return [*found, (end, found[-1][1])]


def value_at(line: Sequence[tuple[float, float]], at: float) -> float | None:
    """The best so far of a run at some place; none before its first."""
    return next((value for place, value in reversed(line) if place <= at), None)


def _best(tables: Tables, run: str) -> "pd.Series | None":
    """The row of the best of a run: its first elite, or before the report the best by one trial."""
    report, candidates = tables.reports[run], of_run(tables, run)
    names = [one.candidate for one in report.elites] if report is not None else []
    names += [one.candidate for one in steps(candidates, tables.metric(run))[-1:]]
    rows = candidates[candidates["candidate"].isin(names[:1])]
    return rows.iloc[0] if len(rows) else None
