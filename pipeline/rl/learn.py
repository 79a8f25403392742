"""An update in its job, in one process or as one of several ranks: from its task to the next checkpoint.

Used only inside jobs.
"""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.records import PolicyTask, Sample, UpdateMeasures
from pipeline.rl.policy import SHARDED, Policy, load_policy, save_policy, sharded_loading
from pipeline.rl.update import Engine, NotFinite, Row, kl_between, score, update
from pipeline.store import files
from pipeline.store.paths import RunPaths, TryPaths


def learn(
    run_paths: RunPaths, paths: TryPaths, task: PolicyTask, rl: RlConfig, engine_of: Callable[[Any, RlConfig], Engine]
) -> UpdateMeasures:
    """Learn from the rows of a task; writes the next checkpoint and the optimizer state to the try. Raises `NotFinite`, and
    `BadInput` if the GPU has too little memory."""
    rows = _rows_of(run_paths, task)
    try:
        with sharded_loading(rl):
            policy = load_policy(checkpoint_of(run_paths, task), task.made_for, rl, rl.model, train=True)
        engine = engine_of(policy.model, rl)
        if task.optimizer:
            engine.load(run_paths.folder / task.optimizer)
        measures = update(policy, engine, rows, rl, random.Random(task.seed))
        after = score(policy, engine, rows, rl)
        if not all(math.isfinite(one) for line in after for one in line):
            raise NotFinite("the policy gives no finite probabilities after this update; lower rl.learning_rate")
        measures = replace(measures, kl_start=_kl_to_start(run_paths, policy, engine, rows, rl, after))
    except torch.OutOfMemoryError as error:
        raise BadInput(
            "the GPU has too little memory for this update; in a new run, lower rl.microbatch, set "
            "rl.gradient_checkpointing=true, or request more GPUs with rl.zero_stage=3"
        ) from error
    engine.save(paths.optimizer)
    weights = engine.weights()
    if engine.rank == 0:
        save_policy(policy, paths.checkpoint, task.step + 1, weights)
    return measures


def checkpoint_of(run_paths: RunPaths, task: PolicyTask) -> Path | None:
    """Folder of the task's checkpoint; none for an initial model that is not in the run folder."""
    return run_paths.folder / task.checkpoint if task.checkpoint else None


def _rows_of(run_paths: RunPaths, task: PolicyTask) -> list[Row]:
    samples = {step: files.read(run_paths.folder / place, list[Sample]) for step, place in task.samples.items()}
    rows = []
    for row in task.rows:
        one = samples[str(row.step)][row.number]
        rows.append(Row(one.prompt, one.tokens, one.logprobs, row.advantage))
    return rows


def _kl_to_start(
    run_paths: RunPaths, policy: Policy, engine: Engine, rows: list[Row], rl: RlConfig, ours: list[list[float]]
) -> float | None:
    """The KL to the initial policy, from the current log-probabilities of the rows. None if all weights are trained and
    sharded, since the initial policy would need the same memory again."""
    if rl.lora_rank:
        with policy.model.disable_adapter():
            return kl_between(ours, score(policy, engine, rows, rl))
    if rl.zero_stage == SHARDED:
        return None
    start = run_paths.policy_step(0).start
    first = load_policy(start if start.is_dir() else None, 0, rl, rl.model, train=True)
    return kl_between(ours, score(first, engine, rows, rl, first.model))
