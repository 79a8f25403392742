"""Every setting of the training, one plain dataclass per scale, nothing inherited.

Ideas change the values here and add settings of their own, to all three classes. Model and data size, lengths of
answers and the budget are not settings: they are given by the size file, which an idea cannot change. A comment line
stands before each setting, so that changes of two ideas merge.
"""

from dataclasses import dataclass


@dataclass
class Tiny:
    """One CPU core, under half a minute: a 0.3 M model learns to add."""

    # Adam's learning rate
    learning_rate: float = 1e-4
    # share of the training over which the learning rate rises from 0
    warmup: float = 0.0
    # Adam's memory of the mean gradient
    beta1: float = 0.9
    # Adam's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay
    weight_decay: float = 0.0
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # rollouts sampled in one step
    rollouts: int = 256
    # rollouts of one problem: rewards are compared within this group
    group_size: int = 8
    # rollouts of one update of the weights
    minibatch: int = 64
    # how often the rollouts of one step are used
    epochs: int = 1
    # rollouts of one forward pass: bounds memory, changes no result
    microbatch: int = 64
    # temperature of the rollouts
    temperature: float = 1.0
    # how far the probability ratio may leave 1 before its gradient is cut
    clip: float = 0.2
    # recompute activations in the backward pass, to save memory
    gradient_checkpointing: bool = False


@dataclass
class Small:
    """One 24 GB GPU, about five minutes: Qwen2.5-0.5B on MATH."""

    # Adam's learning rate
    learning_rate: float = 5e-6
    # share of the training over which the learning rate rises from 0
    warmup: float = 0.0
    # Adam's memory of the mean gradient
    beta1: float = 0.9
    # Adam's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay
    weight_decay: float = 0.0
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # rollouts sampled in one step
    rollouts: int = 256
    # rollouts of one problem: rewards are compared within this group
    group_size: int = 8
    # rollouts of one update of the weights
    minibatch: int = 64
    # how often the rollouts of one step are used
    epochs: int = 1
    # rollouts of one forward pass: bounds memory, changes no result
    microbatch: int = 2
    # temperature of the rollouts
    temperature: float = 1.0
    # how far the probability ratio may leave 1 before its gradient is cut
    clip: float = 0.2
    # recompute activations in the backward pass, to save memory
    gradient_checkpointing: bool = True


@dataclass
class Paper:
    """One 80 GB GPU, one hour: Qwen2.5-Math-1.5B on MATH, the settings of arXiv 2601.14525.

    64 rollouts an update is batch 4 times 16 accumulated of its released script.
    """

    # Adam's learning rate
    learning_rate: float = 1e-5
    # share of the training over which the learning rate rises from 0
    warmup: float = 0.0
    # Adam's memory of the mean gradient
    beta1: float = 0.9
    # Adam's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay
    weight_decay: float = 0.0
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # rollouts sampled in one step
    rollouts: int = 1024
    # rollouts of one problem: rewards are compared within this group
    group_size: int = 8
    # rollouts of one update of the weights
    minibatch: int = 64
    # how often the rollouts of one step are used
    epochs: int = 1
    # rollouts of one forward pass: bounds memory, changes no result
    microbatch: int = 4
    # temperature of the rollouts
    temperature: float = 1.0
    # how far the probability ratio may leave 1 before its gradient is cut
    clip: float = 0.2
    # recompute activations in the backward pass, to save memory
    gradient_checkpointing: bool = True


SCALES = {"tiny": Tiny, "small": Small, "paper": Paper}
