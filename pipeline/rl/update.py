"""The policy-gradient update: from sampled ideas with their advantages to new weights.

The loss is GRPO's clipped objective over tokens (arXiv 2402.03300), normalised by the number of tokens of a minibatch as in
DAPO (arXiv 2503.14476, section 3.3), so that every token of a batch has the same weight. The ratio is clipped around the
policy at the start of the update. The difference between that policy and the one that sampled an idea, which may be some
steps older, is corrected by one importance weight per idea, truncated at `rl.cap` (Ionides, "Truncated importance sampling",
2008; decoupled as in Hilton et al., arXiv 2110.00641).

Used only inside jobs and in the study.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.records import UpdateMeasures
from pipeline.rl.policy import Policy, Rows, side_by_side, token_logprobs


class NotFinite(ValueError):
    """A number of an update is NaN or infinite; nothing was saved."""


@dataclass(frozen=True)
class Row:
    """One idea to learn from."""

    prompt: tuple[int, ...]
    """Token ids of the prompt."""
    tokens: tuple[int, ...]
    """Token ids of the answer, including thinking and end token."""
    logprobs: tuple[float, ...]
    """Log-probability of each token of the answer under the policy that sampled it, nats."""
    advantage: float
    """The idea's advantage; positive raises its probability."""


class Engine(Protocol):
    """An optimizer with its model, in one process or as one rank of several: torch's AdamW here, DeepSpeed in `zero.py`."""

    ranks: int
    """Number of processes that share the rows; gradients are averaged over them."""
    rank: int
    """Rank of this process."""

    def forward(self) -> Any:
        """The model to call. Every rank calls it equally often."""
        ...

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss; `last` marks the last call of a minibatch."""
        ...

    def step(self) -> float:
        """Clip the gradients and change the weights. Returns the norm before clipping. Raises `NotFinite` for a non-finite
        norm; nothing may be saved after it."""
        ...

    def gather(self, ours: Any) -> list[Any]:
        """The values of all ranks, in order of ranks."""
        ...

    def weights(self) -> dict[str, Tensor] | None:
        """All weights of a checkpoint on rank 0; none if the model itself has them."""
        ...

    def save(self, folder: Path) -> None:
        """Write the optimizer state. Must be called on every rank."""
        ...

    def load(self, folder: Path) -> None:
        """Load the optimizer state. Raises `BadInput` for that of another engine or number of ranks."""
        ...


def update(policy: Policy, engine: Engine, rows: Sequence[Row], rl: RlConfig, rng: random.Random) -> UpdateMeasures:
    """Change the weights by `rl.epochs` passes over the rows. Raises `NotFinite`."""
    _check(rows, policy)
    old = score(policy, engine, rows, rl)
    weights = [
        min(rl.cap, math.exp(min(50.0, sum(ours) - sum(row.logprobs)))) for ours, row in zip(old, rows, strict=True)
    ]
    measures = Tally()
    for _ in range(rl.epochs):
        order = list(range(len(rows)))
        rng.shuffle(order)
        for chosen in _parts(order, rl.minibatch):
            _minibatch(policy, engine, [(rows[i], old[i], weights[i]) for i in chosen], rl, measures)
    return joined(engine.gather(measures)).summary(weights, rl.cap)


def kl_between(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The mean of log pi - log pi_0 over the tokens of some rows, nats: an estimate of the KL of a policy to another, if the
    rows were sampled from the former."""
    tokens = sum(map(len, ours))
    return (math.fsum(map(math.fsum, ours)) - math.fsum(map(math.fsum, theirs))) / max(1, tokens)


