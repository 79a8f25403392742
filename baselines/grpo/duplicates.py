"""Finds texts that repeat held-out ones, exactly or nearly, by the runs of tokens that they share.

A text nearly repeats another if at least `share` of the runs of `length` tokens in the shorter of the two are in the longer
one, too: containment, as in Broder, On the resemblance and containment of documents, 1997. Of long texts only a part of the
runs is compared, one of `every`, chosen by their hashes (the sketch modulo m of the same paper). Training on what evaluation
asks raises scores and teaches nothing: Lee et al., Deduplicating training data makes language models better, ACL 2022.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no token is lost modulo 2^64


class HeldOut:
    """Held-out texts, as arrays of tokens."""

    def __init__(self, length: int, share: float, every: int = 1) -> None:
        self.length, self.share, self.every = length, share, every
        self.whole: set[bytes] = set()
        self.owner: dict[int, int] = {}  # a run's hash to the first text that has it
        self.sizes: list[int] = []  # runs of each text that are compared

    def add(self, tokens: np.ndarray) -> None:
        """One more text."""
        runs = self.runs(tokens)
        for run in runs:
            self.owner.setdefault(run, len(self.sizes))
        self.sizes.append(len(runs))
        self.whole.add(digest(tokens))

    def repeated_by(self, tokens: np.ndarray) -> str | None:
        """`exact` or `near`, if a text repeats one of these; an empty text repeats nothing."""
        if not len(tokens):
            return None
        if digest(tokens) in self.whole:
            return "exact"
        runs = self.runs(tokens)
        found = Counter(self.owner[run] for run in runs if run in self.owner)
        near = any(count >= self.share * min(len(runs), self.sizes[text]) for text, count in found.items())
        return "near" if near else None

    def runs(self, tokens: np.ndarray) -> list[int]:
        """Hashes of the different runs that are compared; a text that is shorter than a run has none."""
        if len(tokens) < self.length:
            return []
        numbers, count = tokens.astype(np.uint64) + np.uint64(1), len(tokens) - self.length + 1
        hashes = np.zeros(count, np.uint64)  # (N,)
        for offset in range(self.length):
            hashes += numbers[offset : offset + count]
            hashes *= BASE  # modulo 2^64
        hashes ^= hashes >> np.uint64(32)
        return list(set(hashes[hashes % np.uint64(self.every) == 0].tolist()))


def digest(tokens: np.ndarray) -> bytes:
    """Equal for equal texts."""
    return hashlib.blake2b(tokens.astype(np.uint64).tobytes(), digest_size=16).digest()


def without(texts: Iterable[np.ndarray], held_out: HeldOut, removed: Counter) -> Iterator[np.ndarray]:
    """The texts that repeat none of the held-out ones; `removed` counts the others by kind."""
    for tokens in texts:
        kind = held_out.repeated_by(tokens)
        if kind is None:
            yield tokens
        else:
            removed[kind] += 1


def note(evaluator: Path, part: str, removed: Counter) -> None:
    """Prints what was left out of a part of the data, and writes it to duplicates.json in the evaluator's folder, from where
    the pipeline takes it into the manifest."""
    path = evaluator / "duplicates.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    noted[part] = {kind: removed[kind] for kind in ("exact", "near")}
    partial = path.with_name(path.name + ".making")
    partial.write_text(json.dumps(noted, indent=1))
    os.replace(partial, path)
    print(
        f"{part}: {removed['exact']} exact and {removed['near']} near repetitions of held-out text left out", flush=True
    )
