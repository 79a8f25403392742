"""Every setting of the training, one plain dataclass per scale, nothing inherited, and DeepSpeed's configuration.

Ideas change the values here and add settings of their own, to all three classes. Data, size of the model, length of the
context and the budget are not settings: they are given by the size file, which an idea cannot change. A comment line
stands before each setting, so that changes of two ideas merge.
"""

from dataclasses import dataclass


@dataclass
class Tiny:
    """One CPU core, under half a minute: 0.6 M weights learn the bytes of Python source."""

    # AdamW's learning rate after the warm-up
    learning_rate: float = 1.5e-3
    # steps over which the learning rate rises from 0
    warmup_steps: int = 20
    # share of the learning rate that is left at the end
    final_rate: float = 0.1
    # AdamW's memory of the mean gradient
    beta1: float = 0.9
    # AdamW's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay of the matrices
    weight_decay: float = 0.1
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # standard deviation of the weights at the start
    initial_std: float = 0.02
    # width of the hidden layer of a feed-forward part, in widths of the model
    expansion: int = 4
    # sequences of one step, over all ranks
    batch: int = 8
    # sequences of one forward pass of one rank: bounds memory, changes no result
    microbatch: int = 8
    # what DeepSpeed shards over the ranks: 0 nothing, 1 optimizer state, 2 also gradients
    zero_stage: int = 0
    # compile the model with torch.compile
    compile: bool = False


@dataclass
class Small:
    """One 24 GB GPU, about five minutes: 6 layers on FineWeb."""

    # AdamW's learning rate after the warm-up
    learning_rate: float = 1.5e-3
    # steps over which the learning rate rises from 0
    warmup_steps: int = 100
    # share of the learning rate that is left at the end
    final_rate: float = 0.1
    # AdamW's memory of the mean gradient
    beta1: float = 0.9
    # AdamW's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay of the matrices
    weight_decay: float = 0.1
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # standard deviation of the weights at the start
    initial_std: float = 0.02
    # width of the hidden layer of a feed-forward part, in widths of the model
    expansion: int = 4
    # sequences of one step, over all ranks
    batch: int = 64
    # sequences of one forward pass of one rank: bounds memory, changes no result
    microbatch: int = 16
    # what DeepSpeed shards over the ranks: 0 nothing, 1 optimizer state, 2 also gradients
    zero_stage: int = 0
    # compile the model with torch.compile
    compile: bool = True


@dataclass
class Paper:
    """Eight GPUs, 25 minutes: GPT-2 124M on FineWeb, the settings of arXiv 2601.14525.

    256 sequences of 1,024 tokens are its 262,144 tokens a step.
    """

    # AdamW's learning rate after the warm-up
    learning_rate: float = 1.5e-3
    # steps over which the learning rate rises from 0
    warmup_steps: int = 256
    # share of the learning rate that is left at the end
    final_rate: float = 0.1
    # AdamW's memory of the mean gradient
    beta1: float = 0.9
    # AdamW's memory of the squared gradient
    beta2: float = 0.95
    # decoupled weight decay of the matrices
    weight_decay: float = 0.1
    # the gradient is scaled down to this norm when it is longer
    max_grad_norm: float = 1.0
    # standard deviation of the weights at the start
    initial_std: float = 0.02
    # width of the hidden layer of a feed-forward part, in widths of the model
    expansion: int = 4
    # sequences of one step, over all ranks
    batch: int = 256
    # sequences of one forward pass of one rank: bounds memory, changes no result
    microbatch: int = 32
    # what DeepSpeed shards over the ranks: 0 nothing, 1 optimizer state, 2 also gradients
    zero_stage: int = 0
    # compile the model with torch.compile
    compile: bool = True


SCALES = {"tiny": Tiny, "small": Small, "paper": Paper}


def deepspeed_config(settings, dtype: str) -> dict:
    """DeepSpeed's configuration (deepspeed.ai/docs/config-json); `dtype` is the type of matrix products.

    The weights stay float32. Above ZeRO stage 0 an optimizer sees its weights as flat slices, no longer as matrices.
    """
    return {
        "train_batch_size": settings.batch,
        "train_micro_batch_size_per_gpu": settings.microbatch,
        "gradient_clipping": settings.max_grad_norm,
        "torch_autocast": {"enabled": dtype != "float32", "dtype": dtype},
        "zero_optimization": {"stage": settings.zero_stage},
        "zero_allow_untested_optimizer": True,  # any of torch
    }
