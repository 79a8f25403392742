"""Cost of the checks of pre-training's evaluator, and of scoring one token at a time. Prints ratios.

    python -m tests.benchmarks.evaluator_cost [KEY=VALUE …]

It uses the untrained model of a scale (default: scale=tiny), which costs as much as a trained one. Numbers are CPU seconds
of all processes on one core, which is what a trial at tiny scale has: two busy cores slow each other down, and scoring
without checks uses only one. The best of several rounds is reported, so that the load of the machine matters little.
With a GPU they are wall seconds, and the machine must be otherwise idle. Start-up is reported separately.

One token at a time without a cache works for any variant: for each token, a forward pass over the tokens so far. With a
key-value cache it is written by hand below, for the baseline only, at its fastest batch size.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from pipeline.setup.compose import compose_config
from tests.toy import ROOT

NANOGPT = ROOT / "baselines/nanogpt"
sys.path.insert(0, str(NANOGPT))

import evaluate  # noqa: E402
import model  # noqa: E402
import scoring  # noqa: E402
import settings  # noqa: E402
from exchange import Exchange, Layout  # noqa: E402
from shards import write_shard  # noqa: E402


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the configuration")
    overrides = ["baseline=nanogpt", "scale=tiny", *parser.parse_args().overrides]
    config = compose_config(overrides, None)
    size = json.loads(json.dumps(config.size))
    made_by = getattr(settings, config.baseline.settings_class[config.scale])()
    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        gpt = model.GPT(model.model_config(size, made_by))
        model.save_checkpoint(dict(gpt.named_parameters()), gpt.config, folder / "checkpoint")
        (folder / "size.json").write_text(json.dumps(size))
        asked = size["evaluate"]
        held_out = np.random.default_rng(0).integers(
            0, size["vocabulary"], (asked["rows"] + asked["donors"]) * size["context"] + 1
        )
        write_shard(folder / "validation.bin", held_out, size["vocabulary"])
        device = scoring.pick_device()
        answer = model.load_for_scoring(folder / "checkpoint", size, device)
        gpt = gpt.to(device).eval()
        tokens = asked["rows"] * size["context"]
        print(f"{config.scale}: {asked['rows']} rows of {size['context']} tokens, on {device}")
        rounds = [(with_checks(folder, size), without_checks(folder, size)) for _ in range(3)]
        checked, start_up, probes = min(one for one, _ in rounds)
        plain = min(other for _, other in rounds)
        print(f"start-up of two servers: {start_up:.2f} s")
        print(f"scored without checks: {1e6 * plain / tokens:.1f} us a token, {plain:.2f} s")
        print(
            f"scored with all checks, {probes} probes: {checked / plain:.2f} times that (at most 2.5), {checked:.2f} s"
        )
        text = torch.from_numpy(held_out[: 64 * size["context"]]).view(64, -1).to(device)
        no_cache = min(seconds_a_token(lambda batch: one_at_a_time(answer, batch), text[:b]) for b in (1, 8, 32))
        print(f"one token at a time: {no_cache * tokens / checked:.1f} times the checked scoring")
        assert torch.allclose(cached(gpt, text[:2]), answer(text[:2]), atol=1e-3)
        best = min((seconds_a_token(lambda batch: cached(gpt, batch), text[:b]), b) for b in (1, 8, 32, 64))
        print(f"with a key-value cache, batch {best[1]}: {best[0] * tokens / checked:.1f} times the checked scoring")


@contextlib.contextmanager
def servers(folder: Path, count: int) -> Iterator[tuple[Path, list[psutil.Process]]]:
    """Servers of the unmodified baseline; stopped afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as exchange:
        started = []
        for number in range(count):
            own = Path(exchange) / str(number)
            own.mkdir()
            argv = [sys.executable, "serve.py", "--exchange", own, "--checkpoint", folder / "checkpoint"]
            started.append(subprocess.Popen([*argv, "--size", folder / "size.json"], cwd=NANOGPT))
        try:
            yield Path(exchange), [psutil.Process(server.pid) for server in started]
        finally:
            for server in started:
                server.kill()
                server.wait()


