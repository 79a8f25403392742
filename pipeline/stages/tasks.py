"""Advance a task other than a trial: submit its job, read the result, submit another job after a machine fault."""

from dataclasses import replace

from pipeline.cluster.base import Cluster, Phase, Request
from pipeline.errors import CannotContinue, ClusterRefused
from pipeline.records import Claim, Failure, FailureKind, Job, PolicyTask, Stage, TaskResult
from pipeline.stages.context import POLLING, SUBMITTING, Context
from pipeline.store import files
from pipeline.store.paths import TaskPaths, TryPaths
from pipeline.store.run import is_void, void, with_job_id
from pipeline.store.tasks import result_of, tries_of


def advance(context: Context, cluster: Cluster, paths: TaskPaths, task: PolicyTask) -> TryPaths | None:
    """Take the next step of a task. Returns the try that completed it, none until then. Raises `CannotContinue` if a retry
    cannot help."""
    tries = tries_of(paths)
    if not tries:
        context.run.create(paths.task, task)
        _submit(context, cluster, paths, 0)
        return None
    newest = tries[-1]
    result = result_of(newest)
    if result is None:
        _look(context, cluster, newest)
        return None
    if result.failure is None:
        return newest
    ended = [one.failure for one in map(result_of, tries) if one is not None and one.failure is not None]
    spoiled = [one for one in ended if one.kind.infrastructure and one.kind is not FailureKind.INTERRUPTED]
    if not result.failure.kind.infrastructure or len(spoiled) > context.config.train.retries:
        raise CannotContinue(
            f"the {task.work} job of step {task.step} failed ({result.failure.kind}: {result.failure.reason}); "
            f"see {context.run.paths.jobs}; to try again, remove {paths.folder} and run the same command"
        )
    _submit(context, cluster, paths, len(tries))
    return None


def end(context: Context, cluster: Cluster, paths: TaskPaths) -> None:
    """End the waiting or running job of a task, if any; it is repeated later."""
    for one in tries_of(paths)[-1:]:
        if result_of(one) is None:
            job_id = files.read(one.job, Job).job_id
            if job_id is not None:
                cluster.cancel([job_id])
            _declare(context, one, FailureKind.INTERRUPTED, "ended together with the controller")


def _submit(context: Context, cluster: Cluster, paths: TaskPaths, number: int) -> None:
    if not context.holdups.due(SUBMITTING):
        return
    one = paths.try_(number)
    step, work = paths.folder.parent.name.rpartition("_")[2], paths.folder.name
    job = Job(f"gw-{context.run.name}-p{int(step)}-{work}-r{number}", context.config.seed, "")
    one.folder.mkdir(parents=True, exist_ok=True)
    files.replace(one.job, job)
    try:
        taken = cluster.submit([Request(job.name, one.folder)])
    except ClusterRefused as refused:
        context.holdups.failed(SUBMITTING, str(refused))
        taken = {}
    else:
        context.holdups.over(SUBMITTING)
    if job.name in taken:
        files.replace(one.job, with_job_id(job, taken[job.name], context.clock()))
        context.run.event("submitted", one.folder, taken[job.name])
    else:
        one.job.unlink()
        one.folder.rmdir()  # nothing was submitted; the next tick tries again


def _look(context: Context, cluster: Cluster, one: TryPaths) -> None:
    """Query the state of a job, and declare its end if it is gone without a result."""
    job = files.read(one.job, Job)
    job_id = job.job_id
    try:
        if job_id is None:
            job_id = cluster.find([job.name]).get(job.name) or _claimed(one)
            if job_id is None:
                if void(one):
                    _declare(context, one, FailureKind.INTERRUPTED, "its submission was not recorded")
                return
            files.replace(one.job, with_job_id(job, job_id, context.clock()))
        status = cluster.poll([job_id])[job_id]
    except ClusterRefused as refused:
        context.holdups.wait(POLLING, str(refused), context.clock())
        return
    if status.phase is not Phase.ENDED or result_of(one) is not None:
        return
    fault = status.fault or FailureKind.VANISHED
    _declare(context, one, fault, f"{status.reason}{': ' if status.last_line else ''}{status.last_line}")


def _claimed(one: TryPaths) -> str | None:
    """Id of the job that claimed a try; none if no job has."""
    claim = files.read_if_there(one.claim, Claim)
    return claim.job_id if claim is not None and not is_void(claim) else None


def _declare(context: Context, one: TryPaths, kind: FailureKind, reason: str) -> None:
    failure = Failure(Stage.IDEATE, kind, reason, one.folder.name)
    files.create(one.ended, replace(TaskResult(), failure=failure, ended_at=context.clock()))
    context.run.event("ended", one.folder, reason)
