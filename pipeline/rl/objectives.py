"""Objectives of reinforcement learning: from the rewards of a group of ideas to one advantage for each.

Pure functions on plain numbers. A group is the ideas sampled from one prompt. A reward of None is missing: a machine failed,
or the job has not ended yet. That idea gets no advantage, and the others are treated as if it had not been sampled. An idea
that failed has the reward 0, as in arXiv 2601.14525.

An advantage is the factor A_i of an idea's grad log pi in the gradient estimate (1/n) sum_i A_i grad log pi(i). Sources:

* `mean`: the reward minus the group's mean; divided by the standard deviation it is GRPO's (arXiv 2402.03300, section
  4.1.2).
* `max_at_k`: n times the estimators s, s^(loo) and s^(loo-1) for continuous rewards of "Pass@K Policy Optimization"
  (arXiv 2505.15201). They are unbiased for the gradient of the expected maximum of k ideas; the tests count all subsets.
* `entropic`: exp(beta r) over its mean, minus 1, with beta such that the KL of the normalised weights to uniform is ln 2:
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
"""Larger exponents give a weight of 0 relative to the largest in double precision."""


def advantages(
    rewards: Sequence[float | None],
    ideas: Sequence[Hashable],
    seen: Sequence[int],
    rl: RlConfig,
    thinking: Sequence[int] | None = None,
) -> list[float | None]:
    """The advantage of each idea of a group, None if its reward is missing. `ideas` are keys that are equal for equal ideas,
    `seen` is how often each was in the archive before, `thinking` the length of its thinking in tokens. Raises ValueError
    for a non-finite reward, or a group of one.

    With `rl.normalize` the objective's advantages are divided by their root mean square, which is then the unit of penalty
    and bonus.
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
    lengths = centred([thinking[number] / rl.new_tokens if thinking else 0.0 for number in there])
    whole: list[float | None] = [None] * len(rewards)
    for number, ours, share, new, length in zip(there, found, shares, news, lengths, strict=True):
        whole[number] = ours - rl.penalty * share + rl.novelty * new + rl.length * length
    return whole


def objective(rewards: Sequence[float], rl: RlConfig) -> list[float]:
    """The advantages by `rl.objective`, before penalty and bonus."""
    if rl.objective is Objective.mean:
        return centred(rewards)
    if rl.objective is Objective.max_at_k:
        # With fewer than k rewards, the maximum of all.
        return max_at_k(rewards, min(rl.k, len(rewards)))
    return entropic(rewards, rl.kl)


# ---- expected maximum of k


def max_at_k(rewards: Sequence[float], k: int) -> list[float]:
    """s^(loo-1) times n: how much an idea raises the maximum of the subsets of size k that contain it, relative to the
    maximum of the other k-1. For k=1 the baseline is the mean of the others."""
    n = len(rewards)
    if k == 1:
        return leave_one_out(rewards, 1)
    weights, part = maximum_weights(rewards, k), k / n
    return [n * (ours - part * expected_maximum(rest, k - 1)) for ours, rest in _with_rest(rewards, weights)]


def leave_one_out(rewards: Sequence[float], k: int) -> list[float]:
    """s^(loo) times n: the weights minus the expected value from the other n-1 ideas. Requires k < n."""
    n = len(rewards)
    weights = maximum_weights(rewards, k)
    return [n * (ours - k / (n - 1) * expected_maximum(rest, k)) for ours, rest in _with_rest(rewards, weights)]


def maximum_weights(rewards: Sequence[float], k: int) -> list[float]:
    """s: for each idea the sum of the maxima of all subsets of size k that contain it, over the number of such subsets of
    all ideas."""
    n = _checked(rewards, k)
    order = sorted(range(n), key=lambda number: rewards[number])
    groups, above, found = math.comb(n, k), 0.0, [0.0] * n
    for rank in range(n, 0, -1):  # from best to worst; `above` sums over the better ones
        number = order[rank - 1]
        found[number] = (math.comb(rank - 1, k - 1) * rewards[number] + above) / groups
        if k > 1 and rank > 1:
            above += math.comb(rank - 2, k - 2) * rewards[number]
    return found


def expected_maximum(rewards: Sequence[float], k: int) -> float:
    """Mean of the maxima of all subsets of size k: rho of the paper, unbiased for the expected maximum of k ideas."""
    n = _checked(rewards, k)
    ranked = enumerate(sorted(rewards), 1)
    return math.fsum(math.comb(rank - 1, k - 1) * reward for rank, reward in ranked) / math.comb(n, k)


def _checked(rewards: Sequence[float], k: int) -> int:
    if not 1 <= k <= len(rewards):
        raise ValueError(f"k={k} must be from 1 to the number of rewards, {len(rewards)}")
    return len(rewards)


def _with_rest(rewards: Sequence[float], weights: Sequence[float]) -> Iterator[tuple[float, list[float]]]:
    """Each weight with the rewards of the other ideas."""
    for number, weight in enumerate(weights):
        yield weight, [*rewards[:number], *rewards[number + 1 :]]


# ---- entropic


def entropic(rewards: Sequence[float], kl: float) -> list[float]:
    """Advantages exp(beta r) over their mean in the group, minus 1."""
    return [len(rewards) * weight - 1 for weight in entropic_weights(rewards, adapted_beta(rewards, kl))]


def entropic_weights(rewards: Sequence[float], beta: float) -> list[float]:
    """Weights exp(beta r), normalised; computed relative to the largest reward, so that nothing overflows."""
    best = max(rewards)
    raw = [math.exp(max(-_LARGEST_EXPONENT, beta * (reward - best))) for reward in rewards]
    whole = math.fsum(raw)
    return [one / whole for one in raw]


def adapted_beta(rewards: Sequence[float], kl: float) -> float:
    """The beta for which the KL of the weights to uniform is `kl` nats. If too many ideas are equally good for that, a beta
    for which the others have weight 0; 0 if all are equal."""
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
    """KL divergence of normalised weights from uniform, nats."""
    return math.fsum(weight * math.log(len(weights) * weight) for weight in weights if weight > 0)


# ---- what is added


def share_penalties(ideas: Sequence[Hashable]) -> list[float]:
    """Twice the share of equal ideas among the others, centred. As advantages they follow the gradient of sum_x pi(x)^2, the
    probability that two ideas are equal: the penalty raises the collision (Renyi-2) entropy."""
    count = Counter(ideas)
    return centred([2 * (count[idea] - 1) / (len(ideas) - 1) for idea in ideas])


def centred(values: Sequence[float]) -> list[float]:
    """The values minus their mean."""
    mean = statistics.fmean(values)
    return [value - mean for value in values]


def unit_size(values: Sequence[float]) -> list[float]:
    """The values divided by their root mean square; unchanged if all are 0."""
    size = math.sqrt(statistics.fmean(value * value for value in values))
    return [value / size for value in values] if size > 0 else list(values)
