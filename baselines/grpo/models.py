"""Tokenizer, model and checkpoint on disk. Protected: the evaluator loads with this file."""

import json
import math
import os
import shutil
import stat
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

logging.disable_progress_bar()


class BadCheckpoint(Exception):
    """A checkpoint that cannot be scored; the message gives the reason in one line."""


class Tokenizer:
    """A fast tokenizer read from tokenizer.json and tokenizer_config.json; text in, ids out, nothing added."""

    def __init__(self, folder: Path) -> None:
        self.fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self.eos = self._id(config["eos_token"])
        self.pad = self._id(config.get("pad_token") or config["eos_token"])

    def _id(self, token: str | dict) -> int:
        return self.fast.token_to_id(token if isinstance(token, str) else token["content"])

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Texts to ids."""
        return [encoding.ids for encoding in self.fast.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Ids to texts, without special tokens."""
        return self.fast.decode_batch(ids, skip_special_tokens=True)


def pick_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(size: dict, device: torch.device) -> torch.dtype:
    """The type of matrix products and of stored checkpoints: the size's dtype on a GPU, float32 on a CPU."""
    return getattr(torch, size["dtype"]) if device.type == "cuda" else torch.float32


def load_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """The model of a folder with config.json and model.safetensors, float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model.to(device).eval()


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Name -> weight; of weights that share memory (tied embeddings) only the first."""
    seen: set[int] = set()
    weights = {}
    for name, weight in model.state_dict().items():
        if weight.data_ptr() not in seen:
            seen.add(weight.data_ptr())
            weights[name] = weight
    return weights


def save_model(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """Writes config.json and model.safetensors; the folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: weight.to(dtype).cpu().contiguous() for name, weight in weights_of(model).items()}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "config.json").write_text(model.config.to_json_string())
    os.replace(partial, folder)


def load_checkpoint(checkpoint: Path, config_folder: Path, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Weights of an untrusted checkpoint in the architecture of a trusted config.json; raises BadCheckpoint.

    Only the tensors of model.safetensors are read from the checkpoint: names, shapes and types must be those of the
    trusted model, and all numbers finite.
    """
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config_folder), dtype=dtype)
    expected = weights_of(model)
    path = checkpoint / "model.safetensors"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BadCheckpoint("model.safetensors is not a regular file")
        if status.st_size > 2**20 + 4 * sum(weight.numel() for weight in expected.values()):
            raise BadCheckpoint(f"model.safetensors is larger than the model: {status.st_size} bytes")
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != set(expected):
                odd = sorted(names ^ set(expected))
                raise BadCheckpoint(f"{len(odd)} weights missing or unknown, such as {odd[0][:80]}")
            for name, weight in expected.items():
                _copy_weight(file, name, weight)
    except FileNotFoundError as error:
        raise BadCheckpoint("no model.safetensors in the checkpoint") from error
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"model.safetensors cannot be read: {' '.join(str(error).split())[:200]}") from error
    return model.to(device).eval()


def _copy_weight(file, name: str, weight: Tensor) -> None:
    found = file.get_slice(name)
    if found.get_dtype() not in ("F32", "BF16", "F16"):
        raise BadCheckpoint(f"{name} has type {found.get_dtype()}, expected F32, BF16 or F16")
    if found.get_shape() != list(weight.shape):
        raise BadCheckpoint(f"{name} has shape {found.get_shape()}, expected {list(weight.shape)}")
    tensor = file.get_tensor(name)
    if not math.isfinite(tensor.float().abs().sum().item()):
        raise BadCheckpoint(f"{name} has numbers that are not finite")
    weight.copy_(tensor)
