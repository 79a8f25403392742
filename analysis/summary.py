"""The first screen of a report: did it get better, why, what failed, what it cost, what to do next. Pure functions from
tables to text. All claims come from report.json."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.changes import Sort
from analysis.columns import BASELINE
from analysis.load import Tables
from analysis.readings import completion, failures, of_run, saturation, steps, unsafe
from pipeline.metric import Metric
from pipeline.records import EliteTest
from pipeline.report.final_table import FinalTable, final_table
from pipeline.report.standings import Verdict, verdict
from pipeline.store.paths import short
from pipeline.text import counted

_ENOUGH = 5
"""Number of scored candidates required for a statement on whether the best still improves."""
_LONGEST = 100
"""Most steps of a lineage that are shown."""


@dataclass(frozen=True)
class Link:
    """One step in the lineage of the best candidate."""

    candidate: str
    """Id, or `baseline`."""
    title: str
    value: str
    """Formatted value."""
    gain: str
    """Gain over the step before; empty for the baseline."""
    clear: str
    """Verdict on whether that gain exceeds its noise."""


@dataclass(frozen=True)
class Advice:
    """A recommendation on what to do next."""

    text: str
    command: str = ""
    """Command line for it, if any."""


@dataclass(frozen=True)
class Summary:
    """The first screen about one run."""

    run: str
    answer: str
    """Whether it got better: `yes` (tested), `likely` (not tested), `unclear` (within noise), `no`, `open` (unknown)."""
    headline: str
    """The answer in one sentence."""
    basis: str
    """Basis of the answer: the test and its p-value, or that nothing was tested."""
    facts: tuple[tuple[str, str], ...]
    """Name and value: metric, baseline, best, cost, …"""
    lineage: tuple[Link, ...]
    """Steps from the baseline to the best."""
    failed: str
    """The share of scored candidates in one sentence."""
    failures: tuple[tuple[str, int], ...]
    """`stage/kind` and count, commonest first."""
    advice: tuple[Advice, ...]
    final: FinalTable | None
    """The elites on the test split; none before they are scored there."""
    warnings: tuple[str, ...] = field(default=())
    """Warnings shown before everything else."""


def summary(tables: Tables, run: str, sorts: Mapping[str, str], usd: float | None) -> Summary:
    """The first screen about a run. `sorts` is the kind of change of each candidate; `usd` is the price of all answers of
    language models: none if there are none, NaN if unknown."""
    about, metric, candidates = tables.about(run), tables.metric(run), of_run(tables, run)
    best = _best(tables, run, candidates, metric)
    answer, headline, basis = _answer(tables, run, candidates, best, metric)
    scored, ended = completion(candidates)
    share = f" ({100 * scored / ended:.0f} %)" if ended else ""
    kinds = failures(candidates)
    generations = int((tables.generations["run"] == run).sum())
    return Summary(
        run,
        answer,
        headline,
        basis,
        facts=(
            ("metric", f"{metric.name}, {'higher' if metric.goodness(1.0) > 0 else 'lower'} is better"),
            ("baseline", _value(metric, about)),
            ("candidates", f"{counted(len(candidates), 'candidate')} in {counted(generations, 'generation')}"),
            ("cost", _cost(about, usd, candidates)),
            ("search", f"{about['method']}, ideas by {about['ideator']}, code by {about['implementer']}"),
        ),
        lineage=tuple(_lineage(candidates, best, about, metric)),
        failed=f"{scored} of {counted(ended, 'candidate')} with an outcome have a score{share}.",
        failures=tuple(
            (f"{stage}/{kind}", int(count))
            for stage, kind, count in zip(kinds["stage"], kinds["kind"], kinds["count"], strict=True)
        ),
        advice=tuple(_advice(tables, run, candidates, best, metric)),
        final=final_table(tables.reports[run], metric),
        warnings=(*unsafe(candidates), *_warnings(about, sorts, best), *_collapse(tables, run)),
    )


def _row(candidates: pd.DataFrame, candidate: str) -> dict[str, Any]:
    (row,) = candidates[candidates["candidate"] == candidate].to_dict("records")
    return {str(name): None if value is pd.NA else value for name, value in row.items()}


def _best(tables: Tables, run: str, candidates: pd.DataFrame, metric: Metric) -> dict[str, Any] | None:
    """The row of the first elite with a claimed gain, else of the first elite; before the report, the best by other seeds,
    else by one trial."""
    report = tables.reports[run]
    names = [one.candidate for one in tests(tables, run) if one.significant]
    names += [one.candidate for one in report.elites] if report is not None else []
    names += [one.candidate for column in ("confirmed", "value") for one in reversed(steps(candidates, metric, column))]
    known = set(candidates["candidate"])
    return next((_row(candidates, name) for name in names if name in known), None)


def _answer(
    tables: Tables, run: str, candidates: pd.DataFrame, best: dict[str, Any] | None, metric: Metric
) -> tuple[str, str, str]:
    """The answer, the headline and the basis of a summary."""
    about, report = tables.about(run), tables.reports[run]
    if not len(candidates):
        return "open", "No candidate yet.", "Nothing was proposed so far."
    if about["value"] is None:
        return "open", "No answer yet: the baseline has no score.", "Nothing can be compared with it."
    if best is None:
        open_ones = int((~candidates["state"].isin(["scored", "failed"])).sum())
        if open_ones:
            return (
                "open",
                "No answer yet: no candidate has a score.",
                f"{counted(open_ones, 'candidate')} still in progress.",
            )
        return "no", "Nothing was scored: every candidate failed.", "See below what failed."
    name = f"{short(best['candidate'])}, {best['title']}"
    if best["test"] is not None and report is not None and report.baseline_test is not None:
        answer, basis = _claim(tables, run, best, metric)
        return answer, _sentence(metric, name, best, "test", report.baseline_test.value, "on the test split"), basis
    if best["confirmed"] is not None:
        where = f"on the validation split, with {counted(best['seeds'], 'other seed')}"
        found = verdict(best["confirmed_gain"], best["confirmed_gain_error"])
        return (
            _OPEN[found],
            _sentence(metric, name, best, "confirmed", about["value"], where),
            f"Not tested: {found.value} by its standard error; the test split is scored at the end.",
        )
    return (
        "open",
        _sentence(metric, name, best, "value", about["value"], "by one trial on the validation split"),
        "Not confirmed: the best of many single trials is better partly by luck.",
    )


_OPEN = {Verdict.GAIN: "open", Verdict.NOISE: "unclear", Verdict.LOSS: "no"}


def _claim(tables: Tables, run: str, best: dict[str, Any], metric: Metric) -> tuple[str, str]:
    """The answer and its basis according to the report's test of the best candidate."""
    tested = next((one for one in tests(tables, run) if one.candidate == best["candidate"]), None)
    if tested is None:
        found = verdict(best["test_gain"], best["test_gain_error"])
        answer = "likely" if found is Verdict.GAIN else _OPEN[found]
        return answer, f"Not tested: {found.value} by its standard error, without a p-value."
    answer = "yes" if tested.significant else "no" if tested.gain < 0 else "unclear"
    said = f"p-value {p_text(tested.corrected)}, corrected for {counted(len(tests(tables, run)), 'test')}"
    said += f"; {counted(tested.seeds, 'seed')} that chose nothing"
    if tested.low is not None:
        said += f"; the gain is at least {metric.text_gain(tested.low)} with 95 % confidence"
    if tested.failed:
        said += f"; {counted(tested.failed, 'final trial')} failed because of the code, so that nothing is claimed"
    if tested.excess is not None:
        how = "better" if tested.excess > 0 else "worse"
        said += f". In the search it was {how} by {metric.text_size(tested.excess)}, on another split"
    return answer, f"Tested on the test split: {said}."


