"""Pre-training of GPT-2 on a fixed set of tokens within a budget; read top to bottom.

Departs from nanoGPT (github.com/karpathy/nanoGPT): DeepSpeed runs the steps, each sequence is seen once before any is
seen again, and the learning rate follows the budget, of steps or of wall time. The weights are float32; on a GPU
matrices are multiplied in bfloat16. One process or many (ranks.py); the number of them changes no result but rounding.

Each step seeds itself, so that a resumed training equals the unbroken one.
"""

import argparse
import json
import math
import os
import shutil
import time
from pathlib import Path

import torch
from torch import Tensor

from clock import Budget
from data import Sequences
from model import GPT, model_config, save_checkpoint
from optimizer import learning_rate, make_optimizer
from ranks import Nodes, Rank, join, leaving, need_compiler, ranks_here, run_ranks, seconds_before, start_deepspeed
from settings import SCALES, deepspeed_config
from throughput import flops_per_token, peak_flops


def update(engine, sequences: Sequences, position: int, rank: Rank) -> tuple[Tensor, Tensor]:
    """One step on the sequences from a position on; mean loss of this rank, and length of the gradient before clipping.

    Rank r takes every count-th microbatch, so that any number of ranks sees the same sequences in a step.
    """
    micro, parts = engine.train_micro_batch_size_per_gpu(), engine.gradient_accumulation_steps()
    losses, norm = [], None
    for part in range(parts):
        first = position + (part * rank.count + rank.number) * micro
        tokens, targets = sequences.rows(range(first, first + micro), rank.device)  # (micro, T) each
        loss = engine(tokens, targets)
        engine.backward(loss)
        losses.append(loss.detach())
        if part == parts - 1 and not engine.zero_optimization():
            norm = torch.nn.utils.get_total_norm([w.grad for w in engine.module.parameters() if w.grad is not None])
        engine.step()  # accumulates, and moves the weights after the last part
    if norm is None:
        norm = torch.as_tensor(engine.get_global_grad_norm())  # the gradient itself is sharded
    return torch.stack(losses).mean(), norm


