"""Upkeep of a long run besides the five stages: watching for broken machines, sending notices, and freeing disk."""

from pipeline.policy.machines import blamed, cause_for_alarm, deciding_trial
from pipeline.policy.notices import notices
from pipeline.policy.retention import removable_folders, would_be_elites
from pipeline.records import Alarm, AlarmVerdict, Failure, FailureKind
from pipeline.sandbox.removal import remove_tree
from pipeline.stages.context import Context, take_back
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate, State

_NEWEST = 2
"""Number of newest generations that are searched for removable folders when a controller starts."""


def watch_machines(context: Context, archive: Archive) -> None:
    """Raise an alarm if there is cause, and decide the open one."""
    raised, run = archive.alarm, context.run
    if raised is None:
        alarm = cause_for_alarm(context, archive)
        if alarm is not None:
            paths = run.paths.alarm(len(archive.alarms))
            run.create(paths.alarm, alarm)
            run.event("alarm", paths.folder, alarm.signature)
        return
    trial = deciding_trial(archive, raised.alarm)
    if trial is None:
        return
    failure, reopened = trial.failure, list[str]()
    if failure is not None:
        recent = dict.fromkeys(ended.candidate for ended in archive.index.recent if ended.at >= raised.alarm.since)
        reopened = [name for name in recent if _excuse(context, archive.candidate(name), raised.alarm)]
        reason = (
            f"the unmodified baseline also fails ({failure.reason.splitlines()[0]}); see baseline/"
            f"{trial.paths.folder.name}, fix the machine"
        )
        context.pause(raised.paths.folder, reason)
    run.create(raised.paths.verdict, AlarmVerdict(failure is not None, tuple(reopened), context.clock()))
    run.event("verdict", raised.paths.folder, "the machine" if failure is not None else "the ideas themselves")


def notify(context: Context, archive: Archive) -> None:
    """Send new notices, if `notify.command` is set."""
    if context.config.notify.command:
        context.notifier.tell(notices(context, archive, context.holdups.open, context.purse.spent))


def free_disk(context: Context, archive: Archive) -> None:
    """Remove folders that nothing needs any more, after trials were closed."""
    bookmark, states = context.bookmark, archive.index.trial_states
    if bookmark.closed_trials is None:
        newest = archive.generations[-_NEWEST:]
        bookmark.watched.update(one.id for generation in newest for one in generation.candidates)
    closed, is_open = states[State.SCORED] + states[State.FAILED], [one.id for one in archive.open]
    bookmark.watched.update(is_open)
    if closed == bookmark.closed_trials:
        return
    best = would_be_elites(context, archive)
    among = map(archive.candidate, bookmark.watched.union(best))
    for folder in list(removable_folders(context, archive, among, best)):
        remove_tree(folder)
    bookmark.closed_trials, bookmark.watched = closed, {*is_open, *best}


def _excuse(context: Context, candidate: Candidate, alarm: Alarm) -> bool:
    """Reopen a candidate if the alarm was about its failure. Idempotent; may be interrupted anywhere."""
    found = blamed(candidate, alarm)
    if found is None:
        return False
    attempt, trial, failure = found
    reason = f"the unmodified baseline failed in the same way; the failure was: {failure.reason}"
    context.run.create(trial.newest.paths.spoiled, Failure(failure.stage, FailureKind.SPOILED, reason, failure.try_))
    take_back(context.run, candidate, attempt, trial)
    return True
