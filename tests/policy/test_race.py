"""The race that chooses the elites: rounds, elimination, resuming, budgets. Decisions on archives in memory."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.config import SelectConfig, StopConfig
from pipeline.methods.base import Terms
from pipeline.metric import Direction, Estimate, Metric
from pipeline.policy.agenda import agenda, elites, is_done, trials_left
from pipeline.policy.race import confirmations, final_seeds, race, survivors
from pipeline.records import Failure, FailureKind, Purpose, Stage
from pipeline.store.archive import Archive
from tests.archives import ERROR, Made, archive_of, config_of, name, terms_of

K = FailureKind
SEARCHED = [0.60, 0.64, 0.62, 0.61, 0.63, 0.59, 0.65, 0.58]
"""Search scores of eight candidates; the best is number 6, then 1, 4 and 2."""


def terms(confirm: list[list[int]], elite_seeds: int = 2, metric: Direction = Direction.maximize) -> Terms:
    select = SelectConfig(baseline_seeds=2, confirm=confirm, elites=1, elite_seeds=elite_seeds)
    return terms_of(config_of(metric, select=select, stop=StopConfig(generations=2)))


def searched(confirmed: dict[int, Sequence[float]] | None = None, **more: object) -> Archive:
    made = [Made(value, confirmed=(confirmed or {}).get(number, ())) for number, value in enumerate(SEARCHED)]
    return archive_of(made, baseline=(0.50, 0.52), **more)  # type: ignore[arg-type]


def wanted(terms: Terms, archive: Archive, purpose: Purpose = Purpose.CONFIRM) -> list[tuple[int, int]]:
    """Candidate (-1 for the baseline) and seed of the wanted trials."""
    numbers = {one.id: number for number, one in enumerate(archive.candidates)}
    found = (one for one in agenda(terms, archive) if one.purpose is purpose)
    return [(numbers.get("/".join(one.holder.paths.folder.parts[-3:-1]), -1), one.seed) for one in found]


# ---- rounds


def test_one_seed_of_all_comes_before_the_next_of_any() -> None:
    assert wanted(terms([[3, 2]]), searched()) == [(6, 1), (1, 1), (4, 1), (6, 2), (1, 2), (4, 2)]


def test_the_better_half_stays_and_one_is_tested_with_seeds_that_chose_nothing() -> None:
    given = terms([[4, 2], [2, 1]])
    first = {6: (0.61, 0.61), 1: (0.62, 0.62), 4: (0.64, 0.62), 2: (0.60, 0.61)}
    assert wanted(given, searched(first)) == [(4, 3), (1, 3)]
    second = first | {1: (0.62, 0.62, 0.67), 4: (0.64, 0.62, 0.61)}  # means 0.637 and 0.623
    assert [one.id for one in elites(given, searched(second))] == [name(1)]
    assert wanted(given, searched(second)) == [(1, 4), (1, 5)] and final_seeds(given.config) == (4, 5)
    final = second | {1: (*second[1], 0.1, 0.1)}
    assert [one.id for one in elites(given, searched(final))] == [name(1)]  # whatever the scores of the final trials


def test_only_the_final_trials_reach_the_test_split() -> None:
    given = terms([[2, 1]])
    racing = searched({6: (0.6,)})
    assert wanted(given, racing, Purpose.TEST) == []  # not even the baseline during the race
    over = searched({6: (0.61, 0.62, 0.63), 1: (0.60,)})
    assert wanted(given, over, Purpose.TEST) == [(-1, 0), (-1, 1), (6, 2), (6, 3)]


def test_no_race_without_elites() -> None:
    given = terms([[3, 2]])
    none = replace(given, config=replace(given.config, select=replace(given.config.select, elites=0)))
    assert wanted(none, searched()) == [] and confirmations(none.config, 8) == 0


@pytest.mark.parametrize(
    ("confirm", "candidates", "trainings"),
    [([], 50, 2), ([[6, 2], [3, 2]], 50, 12 + 6 + 2), ([[6, 2], [3, 2]], 4, 8 + 6 + 2), ([[6, 2]], 0, 0)],
)
def test_what_a_race_costs(confirm: list[list[int]], candidates: int, trainings: int) -> None:
    assert confirmations(terms(confirm).config, candidates) == trainings


# ---- elimination


def estimates(*means: float, error: float = 0.01) -> list[Estimate | None]:
    return [Estimate(mean, error, 0.0, 2) for mean in means]


@pytest.mark.parametrize(
    ("found", "places", "expected"),
    [
        pytest.param(estimates(0.51, 0.53, 0.52), 2, [1, 2, 0], id="no candidate is clearly worse"),
        pytest.param(estimates(0.51, 0.53, 0.46), 2, [1, 0], id="one is clearly worse than the baseline"),
        pytest.param(estimates(0.60, 0.55, 0.50), 1, [0], id="two are clearly worse than the best, for one place"),
        pytest.param(estimates(0.60, 0.55, 0.50), 2, [0, 1], id="only the last of two places is lost"),
        pytest.param(estimates(0.40, 0.41), 1, [], id="all are worse than the baseline"),
        pytest.param([None, *estimates(0.51)], 1, [1, 0], id="no score yet"),
    ],
)
@pytest.mark.parametrize("direction", list(Direction))
def test_survivors(found: list[Estimate | None], places: int, expected: list[int], direction: Direction) -> None:
    sign = 1 if direction is Direction.maximize else -1
    turned = [replace(one, mean=sign * one.mean) if one is not None else None for one in found]
    reference = Estimate(sign * 0.50, 0.01, 0.0, 5)
    assert list(survivors(Metric("m", direction), turned, reference, places)) == expected


def test_an_eliminated_candidate_gets_no_second_seed() -> None:
    """After one seed 4 lies 0.2 below the baseline, with errors of about 0.02."""
    archive = searched({4: (0.3,)})
    assert wanted(terms([[3, 2]]), archive) == [(6, 1), (1, 1), (6, 2), (1, 2)]


@pytest.mark.parametrize(
    ("kind", "best"),
    [
        pytest.param(K.NAN, 1, id="of the code: it is eliminated, however good its other seed was"),
        pytest.param(K.NODE_FAIL, 6, id="of a machine: its other seed counts"),
    ],
)
def test_a_trial_of_the_race_that_failed(kind: FailureKind, best: int) -> None:
    archive = searched({6: (0.61, 0.61), 1: (0.6, 0.6)})
    candidate = archive.candidate(name(6))
    (attempt,) = candidate.attempts
    failed = replace(attempt.trials[2], score=None, failure=Failure(Stage.TRAIN, kind, "it broke"))
    archive.index.put(replace(candidate, attempts=(replace(attempt, trials=(*attempt.trials[:2], failed)),)))
    assert [one.id for one in elites(terms([[2, 2]]), archive)] == [name(best)]


def test_a_race_without_survivors_tests_no_candidate() -> None:
    archive = searched({6: (0.1,), 1: (0.1,)})
    given = terms([[2, 2]])
    assert race(given, archive).leaders == () and wanted(given, archive) == []
    assert wanted(given, archive, Purpose.TEST) == [(-1, 0), (-1, 1)]


def test_a_pinned_candidate_is_tested_whatever_the_race_decides_and_a_banned_one_does_not_take_part() -> None:
    archive = searched({5: (0.1,), 6: (0.6,)}, marks={5: True, 1: False})
    given = terms([[2, 1]])
    assert [one.id for one in elites(given, archive)] == [name(5)]
    two = searched({5: (0.1,), 3: (0.2,)}, marks={5: True, 3: True})
    assert {one.id for one in elites(given, two)} == {name(5), name(3)}  # more than there are places
    assert [number for number, _ in wanted(terms([[3, 1]]), searched(marks={5: True, 1: False}))] == [5, 6, 4]


# ---- the same archive, the same race


def test_a_race_resumes_from_any_trial_and_ends() -> None:
    """One trial at a time; each decision is made again from the archive. At most the planned number of trials is
    run."""
    given, values = terms([[6, 2], [3, 2]], elite_seeds=6), {number: 0.55 + number / 100 for number in range(8)}
    values[2] = 0.3  # eliminated after its first seed, as 3 is in the second round
    confirmed: dict[int, list[float]] = {}
    order, left = [], []
    while found := wanted(given, searched({number: tuple(one) for number, one in confirmed.items()})):
        left.append(trials_left(given, searched({number: tuple(one) for number, one in confirmed.items()})))
        number, seed = found[0]
        assert seed == len(confirmed.setdefault(number, [])) + 1  # no seed is skipped or repeated
        confirmed[number].append(values[number] + 0.001 * (seed % 2))
        order.append(number)
    assert {number: order.count(number) for number in range(8)} == {6: 10, 4: 4, 3: 3, 1: 2, 0: 2, 2: 1, 5: 0, 7: 0}
    assert order[-6:] == [6] * 6 and order.count(2) == 1 and left[-1] >= 1
    assert ERROR == 0.01


def test_a_run_is_not_done_during_a_race() -> None:
    given = terms([[2, 1]])
    assert not is_done(given, searched())
