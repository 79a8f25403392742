"""Best-of-N: every candidate builds on the baseline, and no candidate influences the next. It is the control of arXiv
2601.14525."""

from collections.abc import Iterator

from pipeline.config import Config
from pipeline.methods.base import Room, first_trials
from pipeline.metric import Metric
from pipeline.policy.trials import Wanted
from pipeline.records import Knowledge, Parents, Selection
from pipeline.report.standings import knowledge
from pipeline.store.archive import Archive


class Independent:
    """A method without feedback. With `tells` the ideator may still learn from outcomes, as `ideate=tpe` does."""

    def __init__(self, config: Config, metric: Metric, tells: bool = False) -> None:
        self._config, self._tells = config, tells

    def plan(self, archive: Archive, room: Room) -> Parents:
        seen = knowledge(archive) if self._tells else Knowledge(generations=archive.complete)
        return Parents(ideas=room.ideas, seen=seen)

    def wanted_trials(self, archive: Archive) -> Iterator[Wanted]:
        return first_trials(self._config, archive)

    def select(self, archive: Archive) -> Selection:
        return Selection((), knowledge(archive))

    def stop(self, archive: Archive) -> str | None:
        return None
