"""The mathematics of GRPO: advantages from a group of rewards, and the clipped loss.

From DeepSeekMath (arXiv 2402.03300) with outcome rewards. Left out: the KL term to a reference (the paper's baseline
has none). Shapes: B rollouts = G groups of K, C tokens of the longest completion; mask (B, C) is 1 on tokens that
the policy sampled and 0 on padding.
"""

from torch import Tensor


def group_advantages(rewards: Tensor, settings) -> Tensor:
    """How much better each rollout is than its group, in standard deviations of the group: (G, K) -> (G, K)."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)  # (G, K)
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-6)


def probability_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """How much likelier each token became since it was sampled: (B, C) -> (B, C)."""
    return (logprobs - old_logprobs).exp()


def clipped_objective(ratio: Tensor, advantages: Tensor, settings) -> Tensor:
    """PPO's pessimistic objective of each token, to be made large: ratio (B, C), advantages (B, 1) -> (B, C)."""
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)  # (B, C)
    return (ratio * advantages).minimum(clipped * advantages)


def token_weights(mask: Tensor) -> Tensor:
    """Each token's share of the loss, all shares adding up to 1: equal rollouts, equal tokens within one. (B, C)"""
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    return mask / lengths / len(mask)


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, entropy: Tensor, advantages: Tensor, mask: Tensor, weights: Tensor, settings
) -> Tensor:
    """The loss of some rollouts: a scalar; losses of the parts of a minibatch add up to the minibatch's.

    logprobs, old_logprobs, entropy, mask, weights: (B, C); advantages: (B, 1). Only logprobs have a gradient.
    """
    ratio = probability_ratio(logprobs, old_logprobs, mask)  # (B, C)
    objective = clipped_objective(ratio, advantages, settings)  # (B, C)
    return -(objective * weights).sum()
