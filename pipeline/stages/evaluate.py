"""Stage 4: evaluate. The scoring itself runs inside the job (`job/trial.py`); here the controller reads the results and
closes trials with a Score or a Failure."""

from collections.abc import Iterable
from dataclasses import replace

from pipeline.cluster.base import Cluster, Phase
from pipeline.errors import ClusterRefused
from pipeline.policy.machines import reference_gpu
from pipeline.policy.rungs import stopped_early
from pipeline.policy.trials import UNCOUNTED, to_retry
from pipeline.records import Ended, Failure, FailureKind, Purpose, Result, Score, Stage
from pipeline.sandbox.removal import remove_tree
from pipeline.stages.context import POLLING, Context, take_back
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import short
from pipeline.store.run import is_void, void, with_job_id
from pipeline.store.views import Attempt, Trial, Try

_SILENCE_S = 125.0
"""Seconds after its last refusal until the cluster counts as answering again: while it pauses it repeats old answers."""


def step(context: Context, archive: Archive) -> None:
    """Write a result for every ended try, and a score or failure for every decided trial."""
    _end_tries(context, archive)
    _reopen(context, archive)
    for holder, trial in archive.open_trials():
        _close(context, archive, holder, trial)
    if context.config.search.rungs:
        _stop_early(context, archive)


def _stop_early(context: Context, archive: Archive) -> None:
    """Close the attempts of candidates that are not among the best of a rung."""
    for candidate in archive.open:
        failure = stopped_early(context.config, context.metric, archive, candidate)
        if failure is not None and candidate.attempt is not None:
            context.run.create(candidate.attempt.paths.failure, failure)
            _remove_resume_state(candidate.attempt.trials)


def end_jobs(archive: Archive, cluster: Cluster, reason: str, now: float) -> int:
    """Cancel all jobs of a run; returns their number. Training since the last save is lost and repeated later."""
    in_flight = archive.in_flight()
    for one in in_flight:
        _end(one, FailureKind.INTERRUPTED, reason, now)
    cluster.cancel([one.job.job_id for one in in_flight if one.job.job_id is not None])
    return len(in_flight)


def _end_tries(context: Context, archive: Archive) -> None:
    """Query the cluster once for all jobs, and declare the end of those that can no longer write a result themselves."""
    now = context.clock()
    in_flight = archive.in_flight()
    lost = [one for one in in_flight if one.job.job_id is None]
    known = {one.job.job_id: one for one in in_flight if one.job.job_id is not None}
    if lost and context.holdups.due(POLLING):
        try:
            found = context.cluster.find([one.job.name for one in lost])
        except ClusterRefused as refused:
            context.holdups.failed(POLLING, str(refused))
            return
        for one in lost:
            _adopt(context, one, found.get(one.job.name), now)
    try:
        statuses = context.cluster.poll(list(known)) if known else {}
    except ClusterRefused as refused:
        context.holdups.wait(POLLING, str(refused), now + _SILENCE_S)  # the cluster's own pauses are shorter
        return
    context.holdups.fade(POLLING)
    for job_id, one in known.items():
        status = statuses[job_id]
        if status.note:
            context.run.event("unclear", one.paths.folder, status.note)
        if status.phase is Phase.PENDING and status.never_starts:
            context.cluster.cancel([job_id])
            reason = f"Slurm can never start {job_id}: {status.reason}"
            _end(one, FailureKind.INTERRUPTED, reason, now)
            context.pause(one.paths.folder, f"{reason}; change the resources it requests")
        elif status.phase is Phase.ENDED and (one.claim is not None or void(one.paths)):
            reason = f"no result: {status.reason}"
            if status.last_line and one.claim is None:  # it died before it could write to its own files
                reason += f"; its log ends with: {status.last_line}"
            _end(one, status.fault or FailureKind.VANISHED, reason, now, status.node.partition(",")[0])
        else:
            continue
        context.run.reader.touch(one.paths.folder)


def _adopt(context: Context, one: Try, job_id: str | None, now: float) -> None:
    """Settle a try whose submitter was killed: its job is found by its name or its claim, or the try is voided."""
    if job_id is not None:
        context.run.replace(one.paths.job, with_job_id(one.job, job_id, now))
    elif one.claim is not None and not is_void(one.claim):
        context.run.replace(one.paths.job, with_job_id(one.job, one.claim.job_id, now))
    elif one.claim is not None or void(one.paths):
        _end(one, FailureKind.INTERRUPTED, "the controller was killed while it submitted", now)
    context.run.reader.touch(one.paths.folder)


def _end(one: Try, kind: FailureKind, reason: str, now: float, node: str = "") -> None:
    """Declare the end of a try that wrote no result itself. No job can start it from now on; if one is already running it
    and still writes a result, that result counts."""
    if one.claim is None:
        void(one.paths)
    failure = Failure(Stage.TRAIN, kind, reason, one.paths.folder.name)
    started, host = (one.claim.at, one.claim.host) if one.claim is not None and not one.void else (now, "")
    files.create(
        one.paths.ended, Result(Ended.FAILED, failure=failure, host=node or host, started_at=started, ended_at=now)
    )


