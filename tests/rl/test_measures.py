"""Measurements of a step, and the conditions that report a collapse."""

from collections import Counter

import pytest

from pipeline.records import Sample, StepMeasures
from pipeline.rl.batch import Lesson, Outcome
from pipeline.rl.measures import UNREADABLE, alarms, measured, quantile

THREE: tuple[float | None, ...] = (1.0, 3.0, None, 2.0)


def step(*before: StepMeasures, ideas: str = "aabc", rewards: tuple[float | None, ...] = THREE) -> StepMeasures:
    outcomes = [Outcome(idea, reward) for idea, reward in zip(ideas, rewards, strict=True)]
    samples = [Sample((1,), (2,) * 10, (-1.0,) * 10, 1.5, thinking, "") for thinking in (6, 6, 4, 4)]
    rows = [Lesson(len(before), 0, 1.0, 0.5), Lesson(len(before) - 1, 3, 1.0, 0.5)]
    return measured(len(before), samples, outcomes, Counter(smoke=2), rows, None, (1.0, 2.0, 0.5), before, 0.2)


def test_a_step_worked_by_hand() -> None:
    found = step()
    assert (found.ideas, found.known, found.reward_mean, found.best_so_far) == (4, 3, 2.0, 3.0)
    assert found.reward_quantiles == pytest.approx((1.2, 2.0, 2.8, 3.0))
    assert (found.distinct, found.common_share, found.unreadable) == (3, 0.5, 0)
    assert (found.entropy, found.thinking, found.idea_length) == (1.5, 5.0, 5.0)
    assert found.staleness == {"0": 1, "1": 1} and found.failures == {"smoke": 2}
    assert (found.sample_h, found.execute_h, found.update_h) == (1.0, 2.0, 0.5)
    assert found.alarms == ()


def test_the_best_so_far_is_kept() -> None:
    first = step()
    second = step(first, rewards=(0.5, None, 1.0, 2.5))
    assert second.best_so_far == 3.0 and second.reward_quantiles[-1] == 2.5
    nothing = step(first, rewards=(None,) * 4)
    assert (nothing.reward_mean, nothing.reward_quantiles, nothing.best_so_far) == (None, (), 3.0)


ALARMS = [
    ("few equal ideas", {"common": 2, "ideas": 4}, ""),
    ("below the share", {"common": 12, "ideas": 64}, ""),
    ("above the share", {"common": 13, "ideas": 64}, "the commonest idea is 20 % of its batch"),
    ("nothing readable", {"unreadable": 64}, "no answer contains an idea"),
    ("hardly readable", {"unreadable": 33}, "52 % of the answers contain no idea"),
    ("half readable", {"unreadable": 32}, ""),
    ("entropy halved", {"entropy": 0.74}, "the entropy fell from 1.50 to 0.74"),
    ("entropy lower", {"entropy": 0.76}, ""),
    ("thinking halved", {"thinking": 2.4}, "the thinking fell from 5 to 2 tokens"),
]


@pytest.mark.parametrize(("given", "words"), [pytest.param(g, w, id=name) for name, g, w in ALARMS])
def test_alarms(given: dict[str, float], words: str) -> None:
    usual = {"common": 1, "ideas": 64, "entropy": 1.5, "thinking": 5.0, "unreadable": 0}
    found = list(alarms(**{**usual, **given}, first=[step()], share=0.2))  # type: ignore[arg-type]
    assert len(found) == bool(words) and all(words in one for one in found)


def test_an_answer_without_an_idea_is_counted() -> None:
    outcomes = [Outcome(UNREADABLE, 0.0)] * 4
    samples = [Sample((1,), (2,), (-1.0,), 1.5, 0, "")] * 4
    found = measured(0, samples, outcomes, Counter(), [], None, (0, 0, 0), [], 0.2)
    assert found.unreadable == 4 and any("no answer contains an idea" in one for one in found.alarms)


@pytest.mark.parametrize(("at", "value"), [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)])
def test_quantiles_are_interpolated(at: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], at) == pytest.approx(value)
