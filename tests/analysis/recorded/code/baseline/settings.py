"""Settings that ideas may change."""

from dataclasses import dataclass


@dataclass
class Tiny:
    # step size of the descent
    learning_rate: float = 0.01
    # how many rows a step looks at
    batch: int = 4
    # share of the last step that goes on
    momentum: float = 0.0
    # pull of the weights towards zero
    weight_decay: float = 0.0
