"""Scores a checkpoint: the loss per token on held-out text, by a scorer that never runs the variant's code. Protected.

Run from a pristine copy. The variant's model runs in servers (serve.py), processes that receive tokens and return
logits (exchange.py): the first is scored, the others are probed for leaks (probes.py). The loss, its targets and all
checks are computed here. A window is T + 1 tokens of the split; the server sees the first T, and every position counts
alike.

Settings under `evaluate` in the size file:

                      tiny    small  paper
    rows              512     512    2048   windows that are scored
    donors            64      64     64     windows after them, whose text replaces futures and fills up batches
    batch             32      4      8      rows of a call; its logits are in host memory twice
    leak_nats         0.02    0.005  0.005  a leak of this size is found with a power of 99 % (probes.probes_needed)
    gain_nats         2.5     4.0    3.3    the largest mean gain at leaking positions that is covered: a good model's loss
    tolerance_nats    0.05    0.25   0.25   how much an honest answer may differ at one position between two processes
    tolerance_logits  0.01    0.1    0.1    the same in root mean square over positions and logits
    start_limit_s     60      180    300    seconds a server may take to load its model, imports and compilation included
    call_limit_s      30      60     60     seconds a server may take for a call

At tiny scale 0.02 nats is about the standard error of the score; 0.005 would take four times as many probes, and a row
costs as much to probe as to score. At the other scales most of the time goes into logits, of which a probe has four.

Cut points are drawn from the system's randomness, not from the seed, which training knows. They do not affect the
score.
"""

import argparse
import contextlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exchange import BadServer, Exchange, Layout, ServerGone
from limits import BadCheckpoint, check_checkpoint
from probes import DECOYS, Leak, Probes, find_leak, plan_probes, probes_needed
from scoring import checked, losses, pick_device, summary
from shards import read_shard

COLUMNS = 256
"""Maximal number of logits of a position that are compared besides that of the true token."""


@dataclass(frozen=True)
class HeldOut:
    """The text of a split."""

    windows: np.ndarray
    """(n, T + 1) int64, in a fixed random order."""
    donors: np.ndarray
    """(M,) int64."""


def read_held_out(path: Path, size: dict) -> HeldOut:
    """The windows of a split, and the text after them; ends the program if there is too little."""
    context, rows, donors = size["context"], size["evaluate"]["rows"], size["evaluate"]["donors"]
    tokens = read_shard(path, size["vocabulary"])
    needed = (rows + donors) * context + 1
    if len(tokens) < needed:
        raise SystemExit(f"{path} has {len(tokens)} tokens; {rows} rows and {donors} donors need {needed}")
    at = context * np.arange(rows)[:, None] + np.arange(context + 1)  # (n, T + 1)
    mixed = np.random.default_rng(0).permutation(rows)  # neighbours in the text are not neighbours in a batch
    return HeldOut(tokens[at[mixed]].astype(np.int64), tokens[rows * context : needed].astype(np.int64))


