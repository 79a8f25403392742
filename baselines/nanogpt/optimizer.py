"""The optimizer and its learning rate."""

import math

import torch


def weight_groups(model, settings) -> list[dict]:
    """The weights in groups: which are pulled towards zero, and by what factor their learning rate differs."""
    named = list(model.named_parameters())
    matrices = [weight for _, weight in named if weight.dim() >= 2]
    gains = [weight for _, weight in named if weight.dim() < 2]
    return [
        {"params": matrices, "weight_decay": settings.weight_decay, "factor": 1.0},
        {"params": gains, "weight_decay": 0.0, "factor": 1.0},
    ]


def make_optimizer(model, settings) -> torch.optim.Optimizer:
    """AdamW over all weights; on a GPU in one kernel."""
    return torch.optim.AdamW(
        weight_groups(model, settings),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=next(model.parameters()).is_cuda,
    )


def learning_rate(step: int, progress: float, settings) -> float:
    """The learning rate of the step after `step` finished ones, when a share `progress` (0 to 1) of the budget is used.

    A linear warm-up, then half a cosine down to `final_rate`.
    """
    warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    falling = 0.5 * (1 + math.cos(math.pi * progress))  # from 1 to 0
    return settings.learning_rate * warmup * (settings.final_rate + (1 - settings.final_rate) * falling)
