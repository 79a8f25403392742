"""Tests of claims, checked against numbers worked by hand and against scipy's own tests."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.metric import Direction, Metric
from pipeline.records import Score
from pipeline.report.statistics import compare, gain_tests, holm, paired_items, trials, trials_of

ACCURACY = Metric("accuracy", Direction.maximize)
LOSS = Metric("loss", Direction.minimize)


def scores(*values: float, error: float = 0.0, split: str = "test") -> list[Score]:
    return [Score("m", value, error, 10, split, seed) for seed, value in enumerate(values)]


# ---- the correction


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.04], [0.02, 0.04]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),  # 3 · 0.01, 2 · 0.02, then 0.03, which must not fall below 0.04
        ([0.6, 0.5], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm(p_values: list[float], corrected: list[float]) -> None:
    assert holm(np.array(p_values)) == pytest.approx(corrected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_correction_keeps_the_order_and_lies_between_none_and_bonferroni(p_values: list[float]) -> None:
    found = holm(np.array(p_values))
    assert all(found >= p_values) and all(found <= np.minimum(1, np.array(p_values) * len(p_values)) + 1e-12)
    assert all(np.diff(found[np.argsort(p_values)]) >= 0)


# ---- one elite against the baseline


def test_equal_spreads_are_students_test() -> None:
    """Both codes have the variance 5/3, so it is the pooled one: 6 degrees of freedom, error sqrt(5/3 · 2/4)."""
    baseline, elite = [1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]
    found = gain_tests(trials_of([baseline]), trials_of([elite]), np.zeros(1))
    assert found.gain == [2.0] and found.error == pytest.approx(math.sqrt(5 / 6))
    assert found.p_value == pytest.approx(stats.ttest_ind(elite, baseline, alternative="greater").pvalue)
    # one-sided at 5 %: the lower limit is above 0 exactly if the test is significant
    assert found.low == pytest.approx(2 - stats.t.ppf(0.95, 6) * math.sqrt(5 / 6))
    assert found.high == pytest.approx(2 + stats.t.ppf(0.95, 6) * math.sqrt(5 / 6))


def test_a_noisy_elite_is_tested_by_its_own_spread() -> None:
    """The elite's variance is 9, the baseline's 1, the pooled one 5: 9/3 with 2 degrees of freedom, 5/3 with 4."""
    found = gain_tests(trials_of([[0.0, 1.0, 2.0]]), trials_of([[1.0, 4.0, 7.0]]), np.zeros(1))
    assert found.error == pytest.approx(math.sqrt(9 / 3 + 5 / 3))
    freedom = (14 / 3) ** 2 / (3**2 / 2 + (5 / 3) ** 2 / 4)
    assert found.p_value == pytest.approx(stats.t.sf(3 / math.sqrt(14 / 3), freedom))


def test_an_accidentally_small_spread_is_not_trusted() -> None:
    """Three equal scores do not prove that seeds have no effect: the pooled variance, 1/2, is used."""
    found = gain_tests(trials_of([[0.0, 1.0, 2.0]]), trials_of([[1.5, 1.5, 1.5]]), np.zeros(1))
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 0.5 / 3))


def test_items_do_not_average_out() -> None:
    many = [0.0, 1.0] * 500
    found = gain_tests(trials_of([many]), trials_of([many]), np.array([0.04]))
    assert found.error == pytest.approx(math.hypot(0.2, math.sqrt(250 / 999 * 2 / 1000)))
    assert found.p_value == [0.5]


@pytest.mark.parametrize(
    ("baseline", "elite", "p_value", "low"),
    [
        pytest.param([0.5], [0.9], 1.0, -math.inf, id="no code has two seeds: no estimate"),
        pytest.param([0.5, 0.5], [0.9, 0.9], 0.0, 0.4, id="seeds change nothing"),
        pytest.param([0.5, 0.5], [0.5, 0.5], 0.5, 0.0, id="seeds change nothing, and neither does the idea"),
    ],
)
def test_extremes(baseline: list[float], elite: list[float], p_value: float, low: float) -> None:
    found = gain_tests(trials_of([baseline]), trials_of([elite]), np.zeros(1))
    assert found.p_value == [p_value] and found.low == pytest.approx(low)


def test_a_failed_elite_counts_as_a_test_without_a_claim() -> None:
    baseline, elites = trials_of([[0.0, 1.0, 2.0]]), trials_of([[9.0, 10.0, 11.0], [9.0, 10.0, 11.0]])
    both = gain_tests(baseline, elites, np.zeros(2))
    found = gain_tests(baseline, elites, np.zeros(2), np.array([True, False]))
    assert list(found.corrected) == [1.0, pytest.approx(2 * both.p_value[1])]


def test_many_searches_at_once_give_the_results_of_single_ones() -> None:
    rng = np.random.default_rng(0)
    baseline, elites, items = rng.normal(size=(7, 1, 5)), rng.normal(size=(7, 3, 4)), rng.random((7, 3))
    together = gain_tests(trials(baseline), trials(elites), items)
    for k in range(7):
        alone = gain_tests(trials_of(baseline[k]), trials_of(elites[k]), items[k])
        for part in ("gain", "error", "p_value", "corrected", "low", "high"):
            assert getattr(together, part)[k] == pytest.approx(getattr(alone, part))


# ---- items


def test_paired_items_count_only_their_differences() -> None:
    """Items of very different difficulty, on which one code is better by 0, 0, 1 and 1: variance 1/3 over 4 items."""
    theirs = np.array([[0.0, 5.0, 0.0, 9.0]])
    ours = theirs + np.array([[0.0, 0.0, 1.0, 1.0]])
    assert paired_items(ours, theirs) == pytest.approx(1 / 3 / 4)
    assert paired_items(theirs, theirs) == 0.0
    # A seed that shifts all items equally gives no information about the items.
    two_seeds = np.concatenate([ours + 0.5, ours - 0.5])
    assert paired_items(two_seeds, theirs) == pytest.approx(1 / 3 / 4)


# ---- two sets of scores


def test_a_comparison_has_a_direction() -> None:
    """A loss that falls by 1; pooled variance 1, error sqrt(2/3), 4 degrees of freedom."""
    found = compare(LOSS, scores(1, 2, 3), scores(2, 3, 4))
    assert found.gain == 1.0 and found.error == pytest.approx(math.sqrt(2 / 3))
    assert found.p_value == pytest.approx(stats.ttest_ind([1, 2, 3], [2, 3, 4]).pvalue) and found.agrees
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 4) * math.sqrt(2 / 3))
    assert compare(ACCURACY, scores(1, 2, 3), scores(2, 3, 4)).gain == -1.0


@pytest.mark.parametrize(
    ("ours", "theirs", "others", "agrees"),
    [
        pytest.param(scores(0.5), scores(0.5), [], True, id="equal"),
        pytest.param(scores(0.5, error=0.02), scores(0.55, error=0.02), [], True, id="within the evaluation's noise"),
        pytest.param(scores(0.5, error=0.02), scores(0.6, error=0.02), [], False, id="beyond the evaluation's noise"),
        pytest.param(scores(0.5), scores(0.6), [scores(0.4, 0.5, 0.6)], True, id="within the baseline's seed noise"),
        pytest.param(scores(0.5), scores(0.9), [scores(0.4, 0.45, 0.5)], False, id="beyond it"),
        pytest.param(
            scores(0.5), scores(0.500001), [scores(0.4, 0.4)], False, id="seeds change nothing: equal to the bit"
        ),
    ],
)
def test_whether_a_rerun_agrees(
    ours: list[Score], theirs: list[Score], others: list[list[Score]], agrees: bool
) -> None:
    assert compare(ACCURACY, ours, theirs, others, same_code=True).agrees is agrees


def test_items_distinguish_reruns_on_another_split_only() -> None:
    def error(split: str, same_code: bool) -> float:
        theirs = scores(1, 2, 3, error=0.3, split=split)
        return compare(ACCURACY, scores(1, 2, 3, error=0.4), theirs, same_code=same_code).error

    seeds = math.sqrt(2 / 3)
    assert error("test", same_code=True) == pytest.approx(seeds)
    assert error("validation", same_code=True) == pytest.approx(math.hypot(seeds, 0.5))
    assert error("test", same_code=False) == pytest.approx(math.hypot(seeds, 0.5))
