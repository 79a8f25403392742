"""Every trial that a run still needs, the most urgent first."""

from collections.abc import Iterator

from pipeline.config import Codes, Mode
from pipeline.methods.base import Terms, pinned, seed_of
from pipeline.metric import Direction
from pipeline.policy.bisection import wanted_looks
from pipeline.policy.budget import out_of_budget
from pipeline.policy.stopping import finishing
from pipeline.policy.trials import Wanted, wanted
from pipeline.records import Purpose
from pipeline.report.standings import BASELINE
from pipeline.store.archive import Archive
from pipeline.store.views import Attempt, Candidate


def agenda(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    """The baseline's trials, then those of the search method; when the search is over the confirmation of the elites and the
    measurements. How a result is confirmed does not depend on the method that found it."""
    yield from _baselines(terms, archive)
    if archive.alarm is not None:
        return
    if not finishing(terms, archive):  # where the budget ended the search, its reserve is not for candidates left over
        yield from terms.method.wanted_trials(archive)
        return
    yield from _confirmations(terms, archive)
    yield from _test_scorings(terms, archive)
    for _, attempt in measured(terms, archive):
        yield from wanted_looks(terms, attempt)


def reference_seeds(terms: Terms, archive: Archive) -> Iterator[tuple[Purpose, int]]:
    """Purpose and seed of every trial of the unmodified baseline that is wanted by now.

    Where jobs run on machines that nobody watches, one more is trained in each later generation (the canary). One in each
    wave would be one beside nearly every trial, as a wave is what became ready since the last tick. An alarm needs
    one, too."""
    select = terms.config.select
    for number in range(select.baseline_seeds):
        yield Purpose.BASELINE, seed_of(terms.config, number)
    canaries = 0
    if select.canary and terms.config.cluster.unattended:
        canaries = _generations(terms, archive) - 1
    seeds = [seed_of(terms.config, select.baseline_seeds + number) for number in range(canaries)]
    alarmed = [raised.alarm.seed for raised in archive.alarms]
    for seed in dict.fromkeys([*seeds, *alarmed]):
        if seed >= seed_of(terms.config, select.baseline_seeds):
            yield Purpose.CANARY, seed


def elites(terms: Terms, archive: Archive, most: int | None = None) -> tuple[Candidate, ...]:
    """The best candidates by the score of their search trial, best first. Not by later trials: which code is trained again
    must not depend on how that went. Those that a person pinned come first, and those banned not at all."""
    metric, most = terms.metric, terms.config.select.elites if most is None else most
    best = pinned(metric, archive)
    for candidate in archive.ranked(metric.direction is Direction.maximize):
        if len(best) >= most:
            break
        if candidate.id not in archive.marks:
            best.append(candidate)
    return tuple(best)


def measured(terms: Terms, archive: Archive) -> list[tuple[str, Attempt]]:
    """The codes whose time to `measure.target` is measured with their names, the baseline first."""
    codes = terms.config.measure.codes
    if codes is Codes.none:
        return []
    chosen = elites(terms, archive, archive.count if codes is Codes.scored else None)
    return [(BASELINE, archive.baseline), *((one.id, one.attempt) for one in chosen if one.attempt is not None)]


def is_done(terms: Terms, archive: Archive) -> bool:
    """Whether the search is over and confirmed, as far as the budget allows."""
    if not finishing(terms, archive):
        return False
    return not any(agenda(terms, archive)) or out_of_budget(terms, archive, final=True)


def trials_left(terms: Terms, archive: Archive) -> int:
    """Number of trials still to come, estimated: for the time left."""
    config = terms.config
    if finishing(terms, archive):
        return sum(1 for _ in agenda(terms, archive))
    ideas = config.stop.generations * config.ideate.candidates
    if config.stop.candidates:
        ideas = min(ideas, config.stop.candidates)
    ideas = max(ideas, archive.count) + len(archive.waiting)
    done = sum(trial.closed for trial in archive.baseline.trials)
    first = max(0, config.select.baseline_seeds - done)
    last = config.select.elites * config.select.elite_seeds
    return max(0, ideas - (archive.count - archive.index.unclosed)) + first + last


def _generations(terms: Terms, archive: Archive) -> int:
    """How many generations were opened; in steady mode how many of the full size they would make."""
    if terms.config.search.mode is Mode.steady:
        return -(-archive.count // max(1, terms.config.ideate.candidates))
    return len(archive.generations)


def _baselines(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    for purpose, seed in reference_seeds(terms, archive):
        yield from wanted(archive.baseline, purpose, seed)


def _confirmations(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    for elite in elites(terms, archive):
        assert elite.attempt is not None
        for number in range(1, 1 + terms.config.select.elite_seeds):
            yield from wanted(elite.attempt, Purpose.CONFIRM, seed_of(terms.config, number))


def _test_scorings(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    """One for each checkpoint of the baseline, and of each elite but that of the trial that chose it."""
    chosen = elites(terms, archive)
    if not chosen and terms.config.measure.codes is not Codes.none:
        return
    attempts = [one.attempt for one in chosen if one.attempt is not None]
    for holder in (archive.baseline, *attempts):
        for trial in holder.of(Purpose.BASELINE, Purpose.CANARY, Purpose.CONFIRM):
            if trial.score is not None:
                scoring = Wanted(holder, Purpose.TEST, trial.seed, of=trial)
                if scoring.found is None or not scoring.found.closed:
                    yield scoring
