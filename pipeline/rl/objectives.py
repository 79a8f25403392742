"""What one step of reinforcement learning raises: from the rewards of a group of ideas to one advantage for each.

Pure functions on plain numbers. A group is the ideas sampled from one prompt. A reward of None is missing: a machine
failed, or the job is not over yet; that idea has no advantage, and the others are weighed as if it had not been sampled. An
idea that failed by itself has the reward 0, as in arXiv 2601.14525.

Every advantage is the factor of an idea's grad log pi in an estimate (1/n) sum_i A_i grad log pi(i). Sources:

* `mean`: the reward minus the group's mean; divided by the standard deviation it is GRPO's (arXiv 2402.03300, section
  4.1.2).
* `max_at_k`: n times the estimators s, s^(loo) and s^(loo-1) for continuous rewards of "Pass@K Policy Optimization"
  (arXiv 2505.15201). They are unbiased for the gradient of the expected maximum of k ideas; the tests count all subsets.
* `entropic`: exp(beta r) over its mean, minus 1, with beta such that the normalised weights lie ln 2 from uniform in KL:
  "Learning to Discover at Test Time" (arXiv 2601.16175, the entropic objective, and its appendix A for beta). The paper
  leaves an idea out of its own mean; here the advantages of a group sum to 0, so that equal rewards have none.
"""

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from pipeline.config import Objective, RlConfig

_HALVINGS = 100
"""Steps of the bisection for beta."""
_LARGEST_EXPONENT = 700.0
"""Beyond it, a weight is 0 beside the largest in double precision."""


def advantages(
    rewards: Sequence[float | None], ideas: Sequence[Hashable], seen: Sequence[int], rl: RlConfig
) -> list[float | None]:
    """One for each idea of a group, None where its reward is missing. `ideas` are equal for equal ideas, `seen` is how often
    each was in the archive before. Raises ValueError for a reward that is not finite, or a group of one.

    With `rl.normalize` those of the objective are divided by their root mean square, and penalty and bonus are in that unit.
    """
    there = [number for number, reward in enumerate(rewards) if reward is not None]
    known = [reward for reward in rewards if reward is not None]
    if any(not math.isfinite(reward) for reward in known):
        raise ValueError("a reward is not finite")
    if len(rewards) < 2:
        raise ValueError("a group of one has nothing to compare; set ideate.candidates to 2 or more")
    if len(known) < 2:
        return [None] * len(rewards)
    found = objective(known, rl)
    if rl.normalize:
        found = unit_size(found)
    shares = share_penalties([ideas[number] for number in there])
    news = centred([1 / math.sqrt(1 + seen[number]) for number in there])
    whole: list[float | None] = [None] * len(rewards)
    for number, ours, share, new in zip(there, found, shares, news, strict=True):
        whole[number] = ours - rl.penalty * share + rl.novelty * new
    return whole


def objective(rewards: Sequence[float], rl: RlConfig) -> list[float]:
    """The advantages that `rl.objective` gives."""
    if rl.objective is Objective.mean:
        return centred(rewards)
    if rl.objective is Objective.max_at_k:
        # Of fewer rewards than k, the best of all that there are.
        return max_at_k(rewards, min(rl.k, len(rewards)))
    return entropic(rewards, rl.kl)


# ---- expected maximum of k


def max_at_k(rewards: Sequence[float], k: int) -> list[float]:
    """How much an idea raises the maximum of the groups of k that it is in, times n: s^(loo-1), whose baseline is the
    maximum of the other k-1. At k=1 the baseline is the mean of the others."""
    n = len(rewards)
    if k == 1:
        return leave_one_out(rewards, 1)
    weights, part = maximum_weights(rewards, k), k / n
    return [n * (ours - part * expected_maximum(rest, k - 1)) for ours, rest in _with_rest(rewards, weights)]


