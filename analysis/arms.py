"""Comparison of search methods: the runs of one method form an arm, and each run counts once, by the value of its best.

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
from analysis.readings import of_run, steps
from pipeline.metric import Metric

BASES = (("test", "on the test split"), ("confirmed", "with other seeds"), ("value", "by one trial, partly luck"))
"""Columns with the value of the best, most trustworthy first, each with its description."""


@dataclass(frozen=True)
class Arm:
    """The runs of one method."""

    label: str
    """Search method and ideator."""
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


def groups(tables: Tables) -> dict[str, list[str]]:
    """Runs by search method and ideator."""
    found: dict[str, list[str]] = {}
    for run, method, ideator in zip(*(tables.runs[name] for name in ("run", "method", "ideator")), strict=True):
        found.setdefault(f"{method}, {ideator}", []).append(str(run))
    return found


def arms(tables: Tables) -> tuple[str, list[Arm]]:
    """How the best of each run is measured, and the arms; runs whose best has no value are left out."""
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


def differences(found: Sequence[Arm], metric: Metric) -> list[Difference]:
    """The difference of each pair of arms."""
    return [difference(ours, theirs, metric) for ours, theirs in itertools.combinations(found, 2)]


def difference(ours: Arm, theirs: Arm, metric: Metric) -> Difference:
    """The difference of two arms with Welch's interval and Satterthwaite's degrees of freedom."""
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


def _best(tables: Tables, run: str) -> "pd.Series | None":
    """The row of the best of a run: its first elite, or before the report the best by one trial."""
    report, candidates = tables.reports[run], of_run(tables, run)
    names = [one.candidate for one in report.elites] if report is not None else []
    names += [one.candidate for one in steps(candidates, tables.metric(run))[-1:]]
    rows = candidates[candidates["candidate"].isin(names[:1])]
    return rows.iloc[0] if len(rows) else None
