"""Stage 3: train. Opens the trials that are wanted and submits one wave of jobs for those that are ready."""

import shutil

from pipeline.cluster.base import Request
from pipeline.errors import Refused
from pipeline.records import Job
from pipeline.stages.base import Search
from pipeline.stages.decide import TEST, VALIDATION, Wanted, affordable, finishing, in_flight, ready, wanted_trials
from pipeline.stages.forecast import wave_needs
from pipeline.stages.machines import shunned
from pipeline.store import files
from pipeline.store.run import record_job_id


def step(search: Search) -> None:
    """Submit as many ready trials as there are slots, most urgent first."""
    archive = search.archive()
    room = affordable(search, archive, final=finishing(search, archive))
    free = min(room, search.cluster.slots() - in_flight(archive))
    if free <= 0:
        return
    wave = [wanted for wanted in wanted_trials(search, archive) if ready(search, wanted)][:free]
    if not wave:
        return
    files.check_space(search.run.paths.folder, *wave_needs(search.config, len(wave)))
    requests, jobs = [], {}
    for wanted in wave:
        paths = wanted.paths.try_(wanted.tries)
        job = _job(search, wanted, _job_name(search, paths.folder.relative_to(search.run.paths.folder).as_posix()))
        paths.folder.mkdir(parents=True, exist_ok=True)
        files.replace(paths.job, job)
        search.run.reader.forget(paths.folder)
        requests.append(Request(job.name, paths.folder))
        jobs[job.name] = (paths, job)
    try:
        taken = search.cluster.submit(requests, shunned(archive, search.clock()))
    except Refused as refused:
        search.run.event("refused", detail=str(refused))
        taken = {}
    for name, (paths, job) in jobs.items():
        if name in taken:
            record_job_id(paths, job, taken[name])
            search.run.event("submitted", paths.folder, taken[name])
        else:
            shutil.rmtree(paths.folder)  # nothing was submitted, so nothing is lost; the next wave takes it


def _job(search: Search, wanted: Wanted, name: str) -> Job:
    if wanted.checkpoint is not None:
        return Job(name, wanted.seed, TEST, train=False, checkpoint=wanted.checkpoint)
    saved = [one for one in (wanted.trial.tries if wanted.trial else ()) if one.paths.resume.is_dir()]
    if not saved:
        return Job(name, wanted.seed, VALIDATION, budget=wanted.budget)
    newest = saved[-1]
    started = newest.claim.at if newest.claim is not None else search.clock()
    # What the resume state holds counts against the budget; what was trained after it is lost and does not.
    used_s = newest.job.used_s + max(0.0, newest.paths.resume.stat().st_mtime - started)
    return Job(name, wanted.seed, VALIDATION, go_on_from=newest.paths.folder.name, budget=wanted.budget, used_s=used_s)


def _job_name(search: Search, place: str) -> str:
    """Unique among all runs, and readable in the cluster's lists: `gw-NAME-g0c3-a0-t0-r0`."""
    letters = {"generation": "g", "candidate": "c", "attempt": "a", "trial": "t", "look": "l", "try": "r"}
    words = []
    for part in place.split("/"):
        head, _, number = part.rpartition("_")
        words.append(f"{letters[head]}{int(number)}" if head in letters else part)
    return "-".join(["gw", search.run.name, *words])
