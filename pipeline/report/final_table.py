"""The table at the end of a run: each elite on the test split, which selection never saw. As text, for the terminal and the
HTML report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.metric import Metric
from pipeline.records import EliteTest, Report
from pipeline.store.paths import short


@dataclass(frozen=True)
class FinalTable:
    """A table with the baseline first."""

    heads: Sequence[str]
    """Heads of the columns; the last is the kind of sandbox."""
    baseline: Sequence[str]
    """Row of the unmodified code."""
    elites: Sequence[Sequence[str]]
    """Row of each tested elite."""
    lines: Sequence[str]
    """Lines that explain it."""
    title: str = "On the test split, which selection never saw"
    """Heading."""

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """All rows."""
        return [self.baseline, *self.elites]


def final_table(report: Report | None, metric: Metric) -> FinalTable | None:
    """The table of a report; none if there is no report, or no test score of the baseline."""
    if report is None or (reference := report.baseline_test) is None:
        return None
    ours = report.touches - sum(one.touches for one in report.tests)
    excess = metric.text_gain(metric.gain(report.baseline.value, reference.value))
    return FinalTable(
        ("candidate", metric.name, "gain (90 % interval)", "p", "seeds", "excess", "touches", "sandbox"),
        ("baseline", metric.text(reference.value), "", "", str(reference.trials), excess, str(ours), ""),
        [_row(one, metric) for one in report.tests],
        tuple(_lines(report)),
    )


def _row(one: EliteTest, metric: Metric) -> Sequence[str]:
    interval = "unknown"
    if one.low is not None and one.high is not None:
        interval = f"{metric.text_gain(one.low)} to {metric.text_gain(one.high)}"
    return (
        short(one.candidate),
        metric.text(one.value),
        f"{metric.text_gain(one.gain)} ({interval})",
        "< 0.001" if one.corrected < 0.001 else f"{one.corrected:.3f}",
        f"{one.seeds} of {one.seeds + one.failed}" if one.failed else str(one.seeds),
        metric.text_gain(one.excess) if one.excess is not None else "",
        str(one.touches),
        one.sandbox,
    )


def _lines(report: Report) -> Iterator[str]:
    tests = report.tests
    if not tests:
        return
    claimed = ", ".join(short(one.candidate) for one in tests if one.significant)
    corrected = f"corrected for {len(tests)} tests (Holm)" if len(tests) > 1 else "one test"
    yield f"p: one-sided, {corrected}. " + (
        f"A gain is claimed for {claimed}: p < 0.05." if claimed else "No gain is claimed: no p is below 0.05."
    )
    yield "excess: search score minus test score, positive if the search score looked better (winner's curse)."
    yield f"touches: scorings on the test split, {report.touches} in this run."
    if any(one.failed for one in tests):
        yield "No gain is claimed for code that failed with one of the final seeds."
    if not all(one.paired for one in tests):
        yield "The evaluator gave no scores per item, so the intervals are wider than necessary."