@torch.no_grad()
def score(policy: Policy, engine: Engine, rows: Sequence[Row], rl: RlConfig, model: Any = None) -> list[list[float]]:
    """Log-probabilities of the tokens of all rows under `model`, else under the engine's; the ranks share the rows."""
    mine = _share(list(range(len(rows))), engine)
    found: dict[int, list[float]] = {}
    for part in _parts(mine, rl.microbatch):
        chosen = [rows[i] for i in part]
        logprobs, _ = token_logprobs(model or engine.forward(), _rows(chosen, policy), rl.temperature)
        found |= {i: line[: len(row.tokens)] for i, line, row in zip(part, logprobs.tolist(), chosen, strict=True)}
    whole = {i: line for each in engine.gather(found) for i, line in each.items()}
    return [whole[i] for i in range(len(rows))]


def _share(items: list[Any], engine: Engine) -> list[Any]:
    """This rank's share of some items. All ranks get equally many, since they compute together; if necessary the first item
    is appended as padding."""
    mine = items[engine.rank :: engine.ranks]
    return mine + items[:1] * (-(-len(items) // engine.ranks) - len(mine))


def _minibatch(
    policy: Policy, engine: Engine, chosen: list[tuple[Row, list[float], float]], rl: RlConfig, measures: "Tally"
) -> None:
    """Take one optimizer step."""
    tokens = sum(len(row.tokens) for row, _, _ in chosen)
    ours, count = _share(chosen, engine), len(chosen[engine.rank :: engine.ranks])  # what stands in does not count
    parts = list(_parts(list(enumerate(ours)), rl.microbatch))
    for number, part in enumerate(parts):
        batch = _rows([row for _, (row, _, _) in part], policy)
        logprobs, _ = token_logprobs(engine.forward(), batch, rl.temperature)
        old = _padded([one for _, (_, one, _) in part], logprobs)
        advantages = logprobs.new_tensor([row.advantage for _, (row, _, _) in part]).unsqueeze(1)  # (B, 1)
        weights = logprobs.new_tensor([weight for _, (_, _, weight) in part]).unsqueeze(1)  # (B, 1)
        per_token, clipped = token_losses(logprobs, old, advantages, weights, rl)
        mask = batch.answer * batch.answer.new_tensor([[place < count] for place, _ in part])  # (B, T)
        loss = (per_token * mask).sum() / tokens
        if not torch.isfinite(loss):
            raise NotFinite("the loss is not finite; lower rl.learning_rate, or check the scores")
        engine.backward(engine.ranks * loss, last=number == len(parts) - 1)
        measures.add(loss, (logprobs - old).exp(), clipped, mask)
    measures.norms.append(engine.step())


def token_losses(
    logprobs: Tensor, old: Tensor, advantages: Tensor, weights: Tensor, rl: RlConfig
) -> tuple[Tensor, Tensor]:
    """The loss of each token, and 1 where clipping removed its gradient: (B, T) each. `logprobs` and `old` are (B, T),
    `advantages` and `weights` (B, 1)."""
    ratio = (logprobs - old).exp()  # (B, T)
    clipped = ratio.clamp(1 - rl.clip, 1 + rl.clip_high)
    gain = torch.minimum(ratio * advantages, clipped * advantages)
    return -weights * gain, (clipped * advantages < ratio * advantages).float()


def _check(rows: Sequence[Row], policy: Policy) -> None:
    """Raise `NotFinite` for non-finite numbers, ValueError for rows that this policy cannot have written."""
    if not rows:
        raise ValueError("there is no idea to learn from")
    for row in rows:
        if not all(map(math.isfinite, (row.advantage, *row.logprobs))):
            raise NotFinite("an advantage or a log-probability of a sample is not finite")
        if len(row.tokens) != len(row.logprobs) or not row.tokens:
            raise ValueError(f"a sample has {len(row.tokens)} tokens and {len(row.logprobs)} log-probabilities")
        if max((*row.prompt, *row.tokens)) >= policy.vocabulary:
            raise ValueError(
                f"a sample has token {max((*row.prompt, *row.tokens))} and the policy only {policy.vocabulary} tokens: "
                "the tokenizer does not match"
            )


def _rows(rows: Sequence[Row], policy: Policy) -> Rows:
    device = policy.model.device
    return side_by_side([list(row.prompt) for row in rows], [list(row.tokens) for row in rows], policy.pad, device)


def _padded(lines: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """The lines as (B, T), padded with the values of `like`, so that the difference to `like` is 0 there."""
    width = like.shape[1]
    found = like.new_tensor([[*line, *[0.0] * (width - len(line))] for line in lines])
    there = like.new_tensor([[1.0] * len(line) + [0.0] * (width - len(line)) for line in lines])
    return torch.where(there > 0, found, like.detach())


def _parts(items: Sequence[Any], size: int) -> list[Any]:
    return [items[start : start + size] for start in range(0, len(items), size)]


# ---- steps of an optimizer


class Adam:
    """Torch's AdamW in one process."""

    ranks = 1
    rank = 0

    def __init__(self, model: Any, rl: RlConfig) -> None:
        self._model = model
        self._most = rl.max_grad_norm
        self.optimizer = adamw(model, rl)

    def forward(self) -> Any:
        return self._model

    def backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> float:
        (group,) = self.optimizer.param_groups
        norm = float(torch.nn.utils.clip_grad_norm_(group["params"], self._most))
        if not math.isfinite(norm):
            raise NotFinite(NO_STEP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def gather(self, ours: Any) -> list[Any]:
        return [ours]

    def weights(self) -> None:
        return None

    def save(self, folder: Path) -> None:
        folder.mkdir()
        torch.save(self.optimizer.state_dict(), folder / _STATE)

    def load(self, folder: Path) -> None:
        if not (folder / _STATE).is_file():
            raise BadInput(f"{folder} holds no state of an optimizer in one process; set rl.zero_stage as before")
        self.optimizer.load_state_dict(torch.load(folder / _STATE, weights_only=True))


_STATE = "adam.pt"
NO_STEP = "the gradient is not finite; lower rl.learning_rate, or train in float32"
"""Message for a step that was not taken."""


def adamw(model: Any, rl: RlConfig) -> torch.optim.AdamW:
    """The optimizer of the trainable weights."""
    trained = [one for one in model.parameters() if one.requires_grad]
    return torch.optim.AdamW(trained, lr=rl.learning_rate, betas=(0.9, 0.95), weight_decay=rl.weight_decay)


@dataclass
class Tally:
    """Sums of the measures of an update."""

    norms: list[float] = field(default_factory=list)
    """Norm of the gradient for each step of the optimizer."""
    loss: float = 0.0
    ratio: float = 0.0
    highest: float = 0.0
    clipped: float = 0.0
    tokens: float = 0.0

    def add(self, loss: Tensor, ratio: Tensor, clipped: Tensor, mask: Tensor) -> None:
        self.loss += float(loss.detach())
        self.ratio += float((ratio.detach() * mask).sum())
        self.highest = max(self.highest, float((ratio.detach() * mask).max()))
        self.clipped += float((clipped * mask).sum())
        self.tokens += float(mask.sum())

    def summary(self, weights: Sequence[float], cap: float) -> UpdateMeasures:
        """Measures of the whole update."""
        tokens = max(1.0, self.tokens)
        return UpdateMeasures(
            rows=len(weights),
            loss=self.loss / len(self.norms),
            gradient_norm=sum(self.norms) / len(self.norms),
            ratio=self.ratio / tokens,
            ratio_max=self.highest,
            clipped=self.clipped / tokens,
            weight=sum(weights) / len(weights),
            truncated=sum(weight >= cap for weight in weights) / len(weights),
        )


def joined(ranks: Sequence[Tally]) -> Tally:
    """The tally over all ranks, which take the same steps."""
    return Tally(
        ranks[0].norms,
        sum(one.loss for one in ranks),
        sum(one.ratio for one in ranks),
        max(one.highest for one in ranks),
        sum(one.clipped for one in ranks),
        sum(one.tokens for one in ranks),
    )
