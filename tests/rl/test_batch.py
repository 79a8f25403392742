"""The rows that an update learns from, with hand-made steps."""

import random
from dataclasses import replace

import pytest

from pipeline.config import Objective, RlConfig
from pipeline.errors import BadInput
from pipeline.makers.proposals import read_proposals
from pipeline.metric import Direction, Metric
from pipeline.rl.batch import Outcome, lessons, reward_of
from pipeline.rl.words import Words, answer_text, draw_idea, example, parts_of

RL = RlConfig(objective=Objective.mean, normalize=False, penalty=0.0, staleness=1)


def outcomes(*rewards: float | None, **more: object) -> list[Outcome]:
    return [Outcome(f"idea {number}", reward, **more) for number, reward in enumerate(rewards)]  # type: ignore[arg-type]


def made(found: list) -> list[tuple[int, int, float]]:
    return [(one.step, one.number, round(one.advantage, 6)) for one in found]


def test_an_update_learns_from_the_rewards_so_far() -> None:
    assert made(lessons([(0, outcomes(1.0, None, 0.0))], 0, RL)) == [(0, 0, 0.5), (0, 2, -0.5)]


def test_a_late_reward_joins_the_next_update_with_its_advantage_in_its_own_group() -> None:
    """Of the previous step only the late rewards are learned from, but they are compared with all of it."""
    early = [replace(one, learned=number != 1) for number, one in enumerate(outcomes(1.0, 2.0, 0.0))]
    assert made(lessons([(0, early), (1, outcomes(9.0, 7.0))], 1, RL)) == [(0, 1, 1.0), (1, 0, 1.0), (1, 1, -1.0)]


@pytest.mark.parametrize(("staleness", "steps"), [(0, {5}), (1, {4, 5}), (3, {2, 3, 4, 5})])
def test_rewards_that_are_too_old_are_not_used(staleness: int, steps: set[int]) -> None:
    all_steps = [(step, outcomes(1.0, 0.0)) for step in range(6)]
    assert {one.step for one in lessons(all_steps, 5, replace(RL, staleness=staleness))} == steps


def test_ideas_of_one_prompt_are_a_group() -> None:
    of_two = [*outcomes(1.0, 0.0, prompt="a"), *outcomes(10.0, 20.0, prompt="b")]
    assert made(lessons([(0, of_two)], 0, RL)) == [(0, 0, 0.5), (0, 1, -0.5), (0, 2, -5.0), (0, 3, 5.0)]


@pytest.mark.parametrize("rewards", [(None, None), (None, 0.5)])
def test_too_few_rewards_teach_nothing(rewards: tuple[float | None, ...]) -> None:
    assert lessons([(0, outcomes(*rewards))], 0, RL) == []


def test_a_group_of_one_teaches_nothing() -> None:
    alone = [*outcomes(0.5, prompt="a"), *outcomes(1.0, 0.0, prompt="b")]
    assert made(lessons([(0, alone)], 0, RL)) == [(0, 1, 0.5), (0, 2, -0.5)]


@pytest.mark.parametrize(
    ("direction", "value", "reward"),
    [(Direction.maximize, 0.7, 0.7), (Direction.maximize, 0.0, 0.0), (Direction.minimize, 4.0, 0.25)],
)
def test_the_reward_of_a_score(direction: Direction, value: float, reward: float) -> None:
    assert reward_of(Metric("m", direction), value) == reward


@pytest.mark.parametrize(
    ("direction", "value"),
    [
        (Direction.maximize, -0.1),
        (Direction.maximize, float("nan")),
        (Direction.minimize, 0.0),
        (Direction.minimize, 1e-320),
    ],
)
def test_a_metric_that_falls_below_the_reward_of_failure_is_refused(direction: Direction, value: float) -> None:
    with pytest.raises(BadInput, match="never below 0"):
        reward_of(Metric("m", direction), value)


# ---- the words of the tiny policy


WORDS = Words(("cosine", "muon", "warmup"), (("rate=0.1", "rate=0.2"), ("steps=1",)))


def test_an_answer_is_parsed_like_a_language_models() -> None:
    (proposal,) = read_proposals(answer_text(["warmup"], ["muon", "rate=0.1"]))
    assert parts_of(proposal.text) == ["muon", "rate=0.1"]


def test_distinct_ideas_are_counted() -> None:
    """By drawing until no new one occurs."""
    rng = random.Random(0)
    seen = {frozenset(draw_idea(WORDS, rng)) for _ in range(5000)}
    assert WORDS.count() == len(seen) == 7 * (1 + 3 + 2) + 3 + 2


def test_an_edit_has_no_word_of_its_parent() -> None:
    rng = random.Random(1)
    for _ in range(300):
        prompt, answer = example(WORDS, rng)
        idea = parts_of(read_proposals(answer)[0].text)
        assert idea and (set(idea).isdisjoint(prompt.split()[1:]) or len(idea) == 1)


def test_longer_thinking_is_rewarded_if_configured() -> None:
    group = [replace(one, thinking=length) for one, length in zip(outcomes(0.5, 0.5), (0, 16), strict=True)]
    assert made(lessons([(0, group)], 0, RL)) == [(0, 0, 0.0), (0, 1, 0.0)]
    assert made(lessons([(0, group)], 0, replace(RL, length=2.0, new_tokens=32))) == [(0, 0, -0.5), (0, 1, 0.5)]
