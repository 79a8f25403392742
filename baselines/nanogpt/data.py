"""Which tokens a step is trained on: a function of the seed and of how many sequences came before."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shards import read_shard


class Sequences:
    """All windows of context + 1 tokens of the shards, in an order drawn anew for each pass."""

    def __init__(self, folder: Path, context: int, vocabulary: int, seed: int) -> None:
        self.context, self.seed = context, seed
        self.shards = [read_shard(path, vocabulary) for path in sorted(folder.glob("train_*.bin"))]
        if not self.shards:
            raise SystemExit(f"{folder} holds no train_*.bin; make them with prepare")
        # a window gives context inputs, and the token after it is the last target
        windows = [(len(shard) - 1) // context for shard in self.shards]
        self.first = np.cumsum([0, *windows])  # number of the first window of each shard, and of all
        if not self.first[-1]:
            raise SystemExit(f"{folder} holds fewer than {context + 1} tokens in each shard")
        self.drawn_for = -1

    def window(self, position: int) -> np.ndarray:
        """The window that stands at a position of the training: (context + 1,)."""
        epoch, at = divmod(position, int(self.first[-1]))
        if epoch != self.drawn_for:
            self.order = np.random.default_rng([self.seed, epoch]).permutation(self.first[-1])
            self.drawn_for = epoch
        number = self.order[at]
        shard = np.searchsorted(self.first, number, side="right") - 1
        start = (number - self.first[shard]) * self.context
        return self.shards[shard][start : start + self.context + 1]

    def rows(self, positions: range, device: torch.device) -> tuple[Tensor, Tensor]:
        """The sequences at these positions: tokens and the tokens that follow them, each (B, context)."""
        windows = np.stack([self.window(position) for position in positions]).astype(np.int64)
        rows = torch.from_numpy(windows)  # (B, context + 1)
        if device.type == "cuda":
            rows = rows.pin_memory().to(device, non_blocking=True)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
