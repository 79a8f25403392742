"""Token shards: a header of 256 int32 (magic, version, number of tokens, vocabulary), then the tokens as uint16.

The format of llm.c's data (github.com/karpathy/llm.c, dev/data), whose fourth number is not used there. Protected.
"""

import os
from pathlib import Path

import numpy as np

MAGIC, VERSION, HEADER = 20240520, 1, 256


def write_shard(path: Path, tokens: np.ndarray, vocabulary: int) -> None:
    """Writes tokens (N,) as one file, atomically."""
    if vocabulary > 2**16:
        raise SystemExit(f"a vocabulary of {vocabulary} does not fit into the shards' 16 bits; at most {2**16}")
    if tokens.size and int(tokens.max()) >= vocabulary:
        raise SystemExit(f"{path}: token {int(tokens.max())} is outside of the vocabulary of {vocabulary}")
    header = np.zeros(HEADER, dtype="<i4")
    header[:4] = MAGIC, VERSION, len(tokens), vocabulary
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(header.tobytes())
        file.write(tokens.astype("<u2").tobytes())
    os.replace(partial, path)


def read_shard(path: Path, vocabulary: int) -> np.ndarray:
    """The tokens (N,) of a shard, memory-mapped. Ends the program with one line if the file is invalid; `vocabulary` is
    the size of the model's table."""
    size = path.stat().st_size
    if size < 4 * HEADER:
        raise SystemExit(f"{path} is no token shard: {size} bytes hold no header; make it again with prepare")
    magic, version, count, words = (int(number) for number in np.fromfile(path, dtype="<i4", count=4))
    if (magic, version) != (MAGIC, VERSION):
        raise SystemExit(f"{path} is no token shard of version {VERSION}: its header begins with {magic}, {version}")
    if size != 4 * HEADER + 2 * count:
        raise SystemExit(f"{path} is truncated: {count} tokens announced, {(size - 4 * HEADER) // 2} there")
    if words > vocabulary:
        raise SystemExit(f"{path} was written with a vocabulary of {words}, the model's table has {vocabulary} rows")
    return np.memmap(path, dtype="<u2", mode="r", offset=4 * HEADER, shape=(count,))