def _reopen(context: Context, archive: Archive) -> None:
    """Take back failures by machine faults where a job has written a result since; the next tick closes the trial by it.
    Idempotent; may be interrupted anywhere."""
    for trial in archive.baseline.trials:
        # For the baseline no machine fault is final.
        excused = trial.purpose is Purpose.BASELINE and trial.failure is not None and trial.failure.kind.infrastructure
        if trial.overruled or excused:
            context.run.take_back(trial.paths.failure, trial.paths.old_failure)
    for candidate in map(archive.candidate, archive.overruled):
        for attempt in candidate.attempts:
            for trial in attempt.trials:
                if trial.overruled:
                    take_back(context.run, candidate, attempt, trial, lambda failure: failure.kind.infrastructure)
                    context.run.event("late result", trial.deciding.paths.folder)


def _close(context: Context, archive: Archive, holder: Attempt, trial: Trial) -> None:
    """Close a trial by the result of its tries, if it can be decided."""
    one, run = trial.deciding, context.run
    if one.result is None or not _comparable(context, archive, trial, one):
        return
    if one is not trial.newest and trial.newest.result is None:
        _stop(context, trial.newest)
        return
    score, failure = one.score, one.failure
    if score is not None and trial.purpose is Purpose.SEARCH and not run.paths.derived.exists():
        # A run derived from one candidate trains its parts; a part without effect is a valid result there.
        copied = _copied(archive, score)
        score, failure = (None, copied) if copied is not None else (score, failure)
    if score is not None:
        decides = trial.purpose is Purpose.SEARCH
        run.create(trial.paths.score, replace(score, order=run.reader.next_order() if decides else 0))
        run.event("scored", trial.paths.folder, context.metric.text_error(score.value, score.standard_error))
    elif failure is not None:
        if to_retry(trial, context.config.train.retries):
            return
        if failure.kind is FailureKind.ALTERED or (trial.purpose is Purpose.BASELINE and failure.kind.infrastructure):
            _pause(context, archive, trial, failure)
            return
        if trial.purpose in (Purpose.SEARCH, Purpose.RUNG):
            run.create(holder.paths.failure, failure)  # before the trial is closed and no longer read
        run.create(trial.paths.failure, failure)
    if score is None or trial.purpose is not Purpose.RUNG:
        # What a search trial continued is of no use after it.
        rungs = holder.of(Purpose.RUNG) if trial.purpose in (Purpose.SEARCH, Purpose.RUNG) else ()
        _remove_resume_state((*rungs, trial))
    elif not context.config.baseline.continues:
        _remove_resume_state((trial,))


def _remove_resume_state(trials: Iterable[Trial]) -> None:
    for trial in trials:
        for tried in trial.tries:
            remove_tree(tried.paths.resume)


def _copied(archive: Archive, score: Score) -> Failure | None:
    """A failure if other code made the same checkpoint before: two changes give equal weights only if one has no effect, or
    copied the other's checkpoint."""
    whose = archive.same_checkpoint(score.checkpoint)
    if whose is None:
        return None
    reason = (
        f"the checkpoint is the same as that of {short(whose)}: the change has no effect on training, or it was copied"
    )
    return Failure(Stage.EVALUATE, FailureKind.COPIED, reason, score.try_)


def _stop(context: Context, one: Try) -> None:
    """End a job that its trial no longer needs, because an earlier job that was given up has left a result after all."""
    if one.job.job_id is None:
        return  # first the job must be found or the try voided
    try:
        context.cluster.cancel([one.job.job_id])
    except ClusterRefused as refused:
        context.holdups.wait(POLLING, str(refused), context.clock() + _SILENCE_S)
        return
    _end(one, FailureKind.INTERRUPTED, "an earlier job of this trial left a result after all", context.clock())
    context.run.reader.touch(one.paths.folder)


def _pause(context: Context, archive: Archive, trial: Trial, failure: Failure) -> None:
    """Pause the run for a person: a file was changed, or every job of the unmodified code was stopped by a machine fault and
    no retry is left. Once the run is resumed, retries are counted from zero again."""
    run, seen = context.run, failure.reason.splitlines()[0] if failure.reason else ""
    if failure.kind is FailureKind.ALTERED:
        context.pause(trial.paths.folder, f"{seen}; restore it")
    else:
        context.pause(
            trial.paths.folder,
            f"no job of the unmodified baseline gave a result, due to a fault of the machines, not of the code "
            f"({failure.kind}: {seen}); see {trial.paths.folder} and the logs in {run.paths.jobs}, repair the machines",
        )
    if archive.pause is None:
        run.reader.touch(trial.paths.folder)  # read it again at once: until the pause is in force, retries would start
        return
    for one in trial.tries:
        old = one.failure
        if one.result is None or old is None or old.kind in UNCOUNTED:
            continue
        excused = replace(
            old, kind=FailureKind.INTERRUPTED, reason=f"{old.kind}, before the run was resumed: {old.reason}"
        )
        if one.declared and one.spoiled is None:
            run.replace(one.paths.ended, replace(one.result, failure=excused))
        else:
            run.replace(one.paths.spoiled, excused)


def _comparable(context: Context, archive: Archive, trial: Trial, one: Try) -> bool:
    """Whether a try ran on the GPU model of the run. If not, it is marked as spoiled, which the next tick decides on."""
    if one.score is None or one.result is None or not one.result.gpu or trial.purpose is Purpose.TEST:
        return True
    wanted = reference_gpu(archive)
    if wanted is None:
        return False  # the baseline's first trial has no result yet
    if wanted == one.result.gpu:
        return True
    reason = f"ran on {one.result.gpu}, the run is measured on {wanted}; request it with cluster.slurm.gpu_type"
    failure = Failure(Stage.TRAIN, FailureKind.OTHER_GPU, reason, one.paths.folder.name)
    context.run.create(one.paths.spoiled, failure)
    return False
