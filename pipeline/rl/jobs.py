"""The work of a job of the policy: sample the ideas of a generation, or update the weights.

Like a trial's job it runs from the run folder's own copy of this program, claims its try, writes only there, and closes it
with `result.json`. The controller decides what to do and writes it to `task.json`; it never imports torch.
"""

import sys
import time
from types import FrameType

from pipeline.cluster.jobs import Node
from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.job.start import start
from pipeline.records import PolicyTask, PolicyWork, TaskResult, UpdateMeasures
from pipeline.rl.ranks import failure_of, run_ranks
from pipeline.store import files
from pipeline.store.paths import RunPaths, TaskPaths, TryPaths
from pipeline.store.run import open_run


def run_task(folder: str) -> None:
    """Run the try in this folder, unless another job has claimed it."""
    job = start(folder, _on_signal)
    if job is None:
        return
    rl = open_run(job.run).config.rl
    if job.node.number:
        run_ranks(job.paths, rl, job.node)  # node 0 reports for all
    else:
        files.create(job.paths.result, perform(job.run, job.paths, rl, job.node))


def perform(run_paths: RunPaths, paths: TryPaths, rl: RlConfig, node: Node) -> TaskResult:
    """Perform the task of this try. Known errors are returned as a failure; any other exception ends the job without a
    result, and the task is retried."""
    started, measures, failure = time.time(), None, None
    task = files.read(TaskPaths(paths.folder.parent).task, PolicyTask)
    paths.output.mkdir(exist_ok=True)
    try:
        if task.work is PolicyWork.SAMPLE:
            _sample(run_paths, paths, task, rl)
        elif rl.zero_stage is None:
            measures = _update_alone(run_paths, paths, task, rl)
        else:
            failure = run_ranks(paths, rl, node)
            measures = files.read(paths.update_measures, UpdateMeasures) if failure is None else None
    except (BadInput, ValueError, OSError) as error:
        failure = failure_of(error, paths)
    return TaskResult(failure, measures, node.name, started, time.time())


def _sample(run_paths: RunPaths, paths: TryPaths, task: PolicyTask, rl: RlConfig) -> None:
    import torch

    from pipeline.rl.learn import checkpoint_of
    from pipeline.rl.policy import load_policy
    from pipeline.rl.sample import has_vllm, sample, sample_with_vllm

    torch.set_num_threads(rl.sample.cpus_per_task)
    folder = checkpoint_of(run_paths, task)
    base = rl.model if rl.lora_rank and folder is not None else ""
    if has_vllm():
        made = sample_with_vllm(folder, base, task.prompts, rl, task.seed)
    else:
        made = sample(load_policy(folder, task.made_for, rl, base), task.prompts, rl, task.seed)
    files.replace(paths.samples, made, indent=False)


def _update_alone(run_paths: RunPaths, paths: TryPaths, task: PolicyTask, rl: RlConfig) -> UpdateMeasures:
    import torch

    from pipeline.rl.learn import learn
    from pipeline.rl.update import Adam

    torch.set_num_threads(rl.update.cpus_per_task)
    return learn(run_paths, paths, task, rl, Adam)


def _on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # without a result: the controller declares how it ended
