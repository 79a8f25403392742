"""What a search method is: who is built upon, which trials are wanted, what a selection decides.

A method is a class of one page, chosen in `conf/select/` by `_target_`. It is made with the run's configuration and metric
and the other keys of `select.method`, keeps no state of its own, and answers from the archive alone: the same archive and
seed give the same answer, so that a killed run resumes with the same decisions.
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
    """What a generation that opens now may be."""

    ideas: int
    """Number of ideas that the ideator proposes."""
    generation: int
    """Which generation it is; in steady mode the candidates so far over `ideate.candidates`."""
    selection: Selection | None
    """What the generation before decided; none for the first, and in steady mode."""


class SearchMethod(Protocol):
    """Decides what a search builds upon. All its methods are pure."""

    def plan(self, archive: Archive, room: Room) -> Parents:
        """Who may be built upon in a generation that opens now, and how many of its ideas explore."""
        ...

    def wanted_trials(self, archive: Archive) -> Iterator[Wanted]:
        """Trials that the search still needs, the most urgent first. The baseline's and the confirmation at the end are not
        the method's: they are the same whatever searched."""
        ...

    def select(self, archive: Archive) -> Selection:
        """What a generation decides once it is over. The baseline has a score by then."""
        ...

    def stop(self, archive: Archive) -> str | None:
        """Why the search should end, besides the rules of `stop.*`; none while it should not."""
        ...


@dataclass(frozen=True)
class Terms:
    """What decisions depend on besides the archive."""

    config: Config
    """Fixed and live settings in force."""
    metric: Metric
    """What is searched for."""
    method: SearchMethod
    """How it is searched."""
    clock: Callable[[], float]
    """Seconds since 1970."""


def seed_of(config: Config, number: int) -> int:
    """Seed of the trial with a number: alike for every code, so that codes are compared on common random numbers."""
    return 1000 * config.seed + number


def first_trials(config: Config, archive: Archive) -> Iterator[Wanted]:
    """The search trial of every candidate that passed its smoke test and has no outcome; before it those of its rungs."""
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
