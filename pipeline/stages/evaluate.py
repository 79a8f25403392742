"""Stage 4: evaluate. The scoring itself runs inside the job (`job/trial.py`); here the controller reads what came of it and
closes trials with a Score or a Failure."""

import shutil
from dataclasses import replace

from pipeline.cluster.base import Cluster, Phase
from pipeline.errors import ClusterRefused
from pipeline.policy.machines import reference_gpu
from pipeline.policy.trials import to_retry
from pipeline.records import Ended, Failure, FailureKind, Pause, Purpose, Result, Stage
from pipeline.stages.context import POLLING, Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.run import is_void, void, with_job_id
from pipeline.store.views import Attempt, Trial, Try

_SILENCE_S = 125.0
"""How long after its last refusal the cluster counts as answering again: in its pauses it says what it knew before."""


def step(context: Context, archive: Archive) -> None:
    """Give every try that is over its result, and every trial that is decided its score or failure."""
    _end_tries(context, archive)
    for holder, trial in archive.open_trials():
        _close(context, archive, holder, trial)


def end_jobs(archive: Archive, cluster: Cluster, reason: str, now: float) -> int:
    """End all jobs of a run and return their number; what was trained and not saved is trained again later."""
    in_flight = archive.in_flight()
    for one in in_flight:
        _end(one, FailureKind.INTERRUPTED, reason, now)
    cluster.cancel([one.job.job_id for one in in_flight if one.job.job_id is not None])
    return len(in_flight)


def _end_tries(context: Context, archive: Archive) -> None:
    """Ask the cluster once about all jobs, and write the result of those that can write none themselves."""
    now = context.clock()
    in_flight = archive.in_flight()
    lost = [one for one in in_flight if one.job.job_id is None]
    known = {one.job.job_id: one for one in in_flight if one.job.job_id is not None}
    try:
        found = context.cluster.find([one.job.name for one in lost]) if lost else {}
        statuses = context.cluster.poll(list(known)) if known else {}
    except ClusterRefused as refused:
        context.holdups.wait(POLLING, str(refused), now + _SILENCE_S)  # the cluster's own pauses are shorter
        return
    context.holdups.fade(POLLING)
    for one in lost:
        _adopt(context, one, found.get(one.job.name), now)
    for job_id, one in known.items():
        status = statuses[job_id]
        if status.phase is Phase.PENDING and status.never_starts:
            context.cluster.cancel([job_id])
            reason = f"Slurm can never start {job_id}: {status.reason}"
            _end(one, FailureKind.INTERRUPTED, reason, now)
            resume = f"then: python -m pipeline resume {context.run.paths.folder}"
            files.create(context.run.paths.pause, Pause("groundwork", f"{reason}; {resume}", now))
        elif status.phase is Phase.ENDED:
            node = status.node.partition(",")[0]
            _end(one, status.fault or FailureKind.VANISHED, f"no result: {status.reason}", now, node)
        else:
            continue
        context.run.reader.touch(one.paths.folder)


def _adopt(context: Context, one: Try, job_id: str | None, now: float) -> None:
    """A try whose submitter was killed: its job is known by its name or its claim, or it must never run."""
    if job_id is not None:
        context.run.replace(one.paths.job, with_job_id(one.job, job_id, now))
    elif one.claim is not None and not is_void(one.claim):
        context.run.replace(one.paths.job, with_job_id(one.job, one.claim.job_id, now))
    elif one.claim is not None or void(one.paths):
        _end(one, FailureKind.INTERRUPTED, "the controller was killed while it submitted", now)
    context.run.reader.touch(one.paths.folder)


def _end(one: Try, kind: FailureKind, reason: str, now: float, node: str = "") -> None:
    """Write the result of a try that wrote none itself; if it did meanwhile, that is the one that counts."""
    failure = Failure(Stage.TRAIN, kind, reason, one.paths.folder.name)
    started, host = (one.claim.at, one.claim.host) if one.claim is not None else (now, "")
    files.create(
        one.paths.result, Result(Ended.FAILED, failure=failure, host=node or host, started_at=started, ended_at=now)
    )


def _close(context: Context, archive: Archive, holder: Attempt, trial: Trial) -> None:
    """Decide a trial by its tries, if it can be decided."""
    newest, run = trial.newest, context.run
    if newest.result is None or not _comparable(context, archive, trial):
        return
    score, failure = newest.score, newest.failure
    if score is not None:
        decides = trial.purpose is Purpose.SEARCH
        run.create(trial.paths.score, replace(score, order=run.reader.next_order() if decides else 0))
        run.event("scored", trial.paths.folder, context.metric.text_error(score.value, score.standard_error))
    elif failure is not None:
        if to_retry(trial, context.config.train.retries):
            return
        if trial.purpose is Purpose.SEARCH:
            run.create(holder.paths.failure, failure)  # before the trial is closed and no longer looked at
        run.create(trial.paths.failure, failure)
    shutil.rmtree(newest.paths.resume, ignore_errors=True)


def _comparable(context: Context, archive: Archive, trial: Trial) -> bool:
    """Whether a try ran on the GPU model of the run. One that did not is spoiled, and decided at the next tick."""
    newest = trial.newest
    if newest.score is None or newest.result is None or not newest.result.gpu or trial.purpose is Purpose.TEST:
        return True
    wanted = reference_gpu(archive)
    if wanted is None:
        return False  # the baseline's first trial has no result yet
    if wanted == newest.result.gpu:
        return True
    reason = f"ran on {newest.result.gpu}, the run is measured on {wanted}; request it with cluster.slurm.gpu_type"
    failure = Failure(Stage.TRAIN, FailureKind.OTHER_GPU, reason, newest.paths.folder.name)
    context.run.create(newest.paths.spoiled, failure)
    return False
