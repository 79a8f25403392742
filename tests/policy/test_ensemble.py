"""Which model of an ensemble is asked next: worked by hand, and the same when the decision is repeated later."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from pipeline.policy.ensemble import Earned, choose, earned
from pipeline.records import FailureKind, Knowledge, Parents
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate
from tests.archives import Made, archive_of, name


def shares(found: dict[str, Earned], device_hour_usd: float = 2.0) -> dict[str, float]:
    """How often each of two models is asked."""
    rng = random.Random(0)
    counts = Counter(choose(["a", "b"], found, device_hour_usd, rng) for _ in range(2000))
    return {name: count / 2000 for name, count in counts.items()}


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        (Earned(), Earned(), 0.45, 0.55),
        (Earned(40, 20, 4.0), Earned(40, 2, 4.0), 0.99, 1.0),
        (Earned(4, 2, 0.4), Earned(4, 1, 0.4), 0.6, 0.9),  # little data: both are asked
        (Earned(40, 10, 1.0), Earned(40, 10, 10.0), 0.99, 1.0),  # equally good, a tenth of the price
        (Earned(40, 10, 0.1, 1.0), Earned(40, 10, 0.1, 10.0), 0.95, 1.0),  # equally good, a tenth of the training time
        (Earned(40, 10, 0.0), Earned(40, 10, 0.0), 0.45, 0.55),  # prices are unknown
        (Earned(40, 10, 4.0), Earned(), 0.2, 0.7),  # a new model is tried
    ],
)
def test_the_share_of_the_first_model(a: Earned, b: Earned, low: float, high: float) -> None:
    assert low <= shares({"a": a, "b": b}).get("a", 0.0) <= high


def test_the_price_of_a_device_hour_weighs_training_against_answers() -> None:
    cheap_answers = {"a": Earned(40, 10, 1.0, 10.0), "b": Earned(40, 10, 10.0, 1.0)}
    assert shares(cheap_answers, 0.01)["a"] > 0.9 > 0.1 > shares(cheap_answers, 100.0).get("a", 0.0)


def of_number(candidate: Candidate) -> str:
    return "even" if int(candidate.id[-1]) % 2 == 0 else "odd"


def opened(archive: Archive, outcomes: int, parents: tuple[str, ...]) -> Archive:
    """Its last generation opened with this many outcomes and these parents."""
    last = replace(archive.generations[-1], parents=Parents(parents, seen=Knowledge(outcomes), ideas=4))
    return replace(archive, generations=(*archive.generations[:-1], last))


def test_earnings_of_models_from_the_outcomes_that_a_generation_may_use() -> None:
    made = [Made(0.6), Made(0.7), Made(kind=FailureKind.EXCEPTION), Made(0.5), Made(), Made()]
    archive = opened(archive_of(made), 4, (name(1),))
    found = earned(archive, archive.generations[1], 2, of_number)
    assert (found["even"].ideas, found["even"].parents) == (2, 0)
    assert (found["odd"].ideas, found["odd"].parents) == (2, 1)
    assert found["odd"].device_h == pytest.approx(2 * 600 * 2 / 3600)


def test_later_outcomes_and_generations_change_no_earlier_decision() -> None:
    made = [Made(0.6), Made(0.7), Made(0.4), Made(0.5)]
    before = opened(archive_of([*made, Made(), Made()]), 4, (name(1),))
    later = opened(archive_of([*made, Made(0.9, parents=(0,)), Made(0.8), Made(), Made(), Made()]), 5, (name(4),))
    later = replace(later, generations=(later.generations[0], before.generations[1], *later.generations[2:]))
    assert earned(later, later.generations[1], 1, of_number) == earned(before, before.generations[1], 1, of_number)
