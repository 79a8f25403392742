"""Notices about an unattended run that a person should receive."""

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
"""Percentages of a budget that cause a notice."""


@dataclass(frozen=True)
class Notice:
    """One notice."""

    cause: str
    """Key that is equal for the same cause."""
    text: str
    """One line for people."""


def collapse_signs(archive: Archive) -> tuple[str, ...]:
    """Signs of a collapse of the policy in its newest measured step, each in one line."""
    alarms = archive.measures.alarms if archive.measures is not None else ()
    return tuple(f"the policy may collapse: {alarm}" for alarm in alarms)


def notices(
    terms: Terms,
    archive: Archive,
    holdups: Sequence[Holdup],
    spent_usd: float = 0.0,
) -> Iterator[Notice]:
    """All current notices: a pause, a holdup that requires a person (such as used-up credit), signs of a collapse of the
    policy, 80 or 100 % of a budget, the confirmed best candidate, and the end of the run. `spent_usd` is the cost of the
    language model."""
    if archive.pause is not None:
        yield Notice(f"pause {archive.pause.at:.0f}", f"paused: {archive.pause.reason}")
    for holdup in holdups:
        if holdup.next_at is None:
            yield Notice(f"waiting {holdup.what}", f"manual action required ({holdup.what}): {holdup.reason}")
    if signs := collapse_signs(archive):
        yield Notice("collapse", "; ".join(signs))
    budget = terms.config.budget
    if budget.gpu_hours:
        committed = committed_h(terms.config, archive, terms.clock())
        yield from _level("gpu_hours", committed, budget.gpu_hours, "spent or in flight")
    if budget.usd:
        yield from _level("usd", spent_usd, budget.usd, "spent")
    if archive.report is not None:
        yield Notice(f"end {archive.report.candidates}", f"finished: {archive.report.stopped}")
    if finishing(terms, archive):
        best = confirmed_best(terms, archive)
        if best is not None:
            gain = terms.metric.text_gain(best.gain, best.gain_error)
            value = terms.metric.text_error(best.value, best.standard_error)
            yield Notice(f"best {best.candidate}", f"new confirmed best: {short(best.candidate)} {value} ({gain})")


def _level(name: str, used: float, limit: float, how: str) -> Iterator[Notice]:
    level = next((level for level in _LEVELS if 100 * used >= level * limit), None)
    if level is not None:
        yield Notice(f"budget.{name} {level}", f"{level} % of budget.{name}={limit:g} is {how}")


def confirmed_best(terms: Terms, archive: Archive) -> Standing | None:
    """The best elite by its trials with other seeds; none before any has a score."""
    reference = baseline_estimate(archive)
    if reference is None:
        return None
    found = [
        standing(terms.metric, elite.id, scores, reference)
        for elite in elites(terms, archive)
        if elite.attempt is not None and (scores := elite.attempt.scores(Purpose.CONFIRM))
    ]
    return max(found, key=lambda one: terms.metric.goodness(one.value), default=None)