def train(data: Path, output: Path, seed: int, size: dict, budget_text: str, rank: Rank) -> None:
    """Trains from data, or resumes from output/resume, until the budget is used up; then writes output/checkpoint."""
    if (output / "checkpoint").exists():
        return  # an earlier try has finished
    settings = SCALES[size["scale"]]()
    for name, value in size.get("settings", {}).items():  # of a smoke test
        setattr(settings, name, value)
    sequences = Sequences(data, size["context"], size["vocabulary"], seed)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    model = GPT(model_config(size, settings)).to(rank.device)
    optimizer = make_optimizer(model, settings)
    if settings.compile:
        need_compiler("torch.compile")
        model.compile()
    dtype = size["dtype"] if rank.device.type == "cuda" else "float32"
    engine = start_deepspeed(model, optimizer, deepspeed_config(settings, dtype), rank)
    state = load_state(output, engine)
    step, position = state["step"], state["position"]
    budget = Budget(budget_text, state["seconds"] + seconds_before(), size["reserve_s"])
    saved_at = budget.seconds()
    peak = peak_flops(rank.device)
    counted = sum(weight.numel() for name, weight in model.named_parameters() if "positions" not in name)
    flops = flops_per_token(counted, size["layers"], size["width"], size["context"])

    metrics_path = output / "metrics.jsonl" if rank.is_first else Path(os.devnull)
    with metrics_path.open("a") as metrics_file:
        while True:
            started = time.monotonic()
            progress, over = rank.agree(budget.progress(step), budget.over(step))
            if over:
                break
            torch.manual_seed(seed * 1_000_003 + step)
            rate = learning_rate(step, progress, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            loss, norm = update(engine, sequences, position, rank)
            step += 1
            position += engine.train_batch_size()
            metrics = {
                "step": step,
                "loss": rank.mean(loss),
                "learning_rate": rate,
                "grad_norm": norm.item(),
            }
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise SystemExit(f"step {step}: {name} is {value}, training cannot go on")
            speed = engine.train_batch_size() * size["context"] / (time.monotonic() - started)
            metrics |= {
                "tokens_per_s": round(speed, 1),
                "mfu": speed * flops / (peak * rank.count) if peak else None,  # none: the peak is unknown
                "seconds": round(budget.seconds(), 3),
            }
            print(json.dumps(metrics), file=metrics_file, flush=True)
            (save_now,) = rank.agree(budget.seconds() - saved_at >= size["resume_every_s"])
            if save_now:
                save_state(output, engine, step, position, budget.seconds(), rank)
                saved_at = budget.seconds()
    if budget.continues:
        save_state(output, engine, step, position, budget.seconds(), rank)
    if rank.is_first:
        save_checkpoint(dict(model.named_parameters()), model.config, output / "checkpoint")


def save_state(output: Path, engine, step: int, position: int, seconds: float, rank: Rank) -> None:
    """Writes what a resume requires: a folder by DeepSpeed, then state.json, replaced atomically, which names it."""
    folder, name = output / "resume", f"step_{step}"
    engine.save_checkpoint(str(folder), tag=name, save_latest=False)
    rank.wait()  # all ranks have written theirs
    if not rank.is_first:
        return
    shapes = {name: list(weight.shape) for name, weight in engine.module.named_parameters()}
    state = {"folder": name, "step": step, "position": position, "seconds": seconds, "shapes": shapes}
    (folder / "state.partial").write_text(json.dumps(state))
    os.replace(folder / "state.partial", folder / "state.json")
    for old in folder.iterdir():
        if old.is_dir() and old.name != name:
            shutil.rmtree(old)


def load_state(output: Path, engine) -> dict:
    """Restores output/resume if it exists, and drops the metrics of steps that will be repeated."""
    path = output / "resume" / "state.json"
    state = {"step": 0, "position": 0, "seconds": 0.0}
    if path.exists():
        state = json.loads(path.read_text())
        shapes = {name: list(weight.shape) for name, weight in engine.module.named_parameters()}
        odd = sorted(name for name in {*shapes, *state["shapes"]} if shapes.get(name) != state["shapes"].get(name))
        if odd:
            saved, now = state["shapes"].get(odd[0], "absent"), shapes.get(odd[0], "absent")
            raise SystemExit(
                f"{path.parent} is of another architecture: {odd[0]} is {saved} there and {now} here; remove the folder"
            )
        engine.load_checkpoint(str(path.parent), tag=state["folder"])
    metrics = output / "metrics.jsonl"
    if metrics.exists() and engine.global_rank == 0:
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
    parser.add_argument("--data", type=Path, required=True, help="folder with the shards of prepare.py")
    parser.add_argument("--output", type=Path, required=True, help="metrics.jsonl, resume/ and checkpoint/ go here")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    parser.add_argument("--budget", default="steps=1", help="steps=N or seconds=N, counted from the process' start")
    parser.add_argument("--ranks", type=int, help="processes on this node (default: one a GPU)")
    parser.add_argument("--smoke", action="store_true", help="one step of a minimal model on the CPU")
    args = parser.parse_args()
    size = json.loads(args.size.read_text())
    args.output.mkdir(parents=True, exist_ok=True)
    if args.smoke:
        size, args.budget = size | size["smoke"], "steps=1"
    nodes, here = Nodes.from_environment(), 1 if args.smoke else ranks_here(args.ranks)
    if "RANK" not in os.environ and nodes.count * here > 1 and not args.smoke:
        run_ranks(here, nodes)
        return
    with leaving(), join(on_cpu=args.smoke) as rank:
        train(args.data, args.output, args.seed, size, args.budget, rank)


if __name__ == "__main__":
    main()
