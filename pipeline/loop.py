"""The search on one screen. A tick moves every candidate to its next stage by what its folder says; it can be cut off
anywhere and called again, for days in a row or once from cron."""

from collections.abc import Callable

from pipeline.stages import evaluate, ideate, implement, select, train
from pipeline.stages.base import Search
from pipeline.stages.decide import finishing
from pipeline.store.archive import Archive


def tick(search: Search) -> Archive:
    """One look at everything, in the order of the stages."""
    archive = search.archive()
    if archive.pause is None and archive.alarm is None:
        ideate.step(search)  # the last generation's Selection -> Ideas
        implement.step(search)  # Idea -> Patch and variant, or Failure
    if archive.pause is None:
        train.step(search)  # variant -> trials, in one wave of jobs
    evaluate.step(search)  # what jobs left -> Score or Failure
    select.step(search)  # outcomes -> Selection, and at the end a Report
    return search.archive()


def run(search: Search, show: Callable[[Archive], None], beat: Callable[[], None]) -> Archive:
    """Tick until the run has its report. `show` is told after every tick, `beat` says that we live."""
    while True:
        archive = tick(search)
        beat()
        show(archive)
        if archive.report is not None and finishing(search, archive):
            return archive
        search.background.done.wait(search.config.cluster.poll_s)
        search.background.done.clear()


def once(search: Search, show: Callable[[Archive], None]) -> Archive:
    """One tick for cron: what it starts in the background is finished, jobs it submits go on by themselves."""
    archive = tick(search)
    while search.background.busy:
        search.background.done.wait(search.config.cluster.poll_s)
        search.background.done.clear()
        archive = tick(search)
    show(archive)
    return archive
