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
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.config import RlConfig
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
    """An optimizer with its model: torch's AdamW, or DeepSpeed."""

    ranks: int
    """Number of processes that share a minibatch; gradients are averaged over them."""
    rank: int
    """Rank of this process."""

    def forward(self) -> Any:
        """The model to call."""
        ...

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss; `last` marks the last call of a minibatch."""
        ...

    def step(self) -> float:
        """Clip the gradients and change the weights. Returns the norm before clipping. Raises `NotFinite` for a non-finite
        norm, before any weight changes."""
        ...


def update(policy: Policy, engine: Engine, rows: Sequence[Row], rl: RlConfig, rng: random.Random) -> UpdateMeasures:
    """Change the weights by `rl.epochs` passes over the rows. Raises `NotFinite`."""
    _check(rows, policy)
    start = [_start(policy, engine, part, rl) for part in _parts(rows, rl.microbatch)]
    old = [row for part in start for row in part]
    weights = [
        min(rl.cap, math.exp(min(50.0, sum(ours) - sum(row.logprobs)))) for ours, row in zip(old, rows, strict=True)
    ]
    measures = Tally()
    for _ in range(rl.epochs):
        order = list(range(len(rows)))
        rng.shuffle(order)
        for chosen in _parts(order, rl.minibatch):
            _minibatch(policy, engine, [(rows[i], old[i], weights[i]) for i in chosen], rl, measures)
    return measures.summary(weights, rl.cap)


@torch.no_grad()
def kl_to_start(
    measures: UpdateMeasures, policy: Policy, first: Policy, rows: Sequence[Row], rl: RlConfig
) -> UpdateMeasures:
    """The measures with `kl_start`: the mean of log pi - log pi_0 over the tokens of the rows, which estimates the KL to the
    initial policy if the rows were sampled from pi."""
    difference, tokens = 0.0, 0
    for part in _parts(rows, rl.microbatch):
        batch = _rows(part, policy)
        ours, _ = token_logprobs(policy.model, batch, rl.temperature)
        theirs, _ = token_logprobs(first.model, batch, rl.temperature)
        difference += float(((ours - theirs) * batch.answer).sum())
        tokens += int(batch.answer.sum())
    return replace(measures, kl_start=difference / max(1, tokens))


def _minibatch(
    policy: Policy, engine: Engine, chosen: list[tuple[Row, list[float], float]], rl: RlConfig, measures: "Tally"
) -> None:
    """Take one optimizer step."""
    tokens = sum(len(row.tokens) for row, _, _ in chosen)
    ours = chosen[engine.rank :: engine.ranks]
    # A rank without rows must still take part in the step.
    parts = list(_parts(ours or chosen[:1], rl.microbatch))
    for number, part in enumerate(parts):
        batch = _rows([row for row, _, _ in part], policy)
        logprobs, _ = token_logprobs(engine.forward(), batch, rl.temperature)
        old = _padded([one for _, one, _ in part], logprobs)
        advantages = logprobs.new_tensor([row.advantage for row, _, _ in part]).unsqueeze(1)  # (B, 1)
        weights = logprobs.new_tensor([weight for _, _, weight in part]).unsqueeze(1)  # (B, 1)
        per_token, clipped = token_losses(logprobs, old, advantages, weights, rl)
        mask = batch.answer if ours else torch.zeros_like(batch.answer)
        loss = engine.ranks * (per_token * mask).sum() / tokens
        if not torch.isfinite(loss):
            raise NotFinite("the loss is not finite; lower rl.learning_rate, or check the scores")
        engine.backward(loss, last=number == len(parts) - 1)
        measures.add(loss / engine.ranks, (logprobs - old).exp(), clipped, mask)
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


@torch.no_grad()
def _start(policy: Policy, engine: Engine, part: Sequence[Row], rl: RlConfig) -> list[list[float]]:
    """Log-probabilities of some rows under the policy at the start of the update."""
    logprobs, _ = token_logprobs(engine.forward(), _rows(part, policy), rl.temperature)
    return [line[: len(row.tokens)] for line, row in zip(logprobs.tolist(), part, strict=True)]


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
        self._weights = [one for one in model.parameters() if one.requires_grad]
        self._most = rl.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            self._weights, lr=rl.learning_rate, betas=(0.9, 0.95), weight_decay=rl.weight_decay
        )

    def forward(self) -> Any:
        return self._model

    def backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self._weights, self._most))
        if not math.isfinite(norm):
            raise NotFinite("the gradient is not finite; lower rl.learning_rate, or train in float32")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm


class Tally:
    """Accumulates measures during an update."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self._losses: list[float] = []
        self._ratio = 0.0
        self._highest = 0.0
        self._clipped = 0.0
        self._tokens = 0.0

    def add(self, loss: Tensor, ratio: Tensor, clipped: Tensor, mask: Tensor) -> None:
        self._losses.append(float(loss.detach()))
        self._ratio += float((ratio.detach() * mask).sum())
        self._highest = max(self._highest, float((ratio.detach() * mask).max()))
        self._clipped += float((clipped * mask).sum())
        self._tokens += float(mask.sum())

    def summary(self, weights: Sequence[float], cap: float) -> UpdateMeasures:
        """Measures of the whole update."""
        tokens = max(1.0, self._tokens)
        return UpdateMeasures(
            rows=len(weights),
            loss=sum(self._losses) / len(self.norms),
            gradient_norm=sum(self.norms) / len(self.norms),
            ratio=self._ratio / tokens,
            ratio_max=self._highest,
            clipped=self._clipped / tokens,
            weight=sum(weights) / len(weights),
            truncated=sum(weight >= cap for weight in weights) / len(weights),
        )
