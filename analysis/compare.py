"""Columns that compare a candidate with others: gains over baseline and parent, confirmation, the test split, elites. All
numbers come from `pipeline/report/` and `pipeline/metric.py`, the only places that define "better than"."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.columns import CANDIDATES
from pipeline.metric import Estimate, Metric, difference, estimate
from pipeline.records import Purpose, Report
from pipeline.report.standings import REFERENCE, estimate_of
from pipeline.store.survey import Survey

_ADDED = (
    *("gain", "gain_error", "gain_parent", "gain_parent_error", "confirmed", "confirmed_error", "confirmed_gain"),
    *(
        "confirmed_gain_error",
        "seeds",
        "test",
        "test_error",
        "test_gain",
        "test_gain_error",
        "test_p",
        "test_low",
        "elite",
        "mark",
    ),
)


def reference_of(survey: Survey) -> Estimate | None:
    """The estimate of the baseline from its trials on the validation split; none while it has no score."""
    scores = survey.baseline.scores(*REFERENCE)
    return estimate_of(scores) if scores else None


def with_baseline(survey: Survey) -> dict[str, Any]:
    """The columns about the baseline for the row of a run."""
    reference = reference_of(survey)
    if reference is None:
        return {"trials": 0}
    return {
        "value": reference.mean,
        "standard_error": reference.standard_error,
        "seed_sd": reference.seed_sd,
        "trials": reference.n,
    }


def compared(survey: Survey, candidates: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The candidates with all columns that compare them with others."""
    metric, reference = survey.run.config.baseline.metric.metric, reference_of(survey)
    rows: dict[str, dict[str, Any]] = {name: {} for name in candidates["candidate"]}
    if reference is not None:
        _gains(metric, reference, candidates, rows)
        for name, found in _confirmations(metric, reference, trials).items():
            rows.setdefault(name, {}).update(found)
    if survey.report is not None:
        _test_split(survey.report, rows)
    for name, mark in survey.marks.items():
        rows.setdefault(name, {})["mark"] = "pinned" if mark.pinned else "banned"
    elites = {one.candidate for one in survey.report.elites} if survey.report is not None else set()
    candidates = candidates.copy(deep=False)
    for column in _ADDED:
        if column == "elite":
            values: list[Any] = [name in elites for name in candidates["candidate"]]
        elif column == "mark":
            values = [rows[name].get(column, "") for name in candidates["candidate"]]
        else:
            values = [rows[name].get(column) for name in candidates["candidate"]]
        candidates[column] = pd.Series(values, index=candidates.index, dtype=CANDIDATES[column].dtype)
    return candidates


def _gains(metric: Metric, reference: Estimate, candidates: pd.DataFrame, rows: Mapping[str, dict[str, Any]]) -> None:
    """Add gains over the baseline and over the first parent, by one trial each."""
    scored = candidates[candidates["value"].notna()]
    own = {
        name: estimate([value], [error], reference.seed_sd)
        for name, value, error in zip(
            scored["candidate"].to_list(), scored["value"].to_list(), scored["standard_error"].to_list(), strict=True
        )
    }
    for name, parents in zip(scored["candidate"].to_list(), scored["parents"].to_list(), strict=True):
        row = rows[name]
        row["gain"], row["gain_error"] = difference(metric, own[name], reference)
        parent = own.get(parents[0]) if len(parents) else None
        if parent is not None:
            row["gain_parent"], row["gain_parent_error"] = difference(metric, own[name], parent)


def _confirmations(metric: Metric, reference: Estimate, trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Columns from the trials with other seeds, by candidate."""
    ours = trials[(trials["purpose"] == Purpose.CONFIRM.value) & trials["value"].notna()]
    found = {}
    for name, part in ours.groupby("candidate"):
        mean = estimate(part["value"].to_list(), part["standard_error"].to_list(), reference.seed_sd)
        gain, error = difference(metric, mean, reference)
        found[str(name)] = {
            "confirmed": mean.mean,
            "confirmed_error": mean.standard_error,
            "confirmed_gain": gain,
            "confirmed_gain_error": error,
            "seeds": mean.n,
        }
    return found


def _test_split(report: Report, rows: dict[str, dict[str, Any]]) -> None:
    for one in report.elites_test:
        rows.setdefault(one.candidate, {}).update(
            test=one.value, test_error=one.standard_error, test_gain=one.gain, test_gain_error=one.gain_error
        )
    for tested in report.tests:
        rows.setdefault(tested.candidate, {}).update(test_p=tested.corrected, test_low=tested.low)
