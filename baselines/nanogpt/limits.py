"""Checks the size and format of a checkpoint, without running any code of the variant. Protected."""

import json
import math
import struct
from pathlib import Path

DTYPES = ("F32", "BF16", "F16")
MOST_HEADER = 16 * 2**20
MOST_CONFIG = 64 * 2**10
"""Size limit of config.json, bytes: enough for settings, but not for weights."""


class BadCheckpoint(Exception):
    """A checkpoint that cannot be scored; the message gives the reason in one line."""


def check_checkpoint(folder: Path, size: dict) -> int:
    """The number of parameters of a folder with model.safetensors and config.json. Raises BadCheckpoint if it exceeds
    max_parameters, if the files exceed max_bytes, or if they are invalid."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    if [entry.name for entry in entries] != ["config.json", "model.safetensors"]:
        found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise BadCheckpoint(f"the checkpoint must hold config.json and model.safetensors, found {found}")
    for entry in entries:
        if entry.is_symlink() or not entry.is_file():
            raise BadCheckpoint(f"{entry.name} is not a regular file")
    config, weights = (entry.stat().st_size for entry in entries)
    if config > MOST_CONFIG or config + weights > size["max_bytes"]:
        raise BadCheckpoint(
            f"config.json has {config} bytes (allowed {MOST_CONFIG}), with the weights {config + weights} "
            f"(allowed {size['max_bytes']})"
        )
    parameters = sum(math.prod(shape) for shape in read_header(folder / "model.safetensors").values())
    if parameters > size["max_parameters"]:
        raise BadCheckpoint(f"{parameters} parameters, allowed {size['max_parameters']}")
    return parameters


def read_header(path: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors of a safetensors file with consistent header, types and length. Raises
    BadCheckpoint.

    The format: eight bytes with the header's length, little-endian; the header, JSON; the numbers, without gaps
    (github.com/huggingface/safetensors).
    """
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 0 < length <= MOST_HEADER:
            raise BadCheckpoint(f"model.safetensors has no header: it announces {length} bytes")
        text = file.read(length)
    try:
        header = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        spans = sorted((*entry["data_offsets"], entry["dtype"], entry["shape"]) for entry in header.values())
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise BadCheckpoint(f"the header of model.safetensors cannot be read: {str(error)[:100]}") from error
    end = 0
    for begin, until, dtype, shape in spans:
        if dtype not in DTYPES:
            raise BadCheckpoint(f"a tensor has type {str(dtype)[:20]}, expected one of {', '.join(DTYPES)}")
        if not (isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)):
            raise BadCheckpoint(f"a tensor has shape {str(shape)[:40]}")
        if begin != end or until != begin + (4 if dtype == "F32" else 2) * math.prod(shape):
            raise BadCheckpoint("the tensors of model.safetensors do not fill it without gaps")
        end = until
    if path.stat().st_size != 8 + length + end:
        raise BadCheckpoint(f"model.safetensors has {path.stat().st_size} bytes, its header tells {8 + length + end}")
    return {name: entry["shape"] for name, entry in header.items()}
