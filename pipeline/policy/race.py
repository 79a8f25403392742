"""The race that chooses the elites: rounds of fewer candidates and more seeds.

The best score of a search is lucky, so several candidates are trained again with other seeds, and only the better ones enter
the next round: sequential halving (Karnin, Koren and Somekh, ICML 2013). A candidate that is clearly out gets no further
seed, as in racing (Maron and Moore, NIPS 1993). The seeds of the race chose the elites, so no claim rests on them: those of
the final trials come after.
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
    """How far a race is."""

    leaders: tuple[Candidate, ...]
    """The elites once it is over, until then the best so far; best first. Fewer than `select.elites` if others are out."""
    racing: tuple[Candidate, ...]
    """Those that may still become elites."""
    pending: tuple[Wanted, ...]
    """Trials that its round still needs, most urgent first; none once it is over."""
    seeds: tuple[int, ...]
    """Seeds of the race so far, the open round included; once it is over, those of the final trials."""
    later: int = 0
    """The most trainings that come after its round, the final ones included; 0 once it is over."""


def race(terms: Terms, archive: Archive) -> Race:
    """The race by the trials so far. Without rounds it is over at once: the best by search are the elites."""
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
            for number in new  # one seed of all before the next of any, so that those clearly out are seen early
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
    """Seeds of the final trials of each elite. They chose nothing."""
    first = 1 + sum(seeds for _, seeds in config.select.confirm)
    return tuple(seed_of(config, number) for number in range(first, first + config.select.elite_seeds))


def confirmations(config: Config, candidates: int) -> int:
    """The most trainings of candidates after the search, the final ones included."""
    select = config.select
    if not select.elites:
        return 0
    rounds = [*select.confirm, [select.elites, select.elite_seeds]]
    return sum(min(entered, candidates) * seeds for entered, seeds in rounds)


def by_search(terms: Terms, archive: Archive, most: int) -> tuple[Candidate, ...]:
    """The best candidates by what all search trials say of them (`report/posterior.py`), best first. Those that a person
    pinned come first, and those banned not at all."""
    best = pinned(terms.metric, archive)
    for candidate, _ in ranked(archive, terms.metric, knowledge(archive), max(POOL, most)):
        if len(best) >= most:
            break
        if candidate.id not in archive.marks:
            best.append(candidate)
    return tuple(best)


def survivors(metric: Metric, estimates: Sequence[Estimate | None], reference: Estimate, places: int) -> Iterator[int]:
    """Numbers of the codes that are not clearly out, best first; those without an estimate last.

    Out is who is clearly worse than the reference, or than as many others as there are places.
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
    """Who is still in the race by the trials with these seeds, best first. A code that fails with one of them is out; one
    that a person pinned is not, and comes first."""
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
    """Whether the code failed with one of the seeds; a fault of a machine says nothing about it."""
    trials = candidate.attempt.of(Purpose.CONFIRM) if candidate.attempt is not None else ()
    return any(one.seed in seeds and one.failure is not None and not one.failure.kind.infrastructure for one in trials)
