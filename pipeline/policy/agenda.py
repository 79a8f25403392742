"""All trials that a run still needs, most urgent first."""

from collections.abc import Iterator

from pipeline.config import Codes, Mode
from pipeline.methods.base import Terms, seed_of
from pipeline.policy.bisection import wanted_looks
from pipeline.policy.budget import out_of_budget
from pipeline.policy.race import by_search, confirmations, final_seeds, race
from pipeline.policy.stopping import finishing, most_ideas
from pipeline.policy.trials import Wanted, wanted
from pipeline.records import Purpose
from pipeline.report.standings import BASELINE
from pipeline.store.archive import Archive
from pipeline.store.views import Attempt, Candidate, Trial


def agenda(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    """The baseline's trials, then those of the search method; after the search the race, the final trials of the elites and
    the measurements. Confirmation does not depend on the search method."""
    yield from _baselines(terms, archive)
    if archive.alarm is not None:
        return
    if not finishing(terms, archive):  # if the budget ended the search, its reserve is for the elites
        yield from terms.method.wanted_trials(archive)
        return
    yield from _confirmations(terms, archive)
    for _, attempt in measured(terms, archive):
        yield from wanted_looks(terms, attempt)


def reference_seeds(terms: Terms, archive: Archive) -> Iterator[tuple[Purpose, int]]:
    """Purpose and seed of every trial of the unmodified baseline that is wanted so far.

    On an unattended cluster one more (the canary) is trained in each later generation. One per wave would nearly double the
    cost, since a wave holds only trials that became ready since the last tick. Each alarm also needs one."""
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
    """The best candidates, best first: the leaders of the race, or with `most` that many by search trials. Without rounds in
    `select.confirm` the race uses search trials only. Final trials have no influence on what is tested."""
    return race(terms, archive).leaders if most is None else by_search(terms, archive, most)


def measured(terms: Terms, archive: Archive) -> list[tuple[str, Attempt]]:
    """Name and code of each attempt whose time to `measure.target` is measured, baseline first."""
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
    """Estimated number of trials still to come, from which the remaining time is computed."""
    config = terms.config
    if finishing(terms, archive):
        return sum(1 for _ in agenda(terms, archive)) + race(terms, archive).later
    ideas = max(most_ideas(config), archive.count) + len(archive.waiting)
    done = sum(trial.closed for trial in archive.baseline.trials)
    first = max(0, config.select.baseline_seeds - done)
    last = confirmations(config, ideas)
    return max(0, ideas - (archive.count - archive.index.unclosed)) + first + last


def _generations(terms: Terms, archive: Archive) -> int:
    """Number of opened generations; in steady mode the equivalent number of full-size generations."""
    if terms.config.search.mode is Mode.steady:
        return -(-archive.count // max(1, terms.config.ideate.candidates))
    return len(archive.generations)


def _baselines(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    for purpose, seed in reference_seeds(terms, archive):
        yield from wanted(archive.baseline, purpose, seed)


def _confirmations(terms: Terms, archive: Archive) -> Iterator[Wanted]:
    """The trials of the race; after the race, the final trials of the elites and the scorings on the test split, one for
    each checkpoint of the baseline and of the final trials."""
    found = race(terms, archive)
    yield from found.pending
    if found.pending:
        return
    attempts = [elite.attempt for elite in found.leaders if elite.attempt is not None]
    seeds = final_seeds(terms.config)
    for attempt in attempts:
        for seed in seeds:
            yield from wanted(attempt, Purpose.CONFIRM, seed)
    if not attempts and terms.config.measure.codes is not Codes.none:
        return
    for trial in archive.baseline.of(Purpose.BASELINE, Purpose.CANARY):
        yield from _test_scoring(archive.baseline, trial)
    for attempt in attempts:
        for trial in attempt.of(Purpose.CONFIRM):
            if trial.seed in seeds:
                yield from _test_scoring(attempt, trial)


def _test_scoring(holder: Attempt, trial: Trial) -> Iterator[Wanted]:
    if trial.score is None:
        return
    scoring = Wanted(holder, Purpose.TEST, trial.seed, of=trial)
    if scoring.found is None or not scoring.found.closed:
        yield scoring
