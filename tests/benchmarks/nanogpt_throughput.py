"""Throughput of the baseline, compared with a plain PyTorch loop with DistributedDataParallel on the same model and
data.

    python tests/benchmarks/nanogpt_throughput.py [--scale tiny] [--ranks 1] [--steps 20] [--rounds 5]

Both train alternately, some steps each, in the same processes, and the medians over rounds are compared. On a CPU the
program measures CPU time, so that the load of the machine does not affect the ratio; with a GPU, wall time. Prints
tokens per second per rank and the ratio; --ranks sets the number of processes.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.nn.parallel import DistributedDataParallel

ROOT = Path(__file__).resolve().parents[2]
NANOGPT = ROOT / "baselines" / "nanogpt"
sys.path.insert(0, str(NANOGPT))

# The classification of `data` would depend on a folder data/ in the checkout.
# isort: off
from data import Sequences  # noqa: E402
from model import GPT, model_config  # noqa: E402
from optimizer import make_optimizer  # noqa: E402
from ranks import Nodes, Rank, join, leaving, ranks_here, run_ranks, start_deepspeed  # noqa: E402
from settings import SCALES, deepspeed_config  # noqa: E402
from shards import write_shard  # noqa: E402
from train import update  # noqa: E402
# isort: on


def deepspeed_step(size: dict, settings, dtype: str, sequences: Sequences, rank: Rank) -> Callable[[int], float]:
    """The baseline's own step, as a function of the position in the data; returns the loss."""
    torch.manual_seed(0)
    model = GPT(model_config(size, settings)).to(rank.device)
    optimizer = make_optimizer(model, settings)
    if settings.compile:
        model.compile()
    engine = start_deepspeed(model, optimizer, deepspeed_config(settings, dtype), rank)
    return lambda position: update(engine, sequences, position, rank)[0].item()


def plain_step(size: dict, settings, dtype: str, sequences: Sequences, rank: Rank) -> Callable[[int], float]:
    """The same step, written by hand."""
    torch.manual_seed(0)
    model = GPT(model_config(size, settings)).to(rank.device)
    optimizer = make_optimizer(model, settings)
    if settings.compile:
        model.compile()
    parallel = DistributedDataParallel(model, device_ids=[rank.device] if rank.device.type == "cuda" else None)
    micro, parts = settings.microbatch, settings.batch // (settings.microbatch * rank.count)

    def step(position: int) -> float:
        losses = []
        for part in range(parts):
            first = position + (part * rank.count + rank.number) * micro
            tokens, targets = sequences.rows(range(first, first + micro), rank.device)
            last = part == parts - 1
            with contextlib.nullcontext() if last else parallel.no_sync():
                with torch.autocast(rank.device.type, getattr(torch, dtype), enabled=dtype != "float32"):
                    loss = parallel(tokens, targets)
                (loss / parts).backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(losses).mean().item()

    return step


def measure(args: argparse.Namespace, data: Path, rank: Rank) -> None:
    """Times both alternately and prints the measurements of the first rank."""
    size = yaml.safe_load((ROOT / "conf" / "size" / f"nanogpt_{args.scale}.yaml").read_text())["size"]
    settings = SCALES[args.scale]()
    settings.microbatch = min(settings.microbatch, settings.batch // rank.count)
    clock = time.monotonic if rank.device.type == "cuda" else time.process_time
    dtype = size["dtype"] if rank.device.type == "cuda" else "float32"
    torch.set_float32_matmul_precision("high")
    if rank.is_first:
        tokens = np.random.default_rng(0).integers(size["vocabulary"], size=4_000_000)
        write_shard(data / "train_000.bin", tokens, size["vocabulary"])
    rank.wait()
    sequences = Sequences(data, size["context"], size["vocabulary"], seed=0)
    steps = {
        "DeepSpeed": deepspeed_step(size, settings, dtype, sequences, rank),
        "plain DDP": plain_step(size, settings, dtype, sequences, rank),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, float] = {}
    for round_number in range(args.rounds + 1):  # the first one is a warm-up
        for name, step in steps.items():
            started = clock()
            for number in range(args.steps):
                losses[name] = step((round_number * args.steps + number) * settings.batch)
            seconds[name].append(clock() - started)
    if rank.is_first:
        device = torch.cuda.get_device_name() if rank.device.type == "cuda" else "CPU"
        speed = {
            name: args.steps * settings.batch * size["context"] / rank.count / statistics.median(times[1:])
            for name, times in seconds.items()
        }
        print(f"{args.scale}, {rank.count} x {device}, {torch.get_num_threads()} threads a rank")
        for name in steps:
            print(f"{name}: {speed[name]:,.0f} tokens/s a rank, loss {losses[name]:.4f}")
        print(f"DeepSpeed / plain DDP: {speed['DeepSpeed'] / speed['plain DDP']:.3f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", choices=sorted(SCALES), default="tiny")
    parser.add_argument("--ranks", type=int, help="processes (default: one a GPU, else one)")
    parser.add_argument("--steps", type=int, default=20, help="steps of each in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="set for the ranks by the process that starts them")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if args.data is None:
            args.data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here = ranks_here(args.ranks or torch.cuda.device_count() or None)
        if "RANK" not in os.environ and here > 1:
            sys.argv += ["--data", str(args.data)]
            run_ranks(here, Nodes.from_environment())
        else:
            stack.enter_context(leaving())
            measure(args, args.data, stack.enter_context(join()))


if __name__ == "__main__":
    main()