def tests(tables: Tables, run: str) -> tuple[EliteTest, ...]:
    """The tested elites of a run; empty for a run in progress, or one from a version without tests."""
    report = tables.reports[run]
    return report.tests if report is not None else ()


def p_text(p_value: float) -> str:
    """A p-value as text."""
    return "below 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _sentence(metric: Metric, name: str, best: dict[str, Any], column: str, baseline: float, where: str) -> str:
    prefix = "" if column == "value" else f"{column}_"
    error = best["standard_error"] if column == "value" else best[f"{column}_error"]
    gain, gain_error = best[f"{prefix}gain"], best[f"{prefix}gain_error"]
    value = metric.text_error(best[column], error)
    over = metric.text_gain(gain, gain_error)
    return f"{name}: {value} {where}, {over} over the baseline's {metric.text(baseline)}."


def _value(metric: Metric, about: dict[str, Any]) -> str:
    if about["value"] is None:
        return "no score yet"
    return f"{metric.text_error(about['value'], about['standard_error'])}, {counted(about['trials'], 'seed')}"


def _cost(about: dict[str, Any], usd: float | None, candidates: pd.DataFrame) -> str:
    spent = f"{about['device_h']:.3g} {about['device']} hours"
    if usd is not None:
        spent += ", price of the language model unknown" if math.isnan(usd) else f", ${usd:.2f} for language models"
    starts, ends = candidates["started_at"].dropna(), candidates["ended_at"].dropna()
    if len(starts) and len(ends):
        spent += f", {max(0.0, float(ends.max()) - float(starts.min())) / 3600:.3g} h from the first job to the last"
    return spent


