"""GPT-2: a transformer that predicts the next token from those before it; read top to bottom.

Departs from GPT-2 (github.com/karpathy/nanoGPT) as the baseline of arXiv 2601.14525 does: RMSNorm in place of
LayerNorm, no biases, no dropout. The table of tokens is also the last layer (tied).
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal self-attention with several heads."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        width = config["width"]
        self.heads = config["heads"]
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.project = nn.Linear(width, width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """One part per head: (B, T, D) -> (B, H, T, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        # what each position looks for, and what it is found by
        queries = self.split(self.query(x))  # (B, H, T, D / H)
        keys = self.split(self.key(x))  # (B, H, T, D / H)

        # what it hands on
        values = self.split(self.value(x))  # (B, H, T, D / H)

        # each position sees itself and those before it
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)  # (B, H, T, D / H)

        # heads side by side again
        return self.project(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Two layers with GELU between them, at each position alone."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        width = config["width"]
        hidden = config["expansion"] * width
        self.expand = nn.Linear(width, hidden, bias=False)
        self.project = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = F.gelu(self.expand(x))  # (B, T, 4 D)
        return self.project(hidden)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy and added to the stream."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.norm_attention = nn.RMSNorm(config["width"])
        self.attention = Attention(config)
        self.norm_feed = nn.RMSNorm(config["width"])
        self.feed = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.feed(self.norm_feed(x))


class GPT(nn.Module):
    """Tokens in, logits or loss out."""

    def __init__(self, config: dict) -> None:
        """config: vocabulary, context, layers, width, heads, expansion, initial_std (see model_config)."""
        super().__init__()
        self.config = config
        width = config["width"]
        self.tokens = nn.Embedding(config["vocabulary"], width)

        # one learned vector per position
        self.positions = nn.Embedding(config["context"], width)

        self.blocks = nn.ModuleList(Block(config) for _ in range(config["layers"]))
        self.norm = nn.RMSNorm(width)

        self.initialize()

    def initialize(self) -> None:
        """Weights at the start: normal, the last matrix of each branch smaller with depth, as in GPT-2."""
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue  # gains start at one
            std = self.config["initial_std"]
            if name.endswith("project.weight"):
                std /= (2 * self.config["layers"]) ** 0.5
            nn.init.normal_(weight, std=std)

    def logits(self, tokens: Tensor) -> Tensor:
        """Of the token that follows each position: (B, T) -> (B, T, V)."""
        x = self.tokens(tokens)  # (B, T, D)

        # where each token stands
        x = x + self.positions.weight[: tokens.shape[1]]  # (B, T, D)

        for block in self.blocks:
            x = block(x)
        x = self.norm(x)

        # compared with each token of the table
        return F.linear(x, self.tokens.weight)  # (B, T, V)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) of tokens (B, T); with the tokens that follow as targets (B, T), the mean loss in nats."""
        logits = self.logits(tokens)
        if targets is None:
            return logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def model_config(size: dict, settings) -> dict:
    """All that GPT needs to be built, as numbers; it is stored with the weights."""
    return {
        "vocabulary": size["vocabulary"],
        "context": size["context"],
        "layers": size["layers"],
        "width": size["width"],
        "heads": size["heads"],
        "expansion": settings.expansion,
        "initial_std": settings.initial_std,
    }


def save_checkpoint(weights: dict[str, Tensor], config: dict, folder: Path) -> None:
    """Writes model.safetensors and config.json; the folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    whole = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(whole, partial / "model.safetensors")
    (partial / "config.json").write_text(json.dumps(config))
    os.replace(partial, folder)


def load_for_scoring(checkpoint: Path, size: dict, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The trained model as a function: token ids (B, T), int64 -> logits (B, T, V), on `device`.

    Reads model.safetensors and config.json of the checkpoint. On a GPU matrices are multiplied in the size's dtype.
    """
    model = GPT(json.loads((checkpoint / "config.json").read_text()))
    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
    model.to(device).eval()
    dtype = getattr(torch, size["dtype"])

    @torch.inference_mode()
    def logits(tokens: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=device.type == "cuda" and dtype != torch.float32):
            return model(tokens)

    return logits
