"""The search on one screen. A tick moves every candidate to its next stage, according to its folder. It may be killed
at any point and called again, continuously for days or once from cron."""

from collections.abc import Callable

from pipeline.policy.stopping import finishing
from pipeline.stages import evaluate, ideate, implement, learn, select, train, upkeep
from pipeline.stages.context import Context
from pipeline.store.archive import Archive


def tick(context: Context) -> Archive:
    """One pass over the current state of the run, in the order of the stages. Additions of a stage are in the next
    tick's archive."""
    archive = context.run.reader.read()
    if archive.pause is None and archive.alarm is None:
        learn.step(context, archive)  # rewards -> the next policy -> samples, if the ideator learns
        ideate.step(context, archive)  # the last Selection -> Parents -> Ideas
        implement.step(context, archive)  # Idea -> Patch and variant, or Failure
    if archive.pause is None:
        train.step(context, archive)  # variant -> trials, in one wave of jobs
    evaluate.step(context, archive)  # results of jobs -> Score or Failure
    select.step(context, archive)  # outcomes -> Selection, and at the end a Report
    upkeep.watch_machines(context, archive)  # failures that look like infrastructure faults -> Alarm -> AlarmVerdict
    context.note_model()  # whether the language model is available
    upkeep.notify(context, archive)  # notifications to the user
    upkeep.free_disk(context, archive)  # checkpoints and variants that are no longer needed
    return archive


def run(context: Context, show: Callable[[Archive], None], beat: Callable[[], None]) -> Archive:
    """Tick until the run has its report. `show` gets the archive of every tick, `beat` renews the lock."""
    while True:
        archive = tick(context)
        beat()
        show(archive)
        if is_over(context, archive):
            return archive
        wait(context)


def once(context: Context, show: Callable[[Archive], None]) -> Archive:
    """For cron: tick until nothing is left to do immediately; submitted jobs keep running."""
    archive = tick(context)
    while not is_over(context, archive) and context.at_work:
        wait(context)
        archive = tick(context)
    show(archive)
    return archive


def is_over(context: Context, archive: Archive) -> bool:
    """Whether the run has its report and the settings require nothing more."""
    return archive.report is not None and finishing(context, archive) and not context.run.reader.changed


def wait(context: Context) -> None:
    """Wait until the next tick; return at once if this tick added something."""
    if not context.run.reader.changed:
        context.background.done.wait(context.config.cluster.poll_s)
    context.background.done.clear()
