"""Measures of a step of reinforcement learning, and signs of a collapse of the policy. Pure functions."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.records import Sample, StepMeasures, UpdateMeasures
from pipeline.rl.batch import Lesson, Outcome

_HALF = 0.5
_FEW = 2
"""Number of equal ideas that is no sign of collapse, however small the batch."""


def measured(
    step: int,
    samples: Sequence[Sample],
    outcomes: Sequence[Outcome],
    failures: Counter[str],
    lessons: Sequence[Lesson],
    update: UpdateMeasures | None,
    hours: tuple[float, float, float],
    before: Sequence[StepMeasures],
    share: float,
) -> StepMeasures:
    """The measures of one step, with alarms by comparison with earlier steps. `hours` are those of sampling, execution and
    update; `share` is the share of the commonest idea above which an alarm is raised."""
    rewards = sorted(one.reward for one in outcomes if one.reward is not None)
    count = Counter(one.idea for one in outcomes)
    bests = [one.best_so_far for one in before[-1:] if one.best_so_far is not None] + rewards[-1:]
    entropy, thinking = (statistics.fmean(of) for of in ([s.entropy for s in samples], [s.thinking for s in samples]))
    return StepMeasures(
        step=step,
        ideas=len(outcomes),
        known=len(rewards),
        reward_mean=statistics.fmean(rewards) if rewards else None,
        reward_quantiles=tuple(quantile(rewards, at) for at in (0.1, 0.5, 0.9, 1.0)) if rewards else (),
        best_so_far=max(bests, default=None),
        distinct=len(count),
        common_share=max(count.values()) / len(outcomes),
        unreadable=sum(one.idea == UNREADABLE for one in outcomes),
        entropy=entropy,
        thinking=thinking,
        idea_length=statistics.fmean(len(one.tokens) - one.thinking for one in samples),
        failures=dict(sorted(failures.items())),
        staleness={str(age): n for age, n in sorted(Counter(step - one.step for one in lessons).items())},
        sample_h=hours[0],
        execute_h=hours[1],
        update_h=hours[2],
        update=update,
        alarms=tuple(
            alarms(max(count.values()), len(outcomes), entropy, thinking, count[UNREADABLE], before[:1], share)
        ),
    )


UNREADABLE = "unreadable"
"""Identity of an answer without an idea."""


def alarms(
    common: int,
    ideas: int,
    entropy: float,
    thinking: float,
    unreadable: int,
    first: Sequence[StepMeasures],
    share: float,
) -> Iterator[str]:
    """Signs of collapse, each in one line. `common` of the `ideas` are equal to the commonest one; `first` is the first
    step, if that is an earlier one."""
    if common > max(_FEW, share * ideas):
        yield f"the commonest idea is {100 * common / ideas:.0f} % of its batch (alarm above {100 * share:.0f} %)"
    if unreadable == ideas:
        yield "no answer contains an idea, so that nothing can be learned from them"
    elif unreadable > _HALF * ideas:
        yield f"{100 * unreadable / ideas:.0f} % of the answers contain no idea"
    for one in first:
        if entropy < _HALF * one.entropy:
            yield f"the entropy fell from {one.entropy:.2f} to {entropy:.2f} nats per token"
        if thinking < _HALF * one.thinking:
            yield f"the thinking fell from {one.thinking:.0f} to {thinking:.0f} tokens"


def quantile(ranked: Sequence[float], at: float) -> float:
    """The quantile at 0 to 1 of sorted values, interpolated linearly between neighbours."""
    place = at * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])