class Scorer:
    """Sends requests to the servers, and keeps the required parts of their answers."""

    def __init__(self, held_out: HeldOut, size: dict, exchange: Path, random: np.random.Generator) -> None:
        self.limits, self.windows = size["evaluate"], held_out.windows
        self.context, self.batch = size["context"], self.limits["batch"]
        self.device = pick_device()
        self.filling = np.resize(held_out.donors, (self.batch, self.context))  # (B, T), for batches that are not full
        vocabulary = size["vocabulary"]
        self.columns = torch.from_numpy(random.permutation(vocabulary)[:COLUMNS]).to(self.device)  # (C,)
        folders = sorted(exchange.iterdir())
        if len(folders) < 2:
            raise SystemExit(
                f"{exchange} has {len(folders)} exchanges; one server is scored, and at least one is probed"
            )
        self.scored = Exchange(folders[0], Layout(self.batch, self.context, self.context, vocabulary))
        self.probed = [
            Exchange(folder, Layout(self.batch, self.context, 2 + DECOYS, vocabulary)) for folder in folders[1:]
        ]
        needed = probes_needed(*(self.limits[f"{name}_nats"] for name in ("leak", "gain", "tolerance")))
        shares = [len(share) for share in np.array_split(np.arange(max(needed, self.context)), len(self.probed))]
        self.probes = [plan_probes(self.windows, held_out.donors, share, random) for share in shares]

    def wait_until_ready(self) -> None:
        """Returns once every server has loaded its model. Raises BadServer or ServerGone."""
        for server in (self.scored, *self.probed):
            server.wait_until_ready(self.limits["start_limit_s"])

    def run(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Losses (n, T) of all windows, and the answers of the scored and the probed servers at the compared positions
        of all N probes, (N, 2, 1 + C) each. Raises BadServer or ServerGone."""
        n = len(self.windows)
        found = np.empty((n, self.context))  # (n, T)
        said = [np.empty((len(part.row), 2, 1 + len(self.columns)), np.float32) for part in self.probes]
        again = [np.empty_like(part) for part in said]
        for first in range(0, max(n, *map(len, said)), self.batch):
            step = slice(first, first + self.batch)
            busy = [number for number, part in enumerate(said) if first < len(part)]
            if first < n:  # all get their request before one is waited for, so they work in parallel
                self._ask(self.scored, self.windows[step, :-1], np.arange(self.context)[None])
            for number in busy:
                self._ask(self.probed[number], self.probes[number].tokens[step], self.probes[number].positions[step])
            if first < n:
                logits = self._answer(self.scored)  # (B, T, V)
                targets = torch.from_numpy(self.windows[step, 1:]).to(self.device)  # (b, T)
                found[step] = losses(logits[: len(targets)], targets).cpu().numpy()
                for part, kept in zip(self.probes, said, strict=True):
                    here = np.flatnonzero(part.row // self.batch == first // self.batch)  # (k,) probes of these windows
                    kept[here] = self._summary(logits, part, here, part.row[here] - first, part.compared[here])
            for number in busy:
                part = self.probes[number]
                here = np.arange(len(part.row))[step]
                logits = self._answer(self.probed[number])  # (B, P, V)
                again[number][here] = self._summary(logits, part, here, here - first, part.place[here])
        return found, np.concatenate(said), np.concatenate(again)

    @property
    def compared(self) -> np.ndarray:
        """Compared positions of all probes, (N, 2)."""
        return np.concatenate([part.compared for part in self.probes])

    def cause(self, leak: Leak, said: np.ndarray) -> str:
        """What the answer with the clearest leak depends on, by three further requests to a probed server: a hint for
        users and for the next idea, not a proof. `said` (1 + C,) is the answer of the scored server."""
        row = int(np.concatenate([part.row for part in self.probes])[leak.probe])
        first = row - row % self.batch
        batch, alone = self.windows[first : first + self.batch, :-1], self.windows[row : row + 1, :-1]
        try:
            in_its_batch = self._once(batch, row - first, row, leak.position)
            in_another = self._once(alone, 0, row, leak.position)
        except (BadServer, ServerGone):
            return "not known"
        if self._differ(said, in_its_batch):
            return "earlier calls, or chance"
        return "other rows of the batch" if self._differ(in_its_batch, in_another) else "later tokens"

    def close(self) -> None:
        """Ends the servers."""
        for server in (self.scored, *self.probed):
            server.close()

    def _differ(self, one: np.ndarray, other: np.ndarray) -> bool:
        difference = np.abs(one - other)
        spread = math.sqrt(np.square(difference[1:]).mean())
        return bool(difference[0] > self.limits["tolerance_nats"] / 2 or spread > self.limits["tolerance_logits"])

    def _once(self, tokens: np.ndarray, slot: int, row: int, position: int) -> np.ndarray:
        server = self.probed[0]
        self._ask(server, tokens, np.full((1, server.layout.positions), position))
        logits = self._answer(server)[slot, :1]  # (1, V)
        target = torch.from_numpy(self.windows[row, position + 1 : position + 2]).to(self.device)  # (1,)
        return summary(logits, target, self.columns)[0]

    def _ask(self, server: Exchange, tokens: np.ndarray, positions: np.ndarray) -> None:
        """Tokens (b, T) and positions (b or 1, P), b <= B; the rest of the batch is other text."""
        full = self.filling.copy()
        full[: len(tokens)] = tokens
        everywhere = np.zeros((self.batch, server.layout.positions), np.int64)
        everywhere[: len(tokens)] = positions
        server.ask(full, everywhere)

    def _answer(self, server: Exchange) -> Tensor:
        return checked(server.answer(self.limits["call_limit_s"]), self.device, server.name)

    def _summary(
        self, logits: Tensor, part: Probes, here: np.ndarray, slots: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """The required part (k, 2, 1 + C) of an answer (B, P, V) to the probes `here` (k,): their rows in the batch are
        `slots` (k,), the compared positions are the answer's `places` (k, 2)."""
        targets = self.windows[part.row[here][:, None], part.compared[here] + 1]  # (k, 2)
        chosen = logits[torch.from_numpy(slots)[:, None], torch.from_numpy(places)]  # (k, 2, V)
        kept = summary(chosen.flatten(0, 1), torch.from_numpy(targets).flatten().to(self.device), self.columns)
        return kept.reshape(len(here), 2, -1)


def evaluate(data: Path, exchange: Path, checkpoint: Path, split: str, size: dict) -> dict:
    """The loss with its standard error over rows, or a failure. Raises ServerGone if a server ends early."""
    held_out = read_held_out(data / f"{split}.bin", size)
    try:
        parameters = check_checkpoint(checkpoint, size)
        scorer = Scorer(held_out, size, exchange, np.random.default_rng())
        with contextlib.closing(scorer):
            scorer.wait_until_ready()
            found, said, again = scorer.run()
            if not np.isfinite(found).all():
                return {
                    "failure": {"kind": "nan", "reason": "the loss is infinite: a true token has a probability of zero"}
                }
            leak = find_leak(said, again, scorer.compared, size["evaluate"])
            if leak is not None:
                cause = scorer.cause(leak, said[leak.probe, leak.which])
                return {"failure": {"kind": "leak", "reason": f"{leak.words}; it depends on {cause}"}}
    except BadCheckpoint as error:
        return {"failure": {"kind": "bad_checkpoint", "reason": str(error)}}
    except BadServer as error:
        return {"failure": {"kind": error.kind, "reason": str(error)}}
    rows = found.mean(axis=1)  # (n,)
    result = {
        "value": float(rows.mean()),
        "standard_error": float(rows.std(ddof=1)) / math.sqrt(len(rows)),
        "n": len(rows),
        "secondary": {
            "parameters": parameters,
            "effect_of_probes": float((said - again)[:, 0, 0].mean(dtype=np.float64)),
        },
    }
    if split == "test":  # so that codes are compared row by row
        result["items"] = rows.tolist()
    return result


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the evaluator's data, from prepare.py")
    parser.add_argument("--exchange", type=Path, required=True, help="folder with one folder for each server")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with model.safetensors and config.json")
    parser.add_argument("--split", choices=("validation", "test"), required=True)
    parser.add_argument(
        "--seed", type=int, required=True, help="not used: nothing is sampled that the score depends on"
    )
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    parser.add_argument("--result", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    try:
        result = evaluate(args.data, args.exchange, args.checkpoint, args.split, json.loads(args.size.read_text()))
    except ServerGone as error:
        raise SystemExit(str(error)) from error
    partial = args.result.with_name(args.result.name + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, args.result)


if __name__ == "__main__":
    main()