def _lineage(
    candidates: pd.DataFrame, best: dict[str, Any] | None, about: dict[str, Any], metric: Metric
) -> Iterator[Link]:
    """The baseline, then the chain of first parents down to the best."""
    chain: list[dict[str, Any]] = []
    known = set(candidates["candidate"])
    while best is not None and len(chain) < _LONGEST:
        chain.append(best)
        parent = best["parents"][0] if best["parents"] else None
        best = _row(candidates, parent) if parent in known and parent is not None else None
    if chain:
        value = metric.text(about["value"]) if about["value"] is not None else "no score"
        yield Link(BASELINE, "the unmodified code", value, "", "")
    for one in reversed(chain):
        column = "gain_parent" if one["gain_parent"] is not None else "gain"
        gain = clear = ""
        if one[column] is not None:
            gain = metric.text_gain(one[column], one[f"{column}_error"])
            clear = verdict(one[column], one[f"{column}_error"]).value
        yield Link(
            one["candidate"],
            one["title"],
            metric.text(one["value"]) if one["value"] is not None else "no score",
            gain,
            clear,
        )


def _advice(
    tables: Tables, run: str, candidates: pd.DataFrame, best: dict[str, Any] | None, metric: Metric
) -> Iterator[Advice]:
    report, about = tables.reports[run], tables.about(run)
    name = f"runs/{run}"
    if report is None:
        yield Advice("The run is not finished. See its progress.", f"python -m pipeline status {name}")
    found = saturation(candidates, metric)
    if found.last is not None and found.candidates >= _ENOUGH:
        if found.rising:
            yield Advice(
                f"The best still improves: last with scored candidate {found.last} of {found.candidates}. More generations "
                "may help: resume the run with a larger stop.generations."
            )
        else:
            yield Advice(
                f"The best has not improved since scored candidate {found.last} of {found.candidates}. Propose an idea of "
                "your own, or ban candidates on which the search is stuck.",
                f"python -m pipeline propose {name} --idea idea.md",
            )
    kinds = failures(candidates)
    if len(kinds) and kinds["count"].iloc[0] >= max(2, 0.2 * len(candidates)):
        kind, count = kinds["kind"].iloc[0], int(kinds["count"].iloc[0])
        yield Advice(
            f"{counted(count, 'candidate')} failed with {kind}: see why.", f"python -m pipeline status {name} --failed"
        )
    if best is not None and not tests(tables, run) and report is not None:
        yield Advice("No claim was tested: confirm with more seeds (select.elite_seeds) before you rely on the gain.")
    if about["scale"] == "tiny" and best is not None:
        yield Advice("scale=tiny checks that the pipeline works; verify findings at scale=small.")


def _warnings(about: dict[str, Any], sorts: Mapping[str, str], best: dict[str, Any] | None) -> Iterator[str]:
    if about["scale"] == "tiny":
        yield "scale=tiny checks that the pipeline works; do not draw conclusions about ideas from it."
    if best is not None and best["mark"]:
        yield f"A person has {best['mark']} {short(best['candidate'])}."
    if best is not None and sorts.get(best["candidate"]) == Sort.SETTINGS.value:
        yield f"{short(best['candidate'])} changes settings only: compare it with a random search over settings."


def _collapse(tables: Tables, run: str) -> Iterator[str]:
    """Signs in the last step of reinforcement learning that the policy collapses."""
    for alarms in tables.learning[tables.learning["run"] == run]["alarms"].tail(1):
        for alarm in alarms:
            yield f"The policy may collapse: {alarm}."
