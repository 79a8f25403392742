"""One rank of a test: two updates in a row, for each of several settings."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pipeline.config import RlConfig
from pipeline.records import PolicyTask
from pipeline.rl.learn import learn
from pipeline.rl.zero import Zero, joined_ranks
from pipeline.store import files
from pipeline.store.paths import RunPaths, TryPaths


def main(rank: int, ranks: int, port: int, folder: Path) -> None:
    """As started by torchrun."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with joined_ranks(0):
        for case in sorted(folder.glob("*.rl.json")):
            two_updates(folder, case.name.partition(".")[0], files.read(case, RlConfig), Zero)


def two_updates(folder: Path, name: str, rl: RlConfig, engine: Callable[[Any, RlConfig], Any]) -> TryPaths:
    """The second learns from the same rows again, with the checkpoint and optimizer state of the first."""
    kind, run, task = engine.__name__, RunPaths(folder), files.read(folder / f"{name}.task.json", PolicyTask)
    first, second = (TryPaths(folder / kind / name / f"try_{number}") for number in (0, 1))
    for place in (first, second):
        place.output.mkdir(parents=True, exist_ok=True)
    learn(run, first, task, rl, engine)
    if dist.is_initialized():
        dist.barrier()  # the first rank has written what all ranks read
    checkpoint, optimizer = (path.relative_to(folder).as_posix() for path in (first.checkpoint, first.optimizer))
    made = learn(run, second, replace(task, step=1, made_for=1, checkpoint=checkpoint, optimizer=optimizer), rl, engine)
    files.replace(second.update_measures, made)
    return second
