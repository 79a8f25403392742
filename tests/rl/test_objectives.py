"""The advantages of a group, compared with counts over all subsets and exact gradients of small policies."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest

from pipeline.config import Objective, RlConfig
from pipeline.rl.objectives import (
    adapted_beta,
    advantages,
    entropic,
    entropic_weights,
    expected_maximum,
    kl_to_uniform,
    leave_one_out,
    max_at_k,
    maximum_weights,
    share_penalties,
    unit_size,
)

GROUPS = [
    pytest.param([0.3, 0.1], id="two"),
    pytest.param([0.5, 0.5, 0.5], id="all equal"),
    pytest.param([0.0, 0.0, 0.7, 0.0], id="one succeeded"),
    pytest.param([0.2, 0.9, 0.9, 0.1, 0.2], id="ties"),
    pytest.param([-1.0, 0.4, 2.5, 0.4, -3.0, 0.0], id="negative"),
    pytest.param([0.61, 0.13, 0.94, 0.27, 0.55, 0.08, 0.71], id="seven"),
]


def subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(n), k))


@pytest.mark.parametrize("rewards", GROUPS)
def test_the_maximum_of_k_is_counted_over_all_subsets(rewards: list[float]) -> None:
    n = len(rewards)
    for k in range(1, n + 1):
        groups = subsets(n, k)
        best = {group: max(rewards[i] for i in group) for group in groups}
        assert expected_maximum(rewards, k) == pytest.approx(sum(best.values()) / len(groups))
        weights = [sum(best[group] for group in groups if i in group) / len(groups) for i in range(n)]
        assert maximum_weights(rewards, k) == pytest.approx(weights)
        if k > 1:  # by how much an idea raises the maximum of each subset that contains it
            raised = [
                sum(best[g] - max(rewards[j] for j in g if j != i) for g in groups if i in g) * n / len(groups)
                for i in range(n)
            ]
            assert max_at_k(rewards, k) == pytest.approx(raised, abs=1e-12)
        if k < n:  # the same estimate, from the other ideas alone
            others = [
                sum(max(rewards[j] for j in g) for g in groups if i not in g) * k / (n - 1) / math.comb(n - 1, k)
                for i in range(n)
            ]
            expected = [n * (one - other) for one, other in zip(weights, others, strict=True)]
            assert leave_one_out(rewards, k) == pytest.approx(expected, abs=1e-12)


# ---- exact gradients: the mean over every possible group, weighted by its probability


def mean_gradient(
    values: Sequence[float], theta: Sequence[float], n: int, of: Callable[..., list[float]]
) -> list[float]:
    """E[(1/n) sum A_i grad log pi(i)] of a softmax policy over arms with these rewards."""
    whole = sum(math.exp(one) for one in theta)
    pi = [math.exp(one) / whole for one in theta]
    gradient = [0.0] * len(theta)
    for arms in itertools.product(range(len(theta)), repeat=n):
        chance = math.prod(pi[arm] for arm in arms)
        for advantage, arm in zip(of([values[arm] for arm in arms], arms), arms, strict=True):
            for other in range(len(theta)):
                gradient[other] += chance / n * advantage * ((arm == other) - pi[other])
    return gradient


def slope(function: Callable[[list[float]], float], theta: list[float]) -> list[float]:
    """Central differences."""
    found = []
    for place in range(len(theta)):
        up, down = list(theta), list(theta)
        up[place] += 1e-5
        down[place] -= 1e-5
        found.append((function(up) - function(down)) / 2e-5)
    return found


def softmax(theta: list[float]) -> list[float]:
    whole = sum(map(math.exp, theta))
    return [math.exp(one) / whole for one in theta]


TWO_ARMS = [0.2, 1.0]
THETA = [0.7, -0.4]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_max_at_k_is_unbiased_on_two_arms(k: int) -> None:
    def best_of_k(theta: list[float]) -> float:
        pi = softmax(theta)
        return TWO_ARMS[0] * pi[0] ** k + TWO_ARMS[1] * (1 - pi[0] ** k)

    exact = slope(best_of_k, THETA)
    assert exact[1] > 0
    assert mean_gradient(TWO_ARMS, THETA, 4, lambda r, _: max_at_k(r, k)) == pytest.approx(exact, abs=1e-8)
    assert mean_gradient(TWO_ARMS, THETA, 4, lambda r, _: leave_one_out(r, k)) == pytest.approx(exact, abs=1e-8)


def test_the_penalty_is_the_gradient_of_the_chance_that_two_ideas_are_equal() -> None:
    theta = [0.7, -0.4, 0.1]
    exact = slope(lambda theta: sum(one * one for one in softmax(theta)), theta)
    n = 4
    found = mean_gradient([0.0] * 3, theta, n, lambda _, arms: share_penalties(arms))
    # The mean over all n, which is subtracted, contains an idea's own pairs twice: two parts in n of the gradient.
    assert [one * n / (n - 2) for one in found] == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("objective", list(Objective))
def test_every_objective_prefers_the_better_of_two_arms(objective: Objective) -> None:
    rl = RlConfig(objective=objective, k=2, penalty=0.0)
    gradient = mean_gradient(TWO_ARMS, THETA, 4, lambda r, arms: advantages(r, arms, [0] * 4, rl))  # type: ignore[arg-type]
    assert gradient[1] > 0.01 and gradient[0] == pytest.approx(-gradient[1])


def test_the_expected_maximum_prefers_a_gamble_and_the_mean_a_safe_idea() -> None:
    """Rewards of 0.5 always, or 1 once in four: the second has a lower mean, but a higher best of four."""
    rng, safe, risky, rounds = random.Random(0), {"mean": 0.0, "max": 0.0}, {"mean": 0.0, "max": 0.0}, 400
    for _ in range(rounds):
        rewards = [0.5] * 4 + [float(rng.random() < 0.25) for _ in range(4)]
        for name, found in (("mean", unit_size(leave_one_out(rewards, 1))), ("max", max_at_k(rewards, 4))):
            safe[name] += sum(found[:4]) / rounds
            risky[name] += sum(found[4:]) / rounds
    assert safe["mean"] > risky["mean"] and safe["max"] < risky["max"]


# ---- entropic


@pytest.mark.parametrize("rewards", GROUPS)
def test_entropic_weights_lie_ln_2_from_uniform_if_possible(rewards: list[float]) -> None:
    best = [i for i, reward in enumerate(rewards) if reward == max(rewards)]
    furthest = math.log(len(rewards) / len(best))
    weights = entropic_weights(rewards, adapted_beta(rewards, math.log(2)))
    assert kl_to_uniform(weights) == pytest.approx(min(math.log(2), furthest), abs=1e-6)
    assert sum(entropic(rewards, math.log(2))) == pytest.approx(0, abs=1e-9)
    assert sorted(range(len(rewards)), key=lambda i: (weights[i], i)) == sorted(
        range(len(rewards)), key=lambda i: (rewards[i] if weights[i] > 1e-300 else -math.inf, i)
    )


def test_entropic_does_not_overflow() -> None:
    for rewards in ([0.0, 1e-9, 2e-9], [1e9, 2e9, 0.0]):
        assert all(map(math.isfinite, entropic(rewards, math.log(2))))


# ---- whole groups


def test_a_group_worked_by_hand() -> None:
    """Rewards 1, 2, 3 and the best of two: of the pairs 12, 13, 23 the third idea raises the maximum by 2 and 1, the
    second by 1 in one; times n over the number of pairs this gives 0, 1, 3. Root mean square sqrt(10/3)."""
    rl = RlConfig(objective=Objective.max_at_k, k=2, penalty=0.5, novelty=0.25)
    assert max_at_k([1.0, 2.0, 3.0], 2) == pytest.approx([0, 1, 3])
    unit = math.sqrt(10 / 3)
    # Shares: each `a` equals half of the others (2 * 1/2), `b` none; centred 1/3, 1/3, -2/3. Bonus: 1, 1/2 and 1 for
    # ideas seen 0, 3 and 0 times; centred 1/6, -1/3, 1/6.
    expected = [0 - 1 / 6 + 1 / 24, 1 / unit - 1 / 6 - 1 / 12, 3 / unit + 1 / 3 + 1 / 24]
    assert advantages([1.0, 2.0, 3.0], ["a", "a", "b"], [0, 3, 0], rl) == pytest.approx(expected)


@pytest.mark.parametrize("objective", list(Objective))
def test_missing_rewards_change_nothing_for_the_others(objective: Objective) -> None:
    rl = RlConfig(objective=objective, k=3, penalty=1.0, novelty=1.0)
    whole = advantages([0.1, 0.4, 0.2, 0.9], list("abba"), [0, 1, 2, 3], rl)
    holes = advantages([None, 0.1, 0.4, None, 0.2, 0.9], list("aabbba"), [0, 0, 1, 0, 2, 3], rl)
    assert [holes[0], holes[3]] == [None, None]
    assert [one for one in holes if one is not None] == pytest.approx(whole)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("reward", [0.0, 0.5])
def test_equal_rewards_teach_nothing_but_variety(objective: Objective, reward: float) -> None:
    rl = RlConfig(objective=objective, k=2, penalty=0.0)
    assert advantages([reward] * 4, list("aaab"), [0] * 4, rl) == pytest.approx([0] * 4)
    rl = RlConfig(objective=objective, k=2, penalty=1.0)
    found = advantages([reward] * 4, list("aaab"), [0] * 4, rl)
    assert found == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 1])


@pytest.mark.parametrize(
    ("rewards", "words"),
    [([0.5], "group of one"), ([0.5, math.nan], "not finite"), ([0.5, math.inf, 1.0], "not finite")],
)
def test_bad_groups_are_refused(rewards: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        advantages(rewards, rewards, [0] * len(rewards), RlConfig())


def test_fewer_than_two_rewards_give_no_advantage() -> None:
    assert advantages([None, 0.5, None], "abc", [0] * 3, RlConfig()) == [None] * 3
    assert advantages([None, None], "ab", [0] * 2, RlConfig()) == [None] * 2


def test_k_must_fit() -> None:
    with pytest.raises(ValueError, match="k=4 must be from 1 to the number of rewards, 3"):
        expected_maximum([1.0, 2.0, 3.0], 4)
    few = RlConfig(k=8, penalty=0.0, normalize=False)
    assert advantages([0.0, 1.0, None], "abc", [0] * 3, few) == [0.0, 2.0, None]
