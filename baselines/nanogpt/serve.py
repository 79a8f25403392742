"""Serves the scorer: the model of this folder, however it was changed, computes logits for the given tokens.

Runs beside the variant's model.py in processes of its own (exchange.py). It never sees a target: the token that follows
a row is not among the tokens. A row's later tokens must not affect earlier positions; the scorer checks that
(probes.py). Protected, which only keeps it simple: nothing that this process reports is trusted.
"""

import argparse
import json
from pathlib import Path

import torch

from exchange import opened
from model import load_for_scoring


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--exchange", type=Path, required=True, help="folder shared with the scorer alone")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with model.safetensors and config.json")
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    args = parser.parse_args()
    size = json.loads(args.size.read_text())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_for_scoring(args.checkpoint, size, device)
    with opened(args.exchange) as calls, torch.inference_mode():
        for call in calls:
            tokens = torch.tensor(call.tokens, device=device)  # (B, T), a copy
            logits = model(tokens)  # (B, T, V)
            expected = (*tokens.shape, call.logits.shape[2])
            if logits.shape != expected:
                raise SystemExit(f"the model gives logits of shape {tuple(logits.shape)}, expected {expected}")
            positions = torch.tensor(call.positions, device=device)  # (B, P)
            rows = torch.arange(len(tokens), device=device)[:, None]  # (B, 1)
            torch.from_numpy(call.logits).copy_(logits[rows, positions])  # (B, P, V), to float32


if __name__ == "__main__":
    main()
