"""What an update learns from: of the ideas of some steps those whose reward has come and was not learned from, each with its
advantage among all of its group that are known. Pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.metric import Direction, Metric
from pipeline.rl.objectives import advantages


@dataclass(frozen=True)
class Outcome:
    """What came of one sampled idea."""

    idea: str
    """Equal for equal ideas: the hash of the code, else the text."""
    reward: float | None
    """None while it is not known, and where a machine failed."""
    prompt: str = ""
    """Ideas of one step with equal prompts are a group."""
    seen: int = 0
    """How often the idea was in the archive before its step."""
    learned: bool = False
    """Whether an earlier update learned from it."""


@dataclass(frozen=True)
class Lesson:
    """One idea to learn from."""

    step: int
    """The step that sampled it."""
    number: int
    """Its number in that step."""
    reward: float
    """Of what came of it."""
    advantage: float
    """Among the known ideas of its group."""


def lessons(steps: Sequence[tuple[int, Sequence[Outcome]]], now: int, rl: RlConfig) -> list[Lesson]:
    """What the update of step `now` learns from, of steps that are at most `rl.staleness` updates old. `steps` are numbers
    with their ideas in order."""
    return [lesson for step, outcomes in steps if now - step <= rl.staleness for lesson in _of_step(step, outcomes, rl)]


def _of_step(step: int, outcomes: Sequence[Outcome], rl: RlConfig) -> Iterator[Lesson]:
    groups: dict[str, list[int]] = {}
    for number, outcome in enumerate(outcomes):
        groups.setdefault(outcome.prompt, []).append(number)
    for numbers in groups.values():
        if len(numbers) < 2:
            continue  # there is nothing to compare it with
        group = [outcomes[number] for number in numbers]
        found = advantages([one.reward for one in group], [one.idea for one in group], [one.seen for one in group], rl)
        for number, outcome, advantage in zip(numbers, group, found, strict=True):
            if advantage is not None and outcome.reward is not None and not outcome.learned:
                yield Lesson(step, number, outcome.reward, advantage)


def reward_of(metric: Metric, value: float) -> float:
    """The reward of a score: the value, or 1 over it where less is better, as in arXiv 2601.14525. Raises `BadInput` for a
    metric that falls below 0, the reward of an idea that failed."""
    if value < 0 or (value == 0 and metric.direction is Direction.minimize):
        raise BadInput(f"a reward needs a metric that is never below 0, and {metric.name} is {value:g}")
    return value if metric.direction is Direction.maximize else 1 / value
