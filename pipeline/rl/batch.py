"""The batch of an update: ideas of recent steps whose reward is known and was not used before, each with its advantage
within the known ideas of its group. Pure functions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.metric import Direction, Metric
from pipeline.rl.objectives import advantages


@dataclass(frozen=True)
class Outcome:
    """The outcome of one sampled idea."""

    idea: str
    """Key that is equal for equal ideas: the hash of the code, else the text."""
    reward: float | None
    """None while it is unknown, or if a machine failed."""
    prompt: str = ""
    """Ideas of one step with equal prompts form a group."""
    seen: int = 0
    """How often the idea occurred in the archive before its step."""
    learned: bool = False
    """Whether an earlier update learned from it."""
    thinking: int = 0
    """Length of the thinking, tokens."""


@dataclass(frozen=True)
class Lesson:
    """One idea to learn from."""

    step: int
    """The step that sampled it."""
    number: int
    """Its number in that step."""
    reward: float
    """Its reward."""
    advantage: float
    """Its advantage within the known ideas of its group."""


def lessons(steps: Sequence[tuple[int, Sequence[Outcome]]], now: int, rl: RlConfig) -> list[Lesson]:
    """The ideas that the update of step `now` learns from, of steps that are at most `rl.staleness` updates old. `steps` are
    numbers of steps with the outcomes of their ideas in order."""
    return [lesson for step, outcomes in steps if now - step <= rl.staleness for lesson in _of_step(step, outcomes, rl)]


def _of_step(step: int, outcomes: Sequence[Outcome], rl: RlConfig) -> Iterator[Lesson]:
    groups: dict[str, list[int]] = {}
    for number, outcome in enumerate(outcomes):
        groups.setdefault(outcome.prompt, []).append(number)
    for numbers in groups.values():
        if len(numbers) < 2:
            continue  # there is nothing to compare with
        group = [outcomes[number] for number in numbers]
        found = advantages(
            [one.reward for one in group],
            [one.idea for one in group],
            [one.seen for one in group],
            rl,
            [one.thinking for one in group],
        )
        for number, outcome, advantage in zip(numbers, group, found, strict=True):
            if advantage is not None and outcome.reward is not None and not outcome.learned:
                yield Lesson(step, number, outcome.reward, advantage)


def reward_of(metric: Metric, value: float) -> float:
    """The reward of a score: the value, or its reciprocal if lower is better, as in arXiv 2601.14525. Raises `BadInput` for
    a value whose reward is not finite or below 0, since 0 is the reward of a failed idea."""
    reward = value if metric.direction is Direction.maximize else 1 / value if value else math.inf
    if not 0 <= reward < math.inf:
        raise BadInput(f"a reward requires a metric that is finite and never below 0, and {metric.name} is {value:g}")
    return reward
