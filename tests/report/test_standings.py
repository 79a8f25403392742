"""The single definition of "better than": when a difference is clear, and what a code is compared with."""

import math

import pytest

from pipeline.metric import Direction, Metric
from pipeline.records import Knowledge, Score, Standing
from pipeline.report.standings import CLEAR, Verdict, as_known, over_parent, verdict

ACCURACY = Metric("accuracy", Direction.maximize)
LOSS = Metric("loss", Direction.minimize)


def score(value: float, error: float) -> Score:
    return Score("m", value, error, 10, "validation", 0)


@pytest.mark.parametrize(
    ("gain", "error", "expected"),
    [
        (0.020, 0.01, Verdict.GAIN),
        (0.019, 0.01, Verdict.NOISE),
        (0.0, 0.01, Verdict.NOISE),
        (-0.019, 0.01, Verdict.NOISE),
        (-0.020, 0.01, Verdict.LOSS),
        (0.0, 0.0, Verdict.NOISE),
        (1e-9, 0.0, Verdict.GAIN),
        (-1e-9, 0.0, Verdict.LOSS),
        (0.5, math.inf, Verdict.NOISE),
    ],
)
def test_a_difference_is_clear_from_two_of_its_standard_errors(gain: float, error: float, expected: Verdict) -> None:
    assert CLEAR == 2.0 and verdict(gain, error) is expected


def test_the_verdicts_are_words_of_a_prompt() -> None:
    assert [str(one) for one in Verdict] == ["clear gain", "within noise", "clear loss"]


@pytest.mark.parametrize(("metric", "sign"), [(ACCURACY, 1), (LOSS, -1)])
def test_the_gain_over_a_parent_includes_evaluation_and_seed_noise_of_both(metric: Metric, sign: int) -> None:
    """sqrt(0.03² + 0.04² + 2 · 0.05²): two evaluations and two seeds."""
    known = Knowledge(2, 1, Standing("baseline", 0.5, 0.01, 3), 0.05)
    gain, error = over_parent(metric, score(0.7, 0.03), score(0.6, 0.04), known)
    assert gain == pytest.approx(sign * 0.1) and error == pytest.approx(math.sqrt(0.0075))
    assert verdict(gain, error) is Verdict.NOISE
    _, without = over_parent(metric, score(0.7, 0.03), score(0.6, 0.04), Knowledge(2, 1, known.baseline))
    assert without == pytest.approx(0.05)


def test_a_child_can_be_a_clear_gain_over_the_baseline_and_within_noise_of_its_parent() -> None:
    known = Knowledge(2, 1, Standing("baseline", 0.50, 0.005, 3), 0.01)
    parent, child = score(0.60, 0.01), score(0.61, 0.01)
    over_baseline = as_known(ACCURACY, "c", child, known)
    assert verdict(over_baseline.gain, over_baseline.gain_error) is Verdict.GAIN
    assert verdict(*over_parent(ACCURACY, child, parent, known)) is Verdict.NOISE
