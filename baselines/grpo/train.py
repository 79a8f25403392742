"""GRPO post-training of a language model on problems with checkable answers; read top to bottom.

Each step samples groups of rollouts, rewards them, and takes a few clipped policy-gradient steps on them (grpo.py).
Departs from DeepSeekMath (arXiv 2402.03300): no KL term, no reference model, one round. One process, one device.
The weights are float32; on a GPU matrices are multiplied in bfloat16.

Each step seeds itself, so that a resumed training equals the unbroken one.
"""

import argparse
import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from clock import Budget
from grpo import group_advantages, policy_loss, token_weights
from models import Tokenizer, compute_dtype, load_model, pick_device, save_model
from problems import read_problems
from rollout import Rollouts, collect
from sampling import make_sampler
from settings import SCALES


def make_optimizer(model, settings) -> torch.optim.Optimizer:
    """AdamW over all weights."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )


def learning_rate(progress: float, settings) -> float:
    """The learning rate when a share `progress` (0 to 1) of the training is done: constant after the warm-up."""
    if progress < settings.warmup:
        return settings.learning_rate * progress / settings.warmup
    return settings.learning_rate


def score_tokens(model, ids: Tensor, attention: Tensor, mask: Tensor, settings, dtype) -> tuple[Tensor, Tensor]:
    """Log-probability of each sampled token and entropy of its distribution: ids (B, P + C) -> two of (B, C)."""
    length = mask.shape[1]
    positions = (attention.cumsum(dim=1) - 1).clamp(min=0)  # (B, P + C)
    with torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(
            ids, attention_mask=attention, position_ids=positions, logits_to_keep=length + 1, use_cache=False
        ).logits  # (B, C + 1, V)
    logprobs = (logits[:, :-1].float() / settings.temperature).log_softmax(dim=-1)  # (B, C, V)
    with torch.no_grad():  # to look at; in the loss it would need its gradient
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)  # (B, C)
    return logprobs.gather(-1, ids[:, -length:, None]).squeeze(-1), entropy


def update(model, optimizer, rollouts: Rollouts, settings, dtype) -> dict[str, float]:
    """Improves the weights on the rollouts of one step, one minibatch after the other."""
    rewards = rollouts.rewards.view(-1, settings.group_size)  # (G, K)
    advantages = group_advantages(rewards, settings).view(-1, 1)  # (B, 1)
    device = model.device
    batch = [t.to(device) for t in (rollouts.ids, rollouts.attention, rollouts.mask, advantages)]
    count = len(rewards.view(-1))

    with torch.no_grad():
        parts = [
            score_tokens(model, *[t[rows] for t in batch[:3]], settings, dtype)
            for rows in torch.arange(count).split(settings.microbatch)
        ]
        old_logprobs = torch.cat([logprobs for logprobs, _ in parts])  # (B, C)
        entropies = torch.cat([entropy for _, entropy in parts])  # (B, C)

    model.train()
    loss_sum, norms = 0.0, []
    for _ in range(settings.epochs):
        order = torch.randperm(count)
        for minibatch in order.split(settings.minibatch):
            weights = torch.zeros_like(old_logprobs)  # (B, C)
            weights[minibatch] = token_weights(batch[2][minibatch])
            for rows in minibatch.split(settings.microbatch):
                ids, attention, mask, part = (t[rows] for t in batch)
                logprobs, entropy = score_tokens(model, ids, attention, mask, settings, dtype)
                loss = policy_loss(logprobs, old_logprobs[rows], entropy, part, mask, weights[rows], settings)
                loss.backward()
                loss_sum += loss.item()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm).item())
            optimizer.step()
            optimizer.zero_grad()
    return {
        "loss": loss_sum / len(norms),
        "grad_norm": sum(norms) / len(norms),
        "entropy": ((entropies * batch[2]).sum() / batch[2].sum()).item(),
    }


def train(data: Path, output: Path, seed: int, size: dict, budget_text: str) -> None:
    """Trains from data, or resumes from output/resume, until the budget is used up; then writes output/checkpoint."""
    if (output / "checkpoint").exists():
        return  # an earlier try has finished
    settings = SCALES[size["scale"]]()
    for name, value in size.get("settings", {}).items():  # of a smoke test
        setattr(settings, name, value)
    device = pick_device()
    dtype = compute_dtype(size, device)
    problems = read_problems(data / "problems.jsonl")
    tokenizer = Tokenizer(data / "model")
    model = load_model(data / "model", device)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = make_optimizer(model, settings)
    state = load_state(output, model, optimizer)
    step, memory = state["step"], state["memory"]
    budget = Budget(budget_text, state["seconds"], size["reserve_s"])
    saved_at = budget.seconds()
    sampler = make_sampler(model, data / "model", tokenizer, size)
    watched = next(weight for weight in model.base_model.layers[0].parameters() if weight.dim() == 2)

    with (output / "metrics.jsonl").open("a") as metrics_file:
        while not budget.over(step):
            torch.manual_seed(seed * 1_000_003 + step)
            rate = learning_rate(budget.progress(step), settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            sampler.update(model)
            rollouts = collect(sampler, tokenizer, problems, step, seed, memory, settings, size)
            before = watched.detach().clone()
            metrics = update(model, optimizer, rollouts, settings, dtype)
            step += 1
            metrics = {
                "step": step,
                "reward": rollouts.rewards.mean().item(),
                **metrics,
                "update": (watched.detach() - before).pow(2).mean().sqrt().item(),  # of one weight matrix, RMS
                "learning_rate": rate,
                "tokens": rollouts.mask.sum(dim=1).mean().item(),
                "finished": rollouts.finished.mean().item(),
                "seconds": round(budget.seconds(), 3),
            }
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise SystemExit(f"step {step}: {name} is {value}, training cannot go on")
            print(json.dumps(metrics), file=metrics_file, flush=True)
            if budget.seconds() - saved_at >= size["resume_every_s"]:
                save_state(output, model, optimizer, step, memory, budget.seconds())
                saved_at = budget.seconds()
    if budget.continues:
        save_state(output, model, optimizer, step, memory, budget.seconds())
    save_model(model, output / "checkpoint", dtype)


def save_state(output: Path, model, optimizer, step: int, memory: dict, seconds: float) -> None:
    """Writes what a resume requires as one file, replaced atomically."""
    folder = output / "resume"
    folder.mkdir(exist_ok=True)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "memory": memory,
        "seconds": seconds,
    }
    torch.save(state, folder / "state.partial")
    os.replace(folder / "state.partial", folder / "state.pt")


def load_state(output: Path, model, optimizer) -> dict:
    """Restores output/resume if it exists, and drops the metrics of steps that will be repeated."""
    path = output / "resume" / "state.pt"
    state = {"step": 0, "memory": {}, "seconds": 0.0}
    if path.exists():
        state = torch.load(path, map_location=model.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    metrics = output / "metrics.jsonl"
    if metrics.exists():
        whole, _, _ = metrics.read_text().rpartition("\n")  # the last line may be truncated
        rows = [json.loads(line) for line in whole.splitlines()]
        state["seconds"] = max([state["seconds"]] + [row["seconds"] for row in rows])  # lost steps took time too
        kept = metrics.with_name("metrics.partial")
        kept.write_text("".join(json.dumps(row) + "\n" for row in rows if row["step"] <= state["step"]))
        os.replace(kept, metrics)
    return state


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="training data, from prepare.py")
    parser.add_argument("--output", type=Path, required=True, help="metrics.jsonl, resume/ and checkpoint/ go here")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    parser.add_argument("--budget", default="steps=1", help="steps=N or seconds=N, counted from the process' start")
    parser.add_argument("--smoke", action="store_true", help="one step on a minimal model")
    args = parser.parse_args()
    size = json.loads(args.size.read_text())
    args.output.mkdir(parents=True, exist_ok=True)
    if args.smoke:
        train(args.data / "smoke", args.output, args.seed, size | size["smoke"], "steps=1")
    else:
        train(args.data, args.output, args.seed, size, args.budget)


if __name__ == "__main__":
    main()
