"""Simulated searches: a false gain is claimed in at most one of twenty, and a real one is found."""

import numpy as np
import pytest

from pipeline.report.statistics import ALPHA
from tests.benchmarks.claims import NULLS, PLANS, RACE, SIMPLER, Plan, World, simpler, simulate


@pytest.mark.parametrize("plan", [name for name, plan in PLANS.items() if not plan.rounds])
@pytest.mark.parametrize("world", NULLS)
def test_without_a_better_idea_a_gain_is_rarely_claimed(world: str, plan: str) -> None:
    assert simulate(NULLS[world], PLANS[plan], 4000).false.mean() <= ALPHA


@pytest.mark.parametrize("world", [name for name in NULLS if "problems" not in name])
def test_nor_after_a_race(world: str) -> None:
    assert simulate(NULLS[world], RACE, 1000).false.mean() <= ALPHA


def test_simpler_tests_claim_too_much() -> None:
    """This shows that the simulation can fail. The first test is how a score is called a record without further
    seeds."""
    rates = {name: simpler(NULLS["unequal noise"], test, 1000).mean() for name, test in SIMPLER.items()}
    assert min(rates.values()) > 2 * ALPHA and next(iter(rates.values())) > 0.5, rates


def test_a_real_gain_is_found() -> None:
    few = Plan(elites=3, seeds=5)
    assert simulate(World(better=5, gain=8.0), few, 1000).found.mean() > 0.95
    cancel = World(better=5, gain=5.0, common=1.0)
    assert simulate(cancel, few, 1000).found.mean() > 0.9


def test_a_better_elite_is_found_more_often_than_a_better_idea() -> None:
    """A search also has to choose it."""
    found = simulate(World(better=1, gain=5.0), RACE, 1000)
    assert found.power > found.found.mean() + 0.1
    assert found.claimed.sum() == found.found.sum() and np.all(found.claimed <= found.tested)


def test_more_trials_find_more_and_claim_no_more() -> None:
    world = World(better=5, gain=5.0)
    small, large = (simulate(world, Plan(elites=2, seeds=seeds, baseline=seeds), 1000) for seeds in (3, 12))
    assert large.found.mean() > small.found.mean() + 0.1
    assert simulate(World(), Plan(elites=2, seeds=12, baseline=12), 1000).false.mean() <= ALPHA


def test_a_race_spends_no_more_than_planned() -> None:
    assert np.all(simulate(World(unequal=2.0), RACE, 200).trainings <= RACE.trainings)
