"""How long a code takes to a target: the shortest budget with which it gets there.

A look is a whole training with a budget of its own, scored by the trusted evaluator when it is over. So no evaluation
counts as training time, nothing is asked of the variant that a search does not ask, and the learning rate comes down
at the end of each budget, as it would in a recipe that is meant to be that short. Looks halve what lies between the
largest budget that falls short and the smallest that reaches the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Clock, TrainConfig
from pipeline.records import TimeToTarget
from pipeline.stages.base import Plan
from pipeline.store.archive import Attempt, Trial


@dataclass(frozen=True)
class Look:
    """What one budget came to."""

    budget: float
    """In the unit of the clock: steps, or minutes."""
    reached: bool
    """Whether the score is at least as good as the target; false without a score."""
    train_s: float
    """Seconds of training, all tries together."""


def looks(plan: Plan, attempt: Attempt) -> list[Look]:
    """The closed trainings of a code: its first trial, which has the whole budget, and its looks."""
    whole = plan.config.train.budget
    return [
        Look(
            _budget(trial, whole),
            _reached(plan, trial),
            sum(one.result.seconds.train for one in trial.tries if one.result),
        )
        for trial in (*attempt.trials[:1], *attempt.looks)
        if trial.closed
    ]


def next_budget(train: TrainConfig, seen: Sequence[Look], most: int) -> float | None:
    """What to look at next; none when the whole budget falls short, after `most` looks, or when no step lies between."""
    reached, short = _bounds(seen)
    if reached is None or len(seen) > most:
        return None
    between = (reached.budget + short) / 2
    if train.clock is Clock.steps:
        between = round(between)
    return between if short < between < reached.budget else None


def time_to_target(plan: Plan, name: str, attempt: Attempt) -> TimeToTarget:
    """What the looks at a code tell."""
    seen, target = looks(plan, attempt), plan.config.select.target
    assert target is not None
    reached, short = _bounds(seen)
    unit = "steps" if plan.config.train.clock is Clock.steps else "minutes"
    budget = reached.budget if reached is not None else None
    train_s = reached.train_s if reached is not None else None
    return TimeToTarget(name, target, unit, budget, train_s, short, len(seen))


def _bounds(seen: Sequence[Look]) -> tuple[Look | None, float]:
    """The smallest budget that reached the target, and the largest below it that fell short."""
    reached = min((look for look in seen if look.reached), key=lambda look: look.budget, default=None)
    below = [look.budget for look in seen if reached is None or look.budget < reached.budget]
    return reached, max(below, default=0.0)


def _budget(trial: Trial, whole: float) -> float:
    budget = trial.tries[-1].job.budget if trial.tries else None
    return whole if budget is None else budget


def _reached(plan: Plan, trial: Trial) -> bool:
    target = plan.config.select.target
    assert target is not None
    return trial.score is not None and plan.metric.goodness(trial.score.value) >= plan.metric.goodness(target)
