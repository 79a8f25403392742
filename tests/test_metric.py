"""The arithmetic of comparisons, checked against hand-worked numbers."""

import math

import pytest

from pipeline.metric import Direction, Estimate, Metric, difference, estimate

ACCURACY = Metric("accuracy", Direction.maximize, 0.0, 1.0, percent=True)
LOSS = Metric("loss", Direction.minimize, low=0.0)


@pytest.mark.parametrize(
    ("metric", "value", "reference", "gain"),
    [(ACCURACY, 0.5, 0.25, 0.25), (ACCURACY, 0.25, 0.5, -0.25), (LOSS, 2.0, 3.0, 1.0), (LOSS, 3.0, 2.0, -1.0)],
)
def test_a_gain_is_positive_where_better_in_either_direction(
    metric: Metric, value: float, reference: float, gain: float
) -> None:
    assert metric.gain(value, reference) == gain
    assert (metric.goodness(value) > metric.goodness(reference)) == (gain > 0)


@pytest.mark.parametrize(
    ("metric", "value", "plausible"),
    [
        (ACCURACY, 0.0, True),
        (ACCURACY, 1.0, True),
        (ACCURACY, 1.01, False),
        (ACCURACY, -0.01, False),
        (LOSS, 1e300, True),
        (LOSS, math.inf, False),
        (LOSS, math.nan, False),
        (LOSS, -1e-9, False),
    ],
)
def test_plausible(metric: Metric, value: float, plausible: bool) -> None:
    assert metric.plausible(value) is plausible


def test_texts() -> None:
    assert ACCURACY.text(0.4567) == "45.7 %"
    assert ACCURACY.text_error(0.4567, 0.0123) == "45.7 ± 1.2 %"
    assert ACCURACY.text_gain(-0.0123) == "-1.2"
    assert LOSS.text(3.28) == "3.2800"
    assert LOSS.text_error(3.28, 0.01) == "3.2800 ± 0.0100"
    assert LOSS.text_gain(0.0123) == "+0.0123"


@pytest.mark.parametrize(
    ("values", "errors", "seed_sd", "mean", "error", "sd"),
    [
        # Three trials: their own variance, 1, over n = 3, plus the evaluation's 0.2, which all of them share.
        ([1.0, 2.0, 3.0], [0.2, 0.2, 0.2], None, 2.0, math.sqrt(1 / 3 + 0.04), 1.0),
        ([1.0, 2.0, 3.0], [0.2, 0.2, 0.2], 9.0, 2.0, math.sqrt(1 / 3 + 0.04), 1.0),
        # One trial has no spread of its own: the baseline's is used.
        ([2.0], [0.3], 0.4, 2.0, 0.5, 0.4),
        ([2.0], [0.3], None, 2.0, 0.3, 0.0),
        # Two trials: the baseline's spread, 0.4, if known (0.16 / 2), else their own, 2 ** 0.5 (2 / 2).
        ([1.0, 3.0], [0.0, 0.0], 0.4, 2.0, math.sqrt(0.08), 0.4),
        ([1.0, 3.0], [0.0, 0.0], None, 2.0, 1.0, math.sqrt(2)),
        # Unequal evaluation errors: their mean square, (0.09 + 0.16 + 0.25) / 3, not divided by n.
        ([5.0, 5.0, 5.0], [0.3, 0.4, 0.5], None, 5.0, math.sqrt(0.5 / 3), 0.0),
    ],
)
def test_estimate(
    values: list[float], errors: list[float], seed_sd: float | None, mean: float, error: float, sd: float
) -> None:
    found = estimate(values, errors, seed_sd)
    assert (found.mean, found.n) == (mean, len(values))
    assert found.standard_error == pytest.approx(error)
    assert found.seed_sd == pytest.approx(sd)


def test_more_problems_do_not_hide_behind_more_seeds() -> None:
    """The evaluation's error is a lower bound: all seeds are scored on the same problems."""
    assert estimate([1.0] * 1000, [0.2] * 1000).standard_error == pytest.approx(0.2)


def test_difference_adds_independent_errors() -> None:
    gain, error = difference(LOSS, Estimate(1.0, 0.3, 0.0, 3), Estimate(3.0, 0.4, 0.0, 3))
    assert (gain, error) == (2.0, 0.5)


def test_a_training_that_diverged_does_not_fill_the_screen() -> None:
    metric = Metric("loss", Direction.minimize)
    assert metric.text(3.2e133) == "3.2e+133"
    assert metric.text_gain(-3.2e133) == "-3.2e+133"
    assert metric.text_error(3.2e133, 1e132) == "3.2e+133 ± 1e+132"
    assert metric.text(999_999.0) == "999999.0000"
