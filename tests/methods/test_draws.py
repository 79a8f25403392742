"""How often each method draws each option, with probabilities worked by hand."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline.methods.guided import Field, Guided, Option
from pipeline.methods.power_law import PowerLaw
from pipeline.methods.puct import Puct
from pipeline.methods.thompson import Thompson
from tests.archives import Made, archive_of, config_of, name

CONFIG = config_of()
METRIC = CONFIG.baseline.metric.metric
DRAWS = 4000
"""Number of draws whose frequencies are compared; four standard deviations of a frequency are at most 0.032."""


def drawn(
    method: Guided,
    gains: Sequence[float],
    count: int,
    deviation: float = 0.1,
    children: Sequence[int] = (0, 0, 0),
) -> list[int | None]:
    """The numbers of the options drawn, best first; none for an idea that explores."""
    archive = archive_of([Made(0.5 + gain) for gain in gains])
    candidates = zip(archive.candidates, gains, children, strict=False)
    options = [Option(one, gain, deviation, gain, made) for one, gain, made in candidates]
    numbers = {name(number): number for number in range(len(gains))}
    found = method.draw(Field(options, 0.01, 1, random.Random(0), archive), count)
    return [numbers[one.id] if one is not None else None for one in found]


def shares(draws: Sequence[int | None], options: int) -> list[float]:
    """The share of each option, best first."""
    counts = Counter(draws)
    return [counts[number] / len(draws) for number in range(options)]


@pytest.mark.parametrize(
    ("width", "share"),
    [
        pytest.param(1e-9, 0.0, id="no deviation"),
        pytest.param(1.0, 0.240, id="the whole deviation"),
        pytest.param(0.5, 0.079, id="half the deviation"),
    ],
)
def test_thompson_draws_by_the_probability_of_being_the_best(width: float, share: float) -> None:
    """The means differ by one deviation, and a difference of draws varies by `width`·√2: Φ(-1/√2) and Φ(-√2)."""
    draws = drawn(Thompson(CONFIG, METRIC, width, discount=0.0), (10.1, 10.0), DRAWS)
    assert shares(draws, 2) == pytest.approx([1 - share, share], abs=0.032)


def test_thompson_explores_where_no_draw_beats_the_baseline() -> None:
    draws = drawn(Thompson(CONFIG, METRIC, discount=0.0), (0.0,), DRAWS)
    assert shares(draws, 1) == pytest.approx([0.5], abs=0.032)


@pytest.mark.parametrize(
    ("discount", "children", "expected"),
    [
        pytest.param(1.0, (0, 0), [0, 0, 1, 0, 0, 0, 1], id="each draw is a child"),
        pytest.param(1.0, (2, 0), [1, 0, 0, 0, 1], id="known children"),
        pytest.param(0.1, (0, 0), [0] * 7, id="a small discount"),
    ],
)
def test_thompson_turns_from_parents_with_children(
    discount: float, children: tuple[int, int], expected: list[int]
) -> None:
    """The means differ by one deviation, and ln 3 = 1.10 is the first logarithm above 1; next, ln 6 - ln 2 is."""
    method = Thompson(CONFIG, METRIC, 1e-9, discount)
    assert drawn(method, (0.5, 0.4), len(expected), children=children) == expected


@pytest.mark.parametrize(
    ("bonus", "children", "expected"),
    [
        pytest.param(1.0, (0, 0), [0, 0, 0, 0, 0, 1], id="each draw is a child"),
        pytest.param(1.0, (5, 0), [1], id="known children"),
        pytest.param(0.0, (50, 0), [0] * 6, id="no bonus"),
    ],
)
def test_puct_turns_to_the_next_parent_after_some_children(
    bonus: float, children: tuple[int, int], expected: list[int]
) -> None:
    """Values 1 and 1/2, priors 2/3 and 1/3. After n children of the first: 1 + 2/3·√(1+n)/(1+n) against 1/2 + 1/3·√(1+n),
    for n = 4 1.30 against 1.25, for n = 5 1.27 against 1.32."""
    assert drawn(Puct(CONFIG, METRIC, bonus), (0.4, 0.2), len(expected), children=children) == expected


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        pytest.param(0.0, [1 / 3, 1 / 3, 1 / 3], id="uniform"),
        pytest.param(1.0, [6 / 11, 3 / 11, 2 / 11], id="1, 1/2, 1/3"),
        pytest.param(2.0, [36 / 49, 9 / 49, 4 / 49], id="1, 1/4, 1/9"),
    ],
)
def test_power_law_draws_by_rank(alpha: float, expected: list[float]) -> None:
    draws = drawn(PowerLaw(CONFIG, METRIC, alpha), (0.3, 0.2, 0.1), DRAWS)
    assert shares(draws, 3) == pytest.approx(expected, abs=0.032)
