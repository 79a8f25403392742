"""The work of a job of the policy: sample the ideas of a generation, or update the weights.

Like a trial's job it runs from the run folder's own copy of this program, claims its try, writes only there, and closes it
with `result.json`. The controller decides what to do and writes it to `task.json`; it never imports torch.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from pipeline.cluster.jobs import current_job_id, current_node
from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.records import Failure, FailureKind, PolicyTask, PolicyWork, Sample, Stage, TaskResult, UpdateMeasures
from pipeline.store import files
from pipeline.store.paths import RunPaths, TaskPaths, TryPaths, run_of
from pipeline.store.run import claim, open_run


def run_task(folder: str) -> None:
    """Run the try in this folder, unless another job has claimed it."""
    if os.getpgrp() != os.getpid():
        os.setsid()  # so that Ctrl-C in the controller's terminal does not reach the job
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    signal.signal(signal.SIGTERM, _on_signal)
    paths = TryPaths(Path(folder))
    run_paths, node = run_of(paths.folder), current_node()
    if run_paths is None or not claim(paths, current_job_id(), node.name):
        print(f"{folder} is taken; nothing to do", file=sys.stderr)
        return
    files.create(paths.result, perform(run_paths, paths))


def perform(run_paths: RunPaths, paths: TryPaths) -> TaskResult:
    """Perform the task of this try. Known errors are returned as a failure; any other exception ends the job without a
    result, and the task is retried."""
    started, measures, failure = time.time(), None, None
    task = files.read(TaskPaths(paths.folder.parent).task, PolicyTask)
    rl = open_run(run_paths).config.rl
    paths.output.mkdir(exist_ok=True)
    try:
        if task.work is PolicyWork.SAMPLE:
            _sample(run_paths, paths, task, rl)
        else:
            measures = _update(run_paths, paths, task, rl)
    except (BadInput, ValueError, OSError) as error:
        failure = Failure(Stage.IDEATE, _kind(error), " ".join(str(error).split()), paths.folder.name)
    return TaskResult(failure, measures, current_node().name, started, time.time())


def _kind(error: Exception) -> FailureKind:
    from pipeline.rl.update import NotFinite

    if isinstance(error, NotFinite):
        return FailureKind.NAN
    return FailureKind.FILE_SYSTEM if isinstance(error, OSError) and error.errno else FailureKind.EXCEPTION


def _sample(run_paths: RunPaths, paths: TryPaths, task: PolicyTask, rl: RlConfig) -> None:
    import torch

    from pipeline.rl.policy import load_policy
    from pipeline.rl.sample import has_vllm, sample, sample_with_vllm

    torch.set_num_threads(rl.sample.cpus_per_task)
    folder = _checkpoint(run_paths, task)
    base = rl.model if rl.lora_rank and folder is not None else ""
    if has_vllm():
        made = sample_with_vllm(folder, base, task.prompts, rl, task.seed)
    else:
        made = sample(load_policy(folder, task.step, rl, base), task.prompts, rl, task.seed)
    files.replace(paths.samples, made, indent=False)


def _update(run_paths: RunPaths, paths: TryPaths, task: PolicyTask, rl: RlConfig) -> UpdateMeasures:
    import torch

    from pipeline.rl.policy import load_policy, save_policy
    from pipeline.rl.update import Adam, Row, kl_to_start, update

    torch.set_num_threads(rl.update.cpus_per_task)
    folder = _checkpoint(run_paths, task)
    policy = load_policy(folder, task.step, rl, rl.model, train=True)
    engine = Adam(policy.model, rl)
    if task.optimizer:
        engine.optimizer.load_state_dict(torch.load(run_paths.folder / task.optimizer, weights_only=True))
    samples = {step: files.read(run_paths.folder / place, list[Sample]) for step, place in task.samples.items()}
    rows = []
    for row in task.rows:
        one = samples[str(row.step)][row.number]
        rows.append(Row(one.prompt, one.tokens, one.logprobs, row.advantage))
    measures = update(policy, engine, rows, rl, random.Random(task.seed))
    first = run_paths.policy_step(0).start
    if not rl.lora_rank and first.is_dir():
        measures = kl_to_start(measures, policy, load_policy(first, 0, rl), rows, rl)
    torch.save(engine.optimizer.state_dict(), paths.optimizer)
    save_policy(policy, paths.checkpoint, task.step + 1)
    return measures


def _checkpoint(run_paths: RunPaths, task: PolicyTask) -> Path | None:
    """Folder of the task's checkpoint; none for an initial model that is not in the run folder."""
    return run_paths.folder / task.checkpoint if task.checkpoint else None


def _on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # without a result: the controller declares how it ended
