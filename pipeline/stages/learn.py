"""Reinforcement learning of the ideator: each step is a generation. One job samples the ideas, the five stages execute them,
and another job updates the policy from all rewards known by then. All state is in `policy/step_NNN/`."""

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.makers.policy_ideator import PolicyIdeator, samples_of
from pipeline.metric import Metric
from pipeline.policy.accounting import account
from pipeline.records import (
    FailureKind,
    PolicyRow,
    PolicyStep,
    PolicyTask,
    PolicyWork,
    Sample,
    StepMeasures,
    TaskResult,
)
from pipeline.rl.batch import Lesson, Outcome, lessons, reward_of
from pipeline.rl.measures import UNREADABLE, measured
from pipeline.stages import tasks
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive, run_relative
from pipeline.store.paths import PolicyPaths, TryPaths
from pipeline.store.tasks import finished, result_of
from pipeline.store.views import Candidate, Generation


def step(context: Context, archive: Archive) -> None:
    """Update the policy for the newest generation, then sample its ideas. Does nothing for other ideators."""
    newest = archive.newest
    if not isinstance(context.ideator, PolicyIdeator) or newest is None or newest.complete:
        return
    paths = archive.paths.policy_step(newest.number)
    now = files.read_if_there(paths.step, PolicyStep)
    if now is None:
        now = _first(context, paths) if newest.number == 0 else _learned(context, archive, newest.number - 1)
    if now is None or finished(paths.sample) is not None:
        return
    task = PolicyTask(
        PolicyWork.SAMPLE,
        now.step,
        _seed(context, now.step),
        now.made_for,
        now.checkpoint,
        context.ideator.prompts(archive, newest),
    )
    tasks.advance(context, context.policy_clusters[PolicyWork.SAMPLE], paths.sample, task)


def end_jobs(context: Context, archive: Archive) -> None:
    """End the jobs of the policy; they are repeated later."""
    if isinstance(context.ideator, PolicyIdeator) and archive.newest is not None:
        for number in range(max(0, archive.newest.number - 1), archive.newest.number + 1):
            paths = archive.paths.policy_step(number)
            tasks.end(context, context.policy_clusters[PolicyWork.SAMPLE], paths.sample)
            tasks.end(context, context.policy_clusters[PolicyWork.UPDATE], paths.update)


def _seed(context: Context, number: int) -> int:
    return 100_000 * context.config.seed + number


def _first(context: Context, paths: PolicyPaths) -> PolicyStep:
    """The initial policy. A prepared policy is copied, so that the run does not depend on the original."""
    start, checkpoint = prepared_policy(context.data), ""
    if not context.config.rl.model:
        if not start.is_dir():
            raise BadInput(
                f"{start} contains no policy; make it with `python -m pipeline prepare` and the same settings"
            )
        if not paths.start.is_dir():
            part = paths.folder / "checkpoint.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(start, part)
            part.rename(paths.start)
        checkpoint = paths.start.relative_to(context.run.paths.folder).as_posix()
    made = PolicyStep(0, 0, checkpoint)
    context.run.create(paths.step, made)
    return made


def prepared_policy(data: Path) -> Path:
    """Folder of the tiny policy made by `prepare`. It is outside the baseline's data folder, which is covered by a hash."""
    return data.parent.parent / "policy" / f"{data.parent.name}_{data.name}"


def _learned(context: Context, archive: Archive, number: int) -> PolicyStep | None:
    """The policy after the update of a step; none while the update is not done."""
    paths, after = archive.paths.policy_step(number), archive.paths.policy_step(number + 1)
    now = files.read(paths.step, PolicyStep)
    task = files.read_if_there(paths.update.task, PolicyTask)
    if task is None:
        task = _update_task(context, archive, now)
    if not any(row.advantage for row in task.rows):
        return _close(context, archive, replace(now, step=number + 1), task, None)
    done = tasks.advance(context, context.policy_clusters[PolicyWork.UPDATE], paths.update, task)
    if done is None:
        return None
    places = (run_relative(archive, place) for place in (done.checkpoint, done.optimizer))
    made = PolicyStep(number + 1, number + 1, *places)
    _close(context, archive, made, task, done)
    context.run.event("policy", after.folder, f"learned from {len(task.rows)} ideas")
    if now.optimizer:  # several times as large as what is trained, and never read again
        shutil.rmtree(archive.paths.folder / now.optimizer, ignore_errors=True)
    return made


def _update_task(context: Context, archive: Archive, now: PolicyStep) -> PolicyTask:
    """The task of an update: which ideas it learns from, decided once, from the outcomes read so far."""
    rl, first = context.config.rl, max(0, now.step - context.config.rl.staleness)
    steps = [(number, outcomes_of(context.metric, archive, number)) for number in range(first, now.step + 1)]
    rows = tuple(PolicyRow(one.step, one.number, one.reward, one.advantage) for one in lessons(steps, now.step, rl))
    places = {number: finished(archive.paths.policy_step(number).sample) for number in {row.step for row in rows}}
    samples = {str(number): run_relative(archive, paths.samples) for number, paths in places.items() if paths}
    seed = _seed(context, now.step)
    return PolicyTask(
        PolicyWork.UPDATE,
        now.step,
        seed,
        now.made_for,
        now.checkpoint,
        rows=rows,
        samples=samples,
        optimizer=now.optimizer,
    )


