"""Time to target: the smallest budget with which a code reaches a target, found by bisection.

A look is a complete training with its own budget, scored afterwards by the trusted evaluator. So evaluation does not count
as training time, a variant needs nothing beyond what a search needs, and the learning rate decays at the end of each budget,
as in a recipe designed for that length. Each look halves the interval between the largest budget that falls short and the
smallest that reaches the target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import Clock, TrainConfig
from pipeline.methods.base import Terms, seed_of
from pipeline.policy.trials import Wanted
from pipeline.records import Purpose, TimeToTarget
from pipeline.store.views import Attempt, Trial


@dataclass(frozen=True)
class Look:
    """The result of training with one budget."""

    budget: float
    """In the unit of the clock: steps, or minutes."""
    reached: bool
    """Whether the score is at least as good as the target; false without a score."""
    train_s: float
    """Seconds of training, summed over all tries."""


def looks(terms: Terms, attempt: Attempt) -> list[Look]:
    """The closed trainings of a code: the first with the full budget, and the looks."""
    whole = attempt.of(Purpose.SEARCH, Purpose.BASELINE)[:1]
    return [_look(terms, trial) for trial in (*whole, *attempt.of(Purpose.LOOK)) if trial.closed]


def next_budget(train: TrainConfig, seen: Sequence[Look], most: int) -> float | None:
    """The budget of the next look; none if the full budget falls short, after `most` looks, or if no step lies between."""
    reached, short = _bounds(seen)
    if reached is None or len(seen) > most:
        return None
    between = (reached.budget + short) / 2
    if train.clock is Clock.steps:
        between = round(between)
    return between if short < between < reached.budget else None


def wanted_looks(terms: Terms, attempt: Attempt) -> Iterator[Wanted]:
    """The next look at a code, if any."""
    begun = attempt.of(Purpose.LOOK)
    unfinished = next((trial for trial in begun if not trial.closed), None)
    if unfinished is not None:
        budget, seed = unfinished.tries[0].job.budget, unfinished.seed
    else:
        budget = next_budget(terms.config.train, looks(terms, attempt), terms.config.measure.trainings)
        seed = seed_of(terms.config, len(begun))
    if budget is not None:
        yield Wanted(attempt, Purpose.LOOK, seed, budget)


def time_to_target(terms: Terms, name: str, attempt: Attempt) -> TimeToTarget:
    """The time to target of a code by its looks. `measure.target` must be set."""
    seen, target = looks(terms, attempt), terms.config.measure.target
    assert target is not None
    reached, short = _bounds(seen)
    unit = "steps" if terms.config.train.clock is Clock.steps else "minutes"
    budget = reached.budget if reached is not None else None
    train_s = reached.train_s if reached is not None else None
    return TimeToTarget(name, target, unit, budget, train_s, short, len(seen))


def _bounds(seen: Sequence[Look]) -> tuple[Look | None, float]:
    """The smallest budget that reached the target, and the largest below it that fell short."""
    reached = min((look for look in seen if look.reached), key=lambda look: look.budget, default=None)
    below = [look.budget for look in seen if reached is None or look.budget < reached.budget]
    return reached, max(below, default=0.0)


def _look(terms: Terms, trial: Trial) -> Look:
    budget, target = trial.tries[0].job.budget, terms.config.measure.target
    assert target is not None
    goodness = terms.metric.goodness
    return Look(
        terms.config.train.budget if budget is None else budget,
        trial.score is not None and goodness(trial.score.value) >= goodness(target),
        sum(one.result.seconds.train for one in trial.tries if one.result),
    )
