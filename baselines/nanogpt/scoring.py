"""Loss of a model that runs in a server: what the scorer computes from logits, and what it compares. Protected."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exchange import BadServer


def pick_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def checked(logits: np.ndarray, device: torch.device, server: str) -> Tensor:
    """Logits (B, P, V) as float32 on the device; raises BadServer if one is not finite."""
    tensor = torch.from_numpy(logits).to(device)
    if not torch.isfinite(tensor.sum()):  # cheap; a sum may overflow by itself, so look again
        bad = ~torch.isfinite(tensor).all(dim=-1)  # (B, P)
        if bad.any():
            row, position = bad.nonzero()[0].tolist()
            raise BadServer("nan", f"server {server}: logits are not finite, first in row {row}, position {position}")
    return tensor


UNLIKELY = -100.0
"""Log-probabilities below this count as equal: masked columns are so low that float32 rounds them to whole nats."""


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (B, T) in nats, float32, of logits (B, T, V) against the tokens (B, T) that follow."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def summary(logits: Tensor, targets: Tensor, columns: Tensor) -> np.ndarray:
    """The compared values of logits (M, V): log-probabilities (M, 1 + C) of the targets (M,) and of the columns
    (C,)."""
    log_probs = logits.log_softmax(dim=-1).clamp(min=UNLIKELY)
    return torch.cat([log_probs.gather(1, targets[:, None]), log_probs[:, columns]], dim=1).cpu().numpy()
