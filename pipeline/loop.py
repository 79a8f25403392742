"""The search on one screen. A tick moves every candidate to its next stage as its folder shows; it can be cut off
anywhere and called again, for days in a row or once from cron."""

from collections.abc import Callable

from pipeline.policy.stopping import finishing
from pipeline.stages import evaluate, ideate, implement, learn, select, train, upkeep
from pipeline.stages.context import ASKING, Context
from pipeline.store.archive import Archive

_PATIENCE_S = 20.0
"""How long one call from cron waits for a language model that does not answer."""


def tick(context: Context) -> Archive:
    """One pass over the run as it is now, in the order of the stages. What a stage adds is in the next tick's archive."""
    archive = context.run.reader.read()
    if archive.pause is None and archive.alarm is None:
        learn.step(context, archive)  # rewards -> the next policy -> samples, where the ideator learns
        ideate.step(context, archive)  # the last Selection -> Parents -> Ideas
        implement.step(context, archive)  # Idea -> Patch and variant, or Failure
    if archive.pause is None:
        train.step(context, archive)  # variant -> trials, in one wave of jobs
    evaluate.step(context, archive)  # what jobs left -> Score or Failure
    select.step(context, archive)  # outcomes -> Selection, and at the end a Report
    upkeep.watch_machines(context, archive)  # failures that look like a machine's -> Alarm -> AlarmVerdict
    context.note_model()  # whether the language model can be asked
    upkeep.notify(context, archive)  # what a person should be told
    upkeep.free_disk(context, archive)  # checkpoints and variants that nothing needs again
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
    """For cron: ticks until nothing is left to do at once; jobs that were submitted run on by themselves."""
    archive = tick(context)
    while not is_over(context, archive) and (context.run.reader.changed or _at_work(context)):
        wait(context)
        archive = tick(context)
    show(archive)
    return archive


def _at_work(context: Context) -> bool:
    """Whether something is under way here that does not wait for somebody else."""
    return context.background.busy and not context.holdups.lasts(ASKING, _PATIENCE_S)


def is_over(context: Context, archive: Archive) -> bool:
    """Whether the run has its report, and no setting needs more."""
    return archive.report is not None and finishing(context, archive) and not context.run.reader.changed


def wait(context: Context) -> None:
    """Until the next tick: not at all when this one added something."""
    if not context.run.reader.changed:
        context.background.done.wait(context.config.cluster.poll_s)
    context.background.done.clear()