def with_checks(folder: Path, size: dict) -> tuple[float, float, int]:
    """Seconds of scoring and of start-up, and the number of probes."""
    with servers(folder, 2) as (exchange, processes):
        scorer = evaluate.Scorer(
            evaluate.read_held_out(folder / "validation.bin", size), size, exchange, np.random.default_rng()
        )
        scorer.wait_until_ready()
        start_up = used(processes)
        with metered(processes) as spent:
            scorer.run()
        scorer.close()
    return spent[0], start_up, len(scorer.compared)


def without_checks(folder: Path, size: dict) -> float:
    """Seconds of the same scoring by one trusted server."""
    limits, device = size["evaluate"], scoring.pick_device()
    with servers(folder, 1) as (exchange, processes):
        windows = evaluate.read_held_out(folder / "validation.bin", size).windows
        batch, context = limits["batch"], size["context"]
        server = Exchange(exchange / "0", Layout(batch, context, context, size["vocabulary"]))
        server.wait_until_ready(limits["start_limit_s"])
        everywhere = np.tile(np.arange(context), (batch, 1))
        with metered(processes) as spent:
            for first in range(0, len(windows), batch):
                rows = np.resize(windows[first : first + batch], (batch, context + 1))
                server.ask(rows[:, :-1], everywhere)
                logits = torch.from_numpy(server.answer(limits["call_limit_s"])).to(device)
                scoring.losses(logits, torch.from_numpy(rows[:, 1:]).to(device)).cpu()
        server.close()
    return spent[0]


@contextlib.contextmanager
def metered(processes: list[psutil.Process]) -> Iterator[list[float]]:
    """Appends to an empty list the CPU seconds of the block, here and in the servers; with a GPU, wall seconds."""
    spent: list[float] = []
    clock = time.perf_counter if torch.cuda.is_available() else lambda: time.process_time() + used(processes)
    begun = clock()
    yield spent
    spent.append(clock() - begun)


def used(processes: list[psutil.Process]) -> float:
    """CPU seconds of the servers so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def seconds_a_token(run: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    """The best of two calls."""
    clock = time.process_time if rows.device.type == "cpu" else time.perf_counter
    spent = []
    with torch.inference_mode():
        for _ in range(2):
            begun = clock()
            run(rows).sum().item()
            spent.append((clock() - begun) / rows.numel())
    return min(spent)


def one_at_a_time(answer: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Logits (B, T, V) of the last position of each prefix of tokens (B, T)."""
    return torch.stack([answer(tokens[:, : at + 1])[:, -1] for at in range(tokens.shape[1])], dim=1)


@torch.inference_mode()
def cached(gpt: "model.GPT", tokens: Tensor) -> Tensor:
    """The same logits (B, T, V): each position is computed once, and its keys and values are kept."""
    b, t = tokens.shape
    shape = (b, gpt.config["heads"], t, gpt.config["width"] // gpt.config["heads"])
    kept = [(torch.empty(shape, device=tokens.device), torch.empty(shape, device=tokens.device)) for _ in gpt.blocks]
    logits = []
    for at in range(t):
        x = gpt.tokens(tokens[:, at : at + 1]) + gpt.positions.weight[at]  # (B, 1, D)
        for block, (keys, values) in zip(gpt.blocks, kept, strict=True):
            attention, normed = block.attention, block.norm_attention(x)
            keys[:, :, at : at + 1] = attention.split(attention.key(normed))
            values[:, :, at : at + 1] = attention.split(attention.value(normed))
            mixed = torch.nn.functional.scaled_dot_product_attention(
                attention.split(attention.query(normed)), keys[:, :, : at + 1], values[:, :, : at + 1]
            )
            x = x + attention.project(mixed.transpose(1, 2).flatten(-2))
            x = x + block.feed(block.norm_feed(x))
        logits.append(gpt.norm(x) @ gpt.tokens.weight.T)
    return torch.cat(logits, dim=1)


if __name__ == "__main__":
    main()
