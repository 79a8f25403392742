"""Notifications to the user, on archives in memory."""

from dataclasses import replace

import pytest

from pipeline.config import BudgetConfig, ResourcesConfig, TrainConfig
from pipeline.policy.notices import notices
from pipeline.records import Holdup, Pause, StepMeasures
from tests.archives import Made, archive_of, config_of, terms_of

CLOSED = [Made(value=0.6), Made(value=0.9, confirmed=(0.8, 0.82)), Made(value=0.7, confirmed=(0.7,)), Made(value=0.5)]


def causes(archive, config=None, holdups=()) -> list[str]:
    return [one.cause for one in notices(terms_of(config or config_of()), archive, holdups)]


def test_nothing_to_report() -> None:
    assert causes(archive_of([Made(), Made(value=0.6)])) == []


def test_a_pause_and_what_requires_the_user() -> None:
    archive = replace(archive_of([Made()]), pause=Pause("me", "the disk is full", 7.0))
    found = (Holdup("asking the model", "credit is used up", 1.0), Holdup("submitting", "slurmctld is down", 1.0, 9.0))
    assert causes(archive, holdups=found) == ["pause 7", "waiting asking the model"]
    texts = [one.text for one in notices(terms_of(config_of()), archive, found)]
    assert texts[0] == "paused: the disk is full" and "credit is used up" in texts[1]


def test_signs_of_a_collapse_are_one_notice() -> None:
    numbers = (0, 4, 0, None, (), None, 0, 0.0, 4, 2.0, 10.0, 0.0, {}, {}, 1.0, 2.0, 0.0)
    measures = StepMeasures(*numbers, alarms=("the entropy fell", "the thinking fell"))
    archive = replace(archive_of([Made()]), measures=measures)
    (told,) = notices(terms_of(config_of()), archive, ())
    text = "the policy may collapse: the entropy fell; the policy may collapse: the thinking fell"
    assert (told.cause, told.text) == ("collapse", text)


@pytest.mark.parametrize(("gpu_hours", "cause"), [(100.0, []), (0.6, ["80"]), (0.5, ["100"]), (0.1, ["100"])])
def test_a_budget_is_reported_at_two_levels(gpu_hours: float, cause: list[str]) -> None:
    """Three trials of 600 s on one GPU: half an hour."""
    needs = ResourcesConfig(gpus_per_node=1, time_min=10)
    config = config_of(train=TrainConfig(resources=needs), budget=BudgetConfig(gpu_hours=gpu_hours))
    archive = archive_of([Made(value=0.6)])
    assert causes(archive, config) == [f"budget.gpu_hours {level}" for level in cause]


@pytest.mark.parametrize(
    ("spent_usd", "told"), [(7.9, []), (8.0, ["80"]), (9.99, ["80"]), (10.0, ["100"])], ids=["below", "80", "90", "100"]
)
def test_dollars_are_reported_at_two_levels(spent_usd: float, told: list[str]) -> None:
    config = config_of(budget=BudgetConfig(usd=10.0))
    found = notices(terms_of(config), archive_of([Made()]), (), spent_usd)
    assert [one.cause for one in found] == [f"budget.usd {level}" for level in told]


def test_the_best_is_reported_once_the_search_is_over() -> None:
    config = config_of()
    config.stop.generations = 1
    (best,) = notices(terms_of(config), archive_of(CLOSED), ())
    assert best.cause == "best generation_000/candidate_001"
    assert best.text.startswith("new confirmed best: g0/c1 0.8100 ± ")
    assert causes(archive_of(CLOSED)) == []  # two more generations will follow
