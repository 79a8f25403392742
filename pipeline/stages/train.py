"""Stage 3: train. Opens the wanted trials and submits one wave of jobs for those that are ready."""

import shutil
from collections import Counter
from dataclasses import replace

from pipeline.cluster.base import Request
from pipeline.errors import ClusterRefused
from pipeline.makers.variants import restore_variant
from pipeline.policy.agenda import agenda
from pipeline.policy.budget import affordable
from pipeline.policy.forecast import wave_needs
from pipeline.policy.machines import shunned
from pipeline.policy.packing import kind_of, submitted_now
from pipeline.policy.rungs import try_to_continue
from pipeline.policy.stopping import finishing
from pipeline.policy.trials import Wanted, is_ready
from pipeline.records import Job, Purpose
from pipeline.stages.context import PACKING, SUBMITTING, Context
from pipeline.store import files
from pipeline.store.archive import Archive, run_relative
from pipeline.store.paths import TryPaths
from pipeline.store.run import with_job_id

VALIDATION, TEST = "validation", "test"


def step(context: Context, archive: Archive) -> None:
    """Submit as many ready trials as there are slots, most urgent first."""
    free = context.cluster.slots() - len(archive.in_flight())
    if free > 0:
        free = min(free, affordable(context, archive, final=finishing(context, archive)))
    if free <= 0:
        return
    retries = context.config.train.retries
    wave = _wave(context, archive, [one for one in agenda(context, archive) if is_ready(one.found, retries)], free)
    if not wave:
        context.holdups.over(SUBMITTING)
        return
    if not context.holdups.due(SUBMITTING):
        return
    files.check_space(context.run.paths.folder, *wave_needs(context.config, len(wave)))
    jobs = {}
    new: Counter[str] = Counter()
    for wanted in wave:
        if wanted.holder is not archive.baseline:
            restore_variant(context.run.paths, wanted.holder)
        paths = _new_try(wanted, new)
        job = _job(context, wanted, _job_name(context, run_relative(archive, paths.folder)))
        paths.trial.folder.mkdir(parents=True, exist_ok=True)
        paths.folder.mkdir(exist_ok=True)
        context.run.replace(paths.job, job)
        jobs[job.name] = (paths, job)
    requests = [
        Request(name, paths.folder, kind_of(one)) for one, (name, (paths, _)) in zip(wave, jobs.items(), strict=True)
    ]
    try:
        taken = context.cluster.submit(requests, shunned(archive, context.clock()))
    except ClusterRefused as refused:
        context.holdups.failed(SUBMITTING, str(refused))
        taken = {}
    else:
        context.holdups.over(SUBMITTING)
    for name, (paths, job) in jobs.items():
        if name in taken:
            context.run.replace(paths.job, with_job_id(job, taken[name], context.clock()))
            context.run.event("submitted", paths.folder, taken[name])
        else:
            shutil.rmtree(paths.folder)  # nothing was submitted, so nothing is lost; the next wave includes it
            context.run.reader.touch(paths.folder)


def _wave(context: Context, archive: Archive, ready: list[Wanted], free: int) -> list[Wanted]:
    """The trials to submit now. A pack that is not full waits for further trials for a while."""
    pack, wait_s, in_flight = context.cluster.pack, context.config.cluster.pack_wait_s, len(archive.in_flight())
    more = pack > 1 and context.at_work and not context.holdups.lasts(PACKING, wait_s)
    wave = submitted_now(ready, free, pack, in_flight, more)
    if not more or len(wave) == len(ready):
        context.holdups.over(PACKING)
    elif not context.holdups.waits(PACKING):
        reason = f"{pack} trials share a job (cluster.pack), and fewer are ready while candidates are being prepared"
        context.holdups.wait(PACKING, reason, context.clock() + wait_s)
    return wave


def _new_try(wanted: Wanted, new: Counter[str]) -> TryPaths:
    """The folder of a trial's next try; `new` counts the new trials of each code in this wave."""
    found = wanted.found
    if found is not None:
        return found.paths.try_(len(found.tries))
    code = str(wanted.holder.paths.folder)
    paths = wanted.new_paths(new[code]).try_(0)
    new[code] += 1
    return paths


def _job(context: Context, wanted: Wanted, name: str) -> Job:
    if wanted.of is not None:
        return Job(name, wanted.seed, TEST, of=wanted.of.paths.folder.name, purpose=Purpose.TEST)
    job = Job(name, wanted.seed, VALIDATION, budget=wanted.budget, purpose=wanted.purpose)
    found = wanted.found
    saved = [one for one in (found.tries if found is not None else ()) if one.paths.resume.is_dir()]
    newest = saved[-1] if saved else try_to_continue(context.config, wanted)
    if newest is None:
        return job
    started = newest.claim.at if newest.claim is not None else context.clock()
    # Training up to the resume state counts against the budget; training after it is lost and does not.
    used_s = newest.job.used_s + max(0.0, newest.paths.resume.stat().st_mtime - started)
    resume_from = newest.paths.folder.name if saved else f"{newest.paths.trial.folder.name}/{newest.paths.folder.name}"
    return replace(job, resume_from=resume_from, used_s=used_s)


def _job_name(context: Context, place: str) -> str:
    """A job name that is unique among all runs and readable in the cluster's lists: `gw-NAME-g0c3-a0-t0-r0`."""
    letters = {"generation": "g", "candidate": "c", "attempt": "a", "trial": "t", "try": "r"}
    parts = []
    for part in place.split("/"):
        head, _, number = part.rpartition("_")
        parts.append(f"{letters[head]}{int(number)}" if head in letters else part)
    return "-".join(["gw", context.run.name, *parts])