def outcomes_of(metric: Metric, archive: Archive, number: int) -> list[Outcome]:
    """The outcomes of the samples of a step, in order."""
    generation = archive.generations[number]
    prompts = files.read(archive.paths.policy_step(number).sample.task, PolicyTask).prompts
    samples = samples_of(archive, number) or []
    before = Counter(identity(archive, one) for earlier in archive.generations[:number] for one in earlier.candidates)
    learned = _learned_before(archive, number)
    found = []
    for place, (prompt, sample) in enumerate(zip(prompts, samples, strict=True)):
        candidate = generation.candidates[place]
        name, reward = identity(archive, candidate), reward_for(metric, archive, candidate)
        found.append(Outcome(name, reward, prompt, before[name], place in learned, sample.thinking))
    return found


def _learned_before(archive: Archive, number: int) -> set[int]:
    """Numbers of the samples of a step that an update has already learned from."""
    learned: set[int] = set()
    for later in range(number, len(archive.generations)):
        task = files.read_if_there(archive.paths.policy_step(later).update.task, PolicyTask)
        learned.update(row.number for row in (task.rows if task is not None else ()) if row.step == number)
    return learned


def identity(archive: Archive, candidate: Candidate) -> str:
    """A key that is equal for equal ideas: the hash of the code, else the sorted words of the text."""
    attempt = archive.twin(candidate) or candidate.attempt
    if attempt is not None and attempt.implementation is not None:
        return attempt.implementation.syntax
    if candidate.idea.change is not None and candidate.idea.change.text == "":
        return UNREADABLE
    return " ".join(sorted(candidate.idea.text.split()))


def reward_for(metric: Metric, archive: Archive, candidate: Candidate) -> float | None:
    """The reward of a candidate: from its score, or from that of its twin; 0 if the idea failed; none if there is no outcome
    yet or a machine failed."""
    score = archive.shared_score(candidate)
    if score is not None:
        return reward_of(metric, score.value)
    twin, failure = archive.twin(candidate), candidate.failure
    if twin is not None:
        failure = twin.failure
    if failure is None or failure.kind.infrastructure:
        return None
    return 0.0


# ---- measures


def _close(context: Context, archive: Archive, made: PolicyStep, task: PolicyTask, done: TryPaths | None) -> PolicyStep:
    """Record the measures of a step, then close it by writing the resulting policy."""
    _measure(context, archive, made.step - 1, task, done)
    if done is None and not archive.paths.policy_step(made.step - 1).update.task.exists():
        context.run.create(archive.paths.policy_step(made.step - 1).update.task, task)
        context.run.event("policy", archive.paths.policy_step(made.step - 1).folder, nothing(task))
    context.run.create(archive.paths.policy_step(made.step).step, made)
    return made


def nothing(task: PolicyTask) -> str:
    """Why an update was skipped."""
    if not task.rows:
        return "no update: no group has two rewards"
    if not any(row.reward for row in task.rows):
        return "no update: all ideas failed"
    return "no update: all rewards of each group are equal"


def _measure(context: Context, archive: Archive, number: int, task: PolicyTask, done: TryPaths | None) -> None:
    paths = archive.paths.policy_step(number)
    sampled = finished(paths.sample)
    if sampled is None or paths.measures.exists():
        return
    generation, config = archive.generations[number], context.config
    result = result_of(done) if done is not None else None
    updated = result.measures if result is not None else None
    spent = account(config, [one for each in generation.candidates for one in each.tries()], {}, context.clock())
    hours = (
        _hours(result_of(sampled), config.rl.sample.gpus_per_node * config.rl.sample.nodes),
        spent.used_h,
        _hours(result, config.rl.update.gpus_per_node * config.rl.update.nodes),
    )
    rows = [Lesson(row.step, row.number, row.reward, row.advantage) for row in task.rows]
    found = measured(
        number, files.read(sampled.samples, list[Sample]), outcomes_of(context.metric, archive, number),
        _failures(generation), rows, updated, hours, steps_measured(archive), config.rl.collapse_share,
    )  # fmt: skip
    context.run.create(paths.measures, found)
    for alarm in found.alarms:
        context.run.event("collapse", paths.folder, alarm)


def _failures(generation: Generation) -> Counter[str]:
    kinds = [one.failure.kind for one in generation.candidates if one.failure is not None]
    return Counter(kind.value for kind in kinds if kind is not FailureKind.DUPLICATE)


def _hours(result: TaskResult | None, gpus: int) -> float:
    return max(1, gpus) * (result.ended_at - result.started_at) / 3600 if result is not None else 0.0


def under_way(config: Config, archive: Archive) -> str | None:
    """What the newest step is waiting for, in one line; none between steps."""
    newest = archive.newest
    if newest is None or newest.selection is not None:
        return None
    paths = archive.paths.policy_step(newest.number)
    if not paths.sample.task.exists():
        return f"step {newest.number}: waits for the update of the step before" if paths.folder.exists() else None
    if finished(paths.sample) is None:
        return f"step {newest.number}: the policy is sampling {newest.parents.ideas} ideas"
    closed, quorum = sum(one.closed for one in newest.candidates), config.select.quorum
    return (
        f"step {newest.number}: {closed} of {newest.parents.ideas} ideas have an outcome; select.quorum={quorum:g} requires "
        f"{math.ceil(quorum * newest.parents.ideas)}"
    )


def steps_measured(archive: Archive) -> list[StepMeasures]:
    """The measures of all steps so far."""
    found = []
    for folder in files.folders(archive.paths.policy, "step"):
        measures = files.read_if_there(PolicyPaths(folder).measures, StepMeasures)
        if measures is not None:
            found.append(measures)
    return found
