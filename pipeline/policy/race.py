"""The race that chooses the elites: successive rounds with fewer candidates and more seeds.

The best score of a search is partly luck, so several candidates are trained again with other seeds, and only the better ones
enter the next round: sequential halving (Karnin, Koren and Somekh, ICML 2013). A candidate that is clearly out gets no
further seeds, as in racing (Maron and Moore, NIPS 1993). The seeds of the race chose the elites, so no claim rests on them;
the final trials use new ones.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.methods.base import Terms, pinned, seed_of
from pipeline.metric import Estimate, Metric, difference
from pipeline.policy.trials import Wanted, wanted
from pipeline.records import Purpose
from pipeline.report.posterior import POOL, ranked
from pipeline.report.standings import Verdict, baseline_estimate, estimate_of, knowledge, verdict
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate


@dataclass(frozen=True)
class Race:
    """The state of a race."""

    leaders: tuple[Candidate, ...]
    """The elites if the race is over, else the best so far; best first. Fewer than `select.elites` if others are out."""
    racing: tuple[Candidate, ...]
    """Candidates that may still become elites."""
    pending: tuple[Wanted, ...]
    """Trials that the current round still needs, most urgent first; empty once the race is over."""
    seeds: tuple[int, ...]
    """Seeds of all rounds up to the current one; once the race is over, the seeds of the final trials."""
    later: int = 0
    """Most trainings after the current round, including the final ones; 0 once the race is over."""


def race(terms: Terms, archive: Archive) -> Race:
    """The race according to the trials so far. Without rounds it is over at once, and the best by search are the elites."""
    select = terms.config.select
    rounds = select.confirm if select.elites else []
    racing = by_search(terms, archive, rounds[0][0] if rounds else select.elites)
    stages, first = [*rounds, [select.elites, select.elite_seeds]], 1
    for stage, ((_, seeds), (places, _)) in enumerate(itertools.pairwise(stages), 1):
        new, first = range(first, first + seeds), first + seeds
        used = tuple(seed_of(terms.config, number) for number in range(1, first))
        racing = _in_race(terms, archive, racing, used, places)
        pending = tuple(
            trial
            for number in new  # one seed for all before the next seed for any, so that bad candidates are found early
            for one in racing
            if one.attempt is not None
            for trial in wanted(one.attempt, Purpose.CONFIRM, seed_of(terms.config, number))
        )
        if pending:
            later = sum(entered * trained for entered, trained in stages[stage:])
            return Race(racing[: select.elites], racing, pending, used, later)
        racing = tuple(one for place, one in enumerate(racing) if place < places or archive.is_pinned(one.id))
    return Race(racing, racing, (), final_seeds(terms.config))


def final_seeds(config: Config) -> tuple[int, ...]:
    """Seeds of the final trials of each elite, which no choice depends on."""
    first = 1 + sum(seeds for _, seeds in config.select.confirm)
    return tuple(seed_of(config, number) for number in range(first, first + config.select.elite_seeds))


def confirmations(config: Config, candidates: int) -> int:
    """The most trainings of candidates after the search, including the final ones."""
    select = config.select
    if not select.elites:
        return 0
    rounds = [*select.confirm, [select.elites, select.elite_seeds]]
    return sum(min(entered, candidates) * seeds for entered, seeds in rounds)


def by_search(terms: Terms, archive: Archive, most: int) -> tuple[Candidate, ...]:
    """The best candidates by posterior mean of the search trials (`report/posterior.py`), best first. Pinned candidates
    come first; banned ones are excluded."""
    best = pinned(terms.metric, archive)
    for candidate, _ in ranked(archive, terms.metric, knowledge(archive), max(POOL, most)):
        if len(best) >= most:
            break
        if candidate.id not in archive.marks:
            best.append(candidate)
    return tuple(best)


def survivors(metric: Metric, estimates: Sequence[Estimate | None], reference: Estimate, places: int) -> Iterator[int]:
    """Indices of the codes that are not clearly out, best first; codes without an estimate last.

    A code is out if it is clearly worse than the reference, or than at least `places` others.
    """
    known = [(number, one) for number, one in enumerate(estimates) if one is not None]

    def worse(one: Estimate, than: Estimate) -> bool:
        return verdict(*difference(metric, one, than)) is Verdict.LOSS

    for number, one in sorted(known, key=lambda pair: -metric.goodness(pair[1].mean)):
        if not worse(one, reference) and sum(worse(one, other) for _, other in known) < places:
            yield number
    yield from (number for number, one in enumerate(estimates) if one is None)


def _in_race(
    terms: Terms, archive: Archive, racing: Sequence[Candidate], seeds: Sequence[int], places: int
) -> tuple[Candidate, ...]:
    """Candidates still in the race by the trials with these seeds, best first. A candidate that failed with one of the seeds
    is out. Pinned candidates always stay, and come first."""
    reference = baseline_estimate(archive)
    kept = [one for one in racing if archive.is_pinned(one.id)]
    others = [one for one in racing if one not in kept and not _failed(one, seeds)]
    if reference is None:
        return (*kept, *others)
    estimates = []
    for one in others:
        scores = [score for score in one.attempt.scores(Purpose.CONFIRM) if score.seed in seeds] if one.attempt else []
        estimates.append(estimate_of(scores, reference.seed_sd) if scores else None)
    found = survivors(terms.metric, estimates, reference, places - len(kept))
    return (*kept, *(others[number] for number in found))


def _failed(candidate: Candidate, seeds: Sequence[int]) -> bool:
    """Whether the code failed with one of the seeds; machine faults do not count."""
    trials = candidate.attempt.of(Purpose.CONFIRM) if candidate.attempt is not None else ()
    return any(one.seed in seeds and one.failure is not None and not one.failure.kind.infrastructure for one in trials)
