"""Which candidates each island draws, with islands worked by hand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from pipeline.config import IdeateConfig, SelectConfig
from pipeline.errors import BadInput
from pipeline.methods.islands import Islands
from pipeline.methods.power_law import PowerLaw
from pipeline.records import FailureKind
from tests.archives import Made, archive_of, config_of, name

SIZE, NEVER = 6, 1000
"""Number of candidates in a generation, and a number of generations that no test reaches."""
FAILED = Made(kind=FailureKind.NAN)


def islands(count: int = 3, every: int = NEVER, draws: int = SIZE, **more: Any) -> Islands:
    config = config_of(ideate=IdeateConfig(candidates=draws), select=SelectConfig(parents=1))
    return Islands(config, config.baseline.metric.metric, count, every, **more)


def drawn(method: Any, made: Sequence[Made], marks: Mapping[int, bool] | None = None) -> list[int]:
    """The numbers of the candidates that are drawn for the next generation."""
    archive = archive_of(made, per_generation=SIZE, marks=marks)
    numbers = {name(number, SIZE): number for number in range(len(made))}
    return [numbers[one] for one in method.select(archive).draws]


def by_island(method: Islands, made: Sequence[Made], count: int = 3) -> list[set[int]]:
    """The candidates that each island ever draws."""
    draws = drawn(method, made)
    return [set(draws[(island - len(made) // SIZE) % count :: count]) for island in range(count)]


def family(made: Sequence[Made], number: int) -> int:
    """The ancestor on the baseline."""
    while parents := made[number].parents:
        (number,) = parents
    return number


@pytest.mark.parametrize("marks", [{}, {0: True}], ids=["no pin", "a pin"])
@pytest.mark.parametrize("failed", [set(), {1, 4}], ids=["all draw", "an island explores"])
def test_without_exchange_families_stay_on_their_island(marks: dict[int, bool], failed: Collection[int]) -> None:
    """The first six are on islands 0, 1, 2, 0, 1 and 2. Ideas are proposed in the order of the draws, so those of pinned
    candidates and of islands without parents shift the others."""
    made = [FAILED if number in failed else Made(0.9 - number / 100) for number in range(SIZE)]
    for generation in range(1, 5):
        draws = drawn(islands(), made, marks)
        slots = [(generation + slot) % 3 for slot in range(SIZE - len(marks))]
        expected = [island for island in slots if island != 1 or not failed]
        assert [family(made, one) % 3 for one in draws] == [0] * len(marks) + expected
        made += [Made(0.9 + len(made) / 1000, parents=(one,)) for one in draws]
        made += [FAILED] * (SIZE - len(draws))


def test_with_exchange_the_best_of_an_island_appears_next_door() -> None:
    made = [Made(0.9 - number / 100) for number in range(SIZE)]
    method = islands(every=1, draws=600, within=["power_law"])
    assert by_island(method, made) == [{0, 3, 2}, {1, 4, 0}, {2, 5, 1}]
    assert by_island(islands(every=2, draws=600, within=["power_law"]), made) == [{0, 3}, {1, 4}, {2, 5}]


def test_a_child_of_a_guest_stays_where_it_was_drawn() -> None:
    """Generation 1 exchanges: candidate 6 is of island 1 and its parent of island 0. Its child in generation 2, number 13,
    would be of island 0 by its number."""
    made = [Made(0.9 - number / 100) for number in range(SIZE)]
    made += [Made(0.8, parents=(0,)), *[FAILED] * 5, FAILED, Made(0.8, parents=(6,)), *[FAILED] * 4]
    method = islands(every=1, draws=600, within=["power_law"])
    assert by_island(method, made[:12])[1] >= {1, 4, 6}
    assert by_island(method, made)[1] >= {1, 4, 6, 13}


def test_an_idea_that_joins_two_parents_is_on_the_island_of_the_first() -> None:
    made = [Made(0.9 - number / 100) for number in range(SIZE)]
    made += [Made(0.8, parents=(1, 2)), *[FAILED] * 5]
    assert by_island(islands(draws=600, within=["power_law"]), made) == [{0, 3}, {1, 4, 6}, {2, 5}]


def test_each_island_draws_in_its_own_way() -> None:
    made = [Made(0.9 - number / 100) for number in range(SIZE)]
    method = islands(2, draws=600, within=["truncation", "power_law"])
    assert by_island(method, made, 2) == [{0}, {1, 3, 5}]  # select.parents=1


def test_one_island_draws_as_its_method_does() -> None:
    made = [Made(0.9 - number / 100) for number in range(SIZE)]
    config = config_of(ideate=IdeateConfig(candidates=40))
    alone = PowerLaw(config, config.baseline.metric.metric)
    assert drawn(islands(1, every=1, draws=40, within=["power_law"]), made) == drawn(alone, made)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"count": 0}, "islands=0 is too small; use at least 1", id="no islands"),
        pytest.param({"every": 0}, "every=0 is too small; use at least 1", id="no generations"),
        pytest.param({"within": []}, "within is empty; list one or more of: thompson", id="no method"),
        pytest.param({"within": ["puct"]}, "within has no puct; allowed: thompson", id="an unknown method"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        islands(**settings)
