"""Evolution as in arXiv 2601.14525, section on evolutionary search: later generations build on candidates that beat the
baseline, and a growing share of their ideas does so."""

import math
from collections.abc import Iterator

from pipeline.config import Config, IdeateConfig
from pipeline.methods.base import Room, first_trials, pinned
from pipeline.metric import Direction, Metric
from pipeline.policy.trials import Wanted
from pipeline.records import Knowledge, Parents, Selection
from pipeline.report.standings import baseline_estimate, knowledge, standing
from pipeline.store.archive import Archive


class Evolution:
    """The best `select.parents` candidates whose gain is at least `select.margin` standard errors are parents (the paper
    takes whatever scored higher). A candidate's value is that of its search trial."""

    def __init__(self, config: Config, metric: Metric) -> None:
        self._config = config
        self._metric = metric

    def plan(self, archive: Archive, room: Room) -> Parents:
        if room.selection is None and baseline_estimate(archive) is None:
            return Parents(ideas=room.ideas, seen=Knowledge(generations=archive.complete))
        selection = room.selection or self.select(archive)
        share = exploit_share(self._config.ideate, room.generation)
        return Parents(selection.parents, share, room.ideas, seen=selection.seen)

    def wanted_trials(self, archive: Archive) -> Iterator[Wanted]:
        return first_trials(self._config, archive)

    def select(self, archive: Archive) -> Selection:
        """Pinned candidates are parents first of all, banned ones never."""
        parents = [one.id for one in pinned(self._metric, archive)]
        room = max(0, self._config.select.parents - len(parents))
        others = (name for name in self._better(archive) if name not in parents and not archive.is_banned(name))
        parents += [name for _, name in zip(range(room), others, strict=False)]
        return Selection(tuple(parents), knowledge(archive))

    def stop(self, archive: Archive) -> str | None:
        return None

    def _better(self, archive: Archive) -> Iterator[str]:
        """Candidates that beat the baseline by the margin, best first."""
        reference, margin = baseline_estimate(archive), self._config.select.margin
        if reference is None:
            return
        # No error of a difference is smaller than this one, so that below it nobody has to be looked at.
        least_error = math.hypot(reference.standard_error, reference.seed_sd)
        for candidate in archive.ranked(self._metric.direction is Direction.maximize):
            assert candidate.score is not None
            ours = standing(self._metric, candidate.id, [candidate.score], reference)
            if ours.gain <= 0 or ours.gain < margin * least_error:
                return
            if ours.gain >= margin * ours.gain_error:
                yield candidate.id


def exploit_share(ideate: IdeateConfig, generation: int) -> float:
    """Share of exploit ideas: none at first, then rising every second generation (arXiv 2601.14525)."""
    if generation == 0:
        return 0.0
    return min(ideate.exploit_max, ideate.exploit_start + ideate.exploit_step * ((generation - 1) // 2))
