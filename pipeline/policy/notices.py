"""What a person should be told of a run while nobody watches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.methods.base import Terms
from pipeline.policy.accounting import committed_h
from pipeline.policy.agenda import elites
from pipeline.policy.stopping import finishing
from pipeline.records import Holdup, Purpose, Standing
from pipeline.report.standings import baseline_estimate, standing
from pipeline.store.archive import Archive
from pipeline.store.paths import short

_LEVELS = (100, 80)
"""Percent of a budget at which it is told."""


@dataclass(frozen=True)
class Notice:
    """One thing to tell."""

    cause: str
    """The same for the same cause."""
    text: str
    """For people, one line."""


def notices(terms: Terms, archive: Archive, holdups: Sequence[Holdup]) -> Iterator[Notice]:
    """All that holds now: a pause, what waits for a person (such as used-up credit), a budget at 80 and 100 %, the best that
    other seeds confirm, and the end."""
    if archive.pause is not None:
        yield Notice(f"pause {archive.pause.at:.0f}", f"paused: {archive.pause.reason}")
    for holdup in holdups:
        if holdup.next_at is None:
            yield Notice(f"waiting {holdup.what}", f"waits for a person ({holdup.what}): {holdup.reason}")
    budget_h = terms.config.budget.gpu_hours
    if budget_h:
        share = 100 * committed_h(terms.config, archive, terms.clock()) / budget_h
        level = next((level for level in _LEVELS if share >= level), None)
        if level is not None:
            yield Notice(
                f"budget.gpu_hours {level}", f"{level} % of budget.gpu_hours={budget_h:g} is spent or in flight"
            )
    if archive.report is not None:
        yield Notice(f"end {archive.report.candidates}", f"finished: {archive.report.stopped}")
    if finishing(terms, archive):
        best = confirmed_best(terms, archive)
        if best is not None:
            gain = f"{terms.metric.text_gain(best.gain)} ± {terms.metric.text_gain(best.gain_error).lstrip('+')}"
            value = terms.metric.text_error(best.value, best.standard_error)
            yield Notice(f"best {best.candidate}", f"new confirmed best: {short(best.candidate)} {value} ({gain})")


def confirmed_best(terms: Terms, archive: Archive) -> Standing | None:
    """The best of the elites that were trained again with other seeds, by these trials."""
    reference = baseline_estimate(archive)
    if reference is None:
        return None
    found = [
        standing(terms.metric, elite.id, scores, reference)
        for elite in elites(terms, archive)
        if elite.attempt is not None and (scores := elite.attempt.scores(Purpose.CONFIRM))
    ]
    return max(found, key=lambda one: terms.metric.goodness(one.value), default=None)