def leave_one_out(rewards: Sequence[float], k: int) -> list[float]:
    """s^(loo), times n: the weights minus what the other n-1 ideas would give; needs k < n."""
    n = len(rewards)
    weights = maximum_weights(rewards, k)
    return [n * (ours - k / (n - 1) * expected_maximum(rest, k)) for ours, rest in _with_rest(rewards, weights)]


def maximum_weights(rewards: Sequence[float], k: int) -> list[float]:
    """s: for each idea the sum over all groups of k that hold it of their maximum, over the number of groups of k."""
    n = _checked(rewards, k)
    order = sorted(range(n), key=lambda number: rewards[number])
    groups, above, found = math.comb(n, k), 0.0, [0.0] * n
    for rank in range(n, 0, -1):  # from the best to the worst; `above` sums over those that are better
        number = order[rank - 1]
        found[number] = (math.comb(rank - 1, k - 1) * rewards[number] + above) / groups
        if k > 1 and rank > 1:
            above += math.comb(rank - 2, k - 2) * rewards[number]
    return found


def expected_maximum(rewards: Sequence[float], k: int) -> float:
    """Mean over all groups of k of their maximum: rho of the paper, unbiased for the expected maximum of k ideas."""
    n = _checked(rewards, k)
    ranked = enumerate(sorted(rewards), 1)
    return math.fsum(math.comb(rank - 1, k - 1) * reward for rank, reward in ranked) / math.comb(n, k)


def _checked(rewards: Sequence[float], k: int) -> int:
    if not 1 <= k <= len(rewards):
        raise ValueError(f"k={k} must be from 1 to the number of rewards, {len(rewards)}")
    return len(rewards)


def _with_rest(rewards: Sequence[float], weights: Sequence[float]) -> Iterator[tuple[float, list[float]]]:
    """Each weight with the rewards of the others."""
    for number, weight in enumerate(weights):
        yield weight, [*rewards[:number], *rewards[number + 1 :]]


# ---- entropic


def entropic(rewards: Sequence[float], kl: float) -> list[float]:
    """exp(beta r) over its mean in the group, minus 1."""
    return [len(rewards) * weight - 1 for weight in entropic_weights(rewards, adapted_beta(rewards, kl))]


def entropic_weights(rewards: Sequence[float], beta: float) -> list[float]:
    """exp(beta r), normalised; computed from the largest reward down, so that nothing overflows."""
    best = max(rewards)
    raw = [math.exp(max(-_LARGEST_EXPONENT, beta * (reward - best))) for reward in rewards]
    whole = math.fsum(raw)
    return [one / whole for one in raw]


def adapted_beta(rewards: Sequence[float], kl: float) -> float:
    """The beta with which the weights lie `kl` nats from uniform. Where too many are equally good for that, one with which
    the others weigh nothing; 0 where all are equal."""
    best = max(rewards)
    gaps = [best - reward for reward in rewards if reward < best]
    if not gaps:
        return 0.0
    low, high = 0.0, _LARGEST_EXPONENT / min(gaps)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kl_to_uniform(entropic_weights(rewards, middle)) < kl else (low, middle)
    return high


def kl_to_uniform(weights: Sequence[float]) -> float:
    """Nats."""
    return math.fsum(weight * math.log(len(weights) * weight) for weight in weights if weight > 0)


# ---- what is added


def share_penalties(ideas: Sequence[Hashable]) -> list[float]:
    """Twice the share of an idea's equals among the others, centred. As advantages they follow the gradient of
    sum_x pi(x)^2, the probability that two ideas are equal: the penalty raises the collision (Renyi-2) entropy."""
    count = Counter(ideas)
    return centred([2 * (count[idea] - 1) / (len(ideas) - 1) for idea in ideas])


def centred(values: Sequence[float]) -> list[float]:
    """Minus their mean."""
    mean = statistics.fmean(values)
    return [value - mean for value in values]


def unit_size(values: Sequence[float]) -> list[float]:
    """Divided by their root mean square; unchanged where all are 0."""
    size = math.sqrt(statistics.fmean(value * value for value in values))
    return [value / size for value in values] if size > 0 else list(values)
