"""Stage 4: evaluate. The scoring itself runs inside the job (`trial.py`); here the controller reads what came of it and
closes trials with a Score or a Failure."""

import shutil

from pipeline.cluster.base import Cluster, Phase
from pipeline.errors import Refused
from pipeline.records import Ended, Failure, Kind, Pause, Result, Stage
from pipeline.stages import machines
from pipeline.stages.base import Search
from pipeline.stages.decide import elites, to_retry
from pipeline.stages.keep import spare
from pipeline.stages.machines import reference_gpu
from pipeline.store import files
from pipeline.store.archive import Archive, Attempt, Trial, Try
from pipeline.store.run import is_void, record_job_id, void


def step(search: Search) -> None:
    """Give every try that is over its result, and every trial that is decided its score or failure."""
    _end_tries(search, search.archive())
    archive = search.archive()
    closed = [_close(search, archive, attempt, trial) for attempt, trial in archive.open_trials()]
    if any(closed):
        changed = {candidate.id for candidate in (*archive.unsettled, *elites(search, archive))}
        for folder in spare(search, search.archive(), changed):
            shutil.rmtree(folder, ignore_errors=True)
    machines.step(search)


def end_jobs(archive: Archive, cluster: Cluster, reason: str, now: float) -> int:
    """End all jobs of a run, and tell how many; what was trained and not saved is trained again later."""
    flying = archive.flying()
    for one in flying:
        _end(one, Kind.INTERRUPTED, reason, now)
    cluster.cancel([one.job.job_id for one in flying if one.job.job_id is not None])
    return len(flying)


def _end_tries(search: Search, archive: Archive) -> None:
    """Ask the cluster once about all jobs, and write the result of those that can write none themselves."""
    now = search.clock()
    flying = archive.flying()
    lost = [one for one in flying if one.job.job_id is None]
    known = {one.job.job_id: one for one in flying if one.job.job_id is not None}
    try:
        found = search.cluster.find([one.job.name for one in lost]) if lost else {}
        statuses = search.cluster.poll(list(known)) if known else {}
    except Refused as refused:
        search.run.event("refused", detail=str(refused))
        return
    for one in lost:
        _adopt(one, found.get(one.job.name), now)
    for job_id, one in known.items():
        status = statuses[job_id]
        if status.phase is Phase.PENDING and status.never_starts:
            search.cluster.cancel([job_id])
            reason = f"Slurm can never start {job_id}: {status.words}"
            _end(one, Kind.INTERRUPTED, reason, now)
            go_on = f"then: python -m pipeline.resume {search.run.paths.folder}"
            files.create(search.run.paths.pause, Pause("groundwork", f"{reason}; {go_on}", now))
        elif status.phase is Phase.ENDED:
            node = status.node.partition(",")[0]
            _end(one, status.fault or Kind.VANISHED, f"no result: {status.words}", now, node)


def _adopt(one: Try, job_id: str | None, now: float) -> None:
    """A try whose submitter was killed: its job is known by its name or its claim, or it must never run."""
    if job_id is not None:
        record_job_id(one.paths, one.job, job_id)
    elif one.claim is not None:
        if is_void(one.claim):
            _end(one, Kind.INTERRUPTED, "the controller was killed while it submitted", now)
        else:
            record_job_id(one.paths, one.job, one.claim.job_id)
    elif void(one.paths):
        _end(one, Kind.INTERRUPTED, "the controller was killed while it submitted", now)


def _end(one: Try, kind: Kind, reason: str, now: float, node: str = "") -> None:
    """Write the result of a try that wrote none itself; if it did meanwhile, that is the one that counts."""
    failure = Failure(Stage.TRAIN, kind, reason, one.paths.folder.name)
    started, host = (one.claim.at, one.claim.host) if one.claim is not None else (now, "")
    files.create(
        one.paths.result, Result(Ended.FAILED, failure=failure, host=node or host, started_at=started, ended_at=now)
    )


def _close(search: Search, archive: Archive, holder: Attempt, trial: Trial) -> bool:
    """Decide a trial by its tries; false when it stays open."""
    newest = trial.newest
    if newest is None or newest.result is None or not _comparable(archive, newest):
        return False
    score, failure = newest.score, newest.failure
    if score is not None:
        files.create(trial.paths.score, score)
        search.run.event("scored", trial.paths.folder, search.metric.text_error(score.value, score.standard_error))
    elif failure is not None:
        if to_retry(search, trial):
            return False
        first = trial.paths.folder == holder.paths.trial(0).folder
        if first and holder.paths.folder != search.run.paths.baseline.folder:
            files.create(holder.paths.failure, failure)  # before the trial is closed, and with it out of our sight
        files.create(trial.paths.failure, failure)
    shutil.rmtree(newest.paths.resume, ignore_errors=True)
    return True


def _comparable(archive: Archive, newest: Try) -> bool:
    """Whether a try ran on the GPU model of the run. One that did not is spoiled, and decided at the next tick."""
    if newest.score is None or newest.result is None or not newest.result.gpu or not newest.job.train:
        return True
    wanted = reference_gpu(archive)
    if wanted is None:
        return False  # the baseline's first trial has not told yet
    if wanted == newest.result.gpu:
        return True
    reason = f"ran on {newest.result.gpu}, the run is measured on {wanted}; ask for it with cluster.slurm.gpu_type"
    files.create(newest.paths.spoiled, Failure(Stage.TRAIN, Kind.OTHER_GPU, reason, newest.paths.folder.name))
    return False
