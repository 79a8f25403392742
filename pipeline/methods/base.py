"""The protocol of a search method: it chooses the parents, the wanted trials, and the content of a selection.

A method is a class of one page, chosen in `conf/select/` by `_target_`. It is constructed with the run's configuration and
metric and the other keys of `select.method`. It keeps no state and decides from the archive alone: the same archive and seed
give the same answer, so that a killed run resumes with the same decisions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.config import Config
from pipeline.metric import Metric
from pipeline.policy.rungs import next_training
from pipeline.policy.trials import Wanted
from pipeline.records import Parents, Selection
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate


@dataclass(frozen=True)
class Room:
    """Size and place of a generation that opens now."""

    ideas: int
    """Number of ideas that the ideator proposes."""
    generation: int
    """Number of the generation; in steady mode the number of candidates so far divided by `ideate.candidates`."""
    selection: Selection | None
    """The selection of the generation before; none for the first generation, and in steady mode."""


class SearchMethod(Protocol):
    """Decides what a search builds on. All methods of the protocol are pure."""

    def plan(self, archive: Archive, room: Room) -> Parents:
        """The parents for a generation that opens now, and the share of its ideas that exploit."""
        ...

    def wanted_trials(self, archive: Archive) -> Iterator[Wanted]:
        """Trials that the search still needs, most urgent first. Baseline trials and the final confirmation are excluded:
        they are the same for all methods."""
        ...

    def select(self, archive: Archive) -> Selection:
        """The selection at the end of a generation. The baseline has a score by then."""
        ...

    def stop(self, archive: Archive) -> str | None:
        """Why the search should end, in addition to the rules `stop.*`; none to continue."""
        ...


@dataclass(frozen=True)
class Terms:
    """The inputs of decisions besides the archive."""

    config: Config
    """Fixed and live settings in force."""
    metric: Metric
    """The metric to improve."""
    method: SearchMethod
    """The search method."""
    clock: Callable[[], float]
    """Returns the time in seconds since 1970."""


def seed_of(config: Config, number: int) -> int:
    """Seed of the trial with this number: the same for every code, so that codes are compared with common random numbers."""
    return 1000 * config.seed + number


def first_trials(config: Config, archive: Archive) -> Iterator[Wanted]:
    """The next training of every candidate that passed its smoke test and has no outcome: a rung, or its search trial."""
    metric = config.baseline.metric.metric
    for candidate in archive.open:
        attempt = candidate.attempt
        if not candidate.closed and attempt is not None and attempt.smoke is not None and attempt.failure is None:
            yield from next_training(config, metric, archive, candidate, seed_of(config, 0))


def pinned(metric: Metric, archive: Archive) -> list[Candidate]:
    """Scored candidates that a person pinned, best first."""
    known = archive.index.candidates
    found = [known[name] for name, mark in archive.marks.items() if mark.pinned and name in known]
    scored = [(metric.goodness(one.score.value), one) for one in found if one.score is not None]
    return [one for _, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].id))]
