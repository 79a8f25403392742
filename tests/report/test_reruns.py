"""Which scores of two runs are compared, with numbers worked by hand."""

import math

import pytest

from pipeline.metric import Direction, Metric
from pipeline.records import Purpose, Score
from pipeline.report.reruns import on_search_split, on_test_split, repeated, side
from pipeline.report.statistics import compare
from tests.archives import Made, archive_of, name

METRIC = Metric("quality", Direction.maximize)


def scores(*values: float, error: float = 0.0, split: str = "validation", first: int = 0) -> list[Score]:
    return [Score("quality", value, error, 100, split, first + number) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("confirmed", "final", "used", "chose"),
    [
        pytest.param([0.70, 0.72], [1, 2], [0.70, 0.72], False, id="the final trials, without the one that chose"),
        pytest.param([0.90, 0.70], [2], [0.70], False, id="nor those of the race"),
        pytest.param([], [1, 2], [0.8], True, id="the search trial if there is no other"),
    ],
)
def test_the_original_is_measured_by_trials_that_did_not_choose_it(
    confirmed: list[float], final: list[int], used: list[float], chose: bool
) -> None:
    archive = archive_of([Made(0.8, confirmed=confirmed)])
    attempt = archive.candidate(name(0)).attempt
    assert attempt is not None
    found = on_search_split(attempt, archive.baseline, final)
    assert [score.value for score in found.candidate] == used and found.chose is chose
    assert [score.value for score in on_search_split(attempt, archive.baseline).candidate] == [0.8, *confirmed]
    assert not on_test_split(attempt, archive.baseline).complete
    assert attempt.scores(Purpose.TEST) == ()


def test_a_rerun_that_differs_by_more_than_the_seeds_explain_disagrees() -> None:
    # Both codes have variance 0.0001, so s = 0.01; the difference of two means of 3 has a standard error of s·sqrt(2/3)
    # = 0.00816.
    before, near, far = scores(0.50, 0.51, 0.52), scores(0.51, 0.52, 0.53), scores(0.60, 0.61, 0.62)
    found = compare(METRIC, near, before, same_code=True)
    assert found.gain == pytest.approx(0.01) and found.agrees
    quantile = 2.7764451  # of Student's t with 4 degrees of freedom, 97.5 %
    assert found.high == pytest.approx(0.01 + quantile * 0.01 * math.sqrt(2 / 3), rel=1e-6)
    assert not compare(METRIC, far, before, same_code=True).agrees
    loss = compare(Metric("loss", Direction.minimize), far, before, same_code=True)
    assert loss.gain == pytest.approx(-0.1)


def test_seeds_of_both_runs_are_counted() -> None:
    before = scores(0.5, 0.6, 0.7)
    assert repeated(before, scores(0.5, 0.6, 0.7, 0.8)) == (3, 3)
    assert repeated(before, scores(0.5, 0.61)) == (1, 2)
    assert repeated(before, scores(0.5, first=1000)) == (0, 0)


def test_a_side_is_the_candidate_beside_its_own_baseline() -> None:
    archive = archive_of([Made(0.8, confirmed=[0.7, 0.72])])
    attempt = archive.candidate(name(0)).attempt
    assert attempt is not None
    found = side(METRIC, on_search_split(attempt, archive.baseline, [1, 2]))
    assert (found.candidate.value, found.candidate.seeds, found.baseline.seeds) == (pytest.approx(0.71), 2, 2)
    assert found.gain.gain == pytest.approx(0.71 - 0.51) and found.split == "validation" and not found.chose
