"""Base class of all methods that learn from outcomes. A subclass only defines how parents are drawn.

A growing share of the ideas in later generations builds on earlier candidates (arXiv 2601.14525, section on evolutionary
search). For each such idea one parent is drawn at the end of the generation before; in steady mode, when its generation
opens.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import Config, IdeateConfig
from pipeline.likeness import narrowed, words_of
from pipeline.methods.base import Room, first_trials, pinned
from pipeline.metric import Metric
from pipeline.policy.trials import Wanted
from pipeline.records import Knowledge, Parents, Selection
from pipeline.report.posterior import POOL, ranked
from pipeline.report.standings import baseline_estimate, knowledge
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate

WIDE = 10 * POOL
"""Pool of a method whose rule also reaches candidates far down the ranking; a decision costs ten times as much."""


@dataclass(frozen=True)
class Option:
    """A possible parent. Gains are relative to the baseline; positive is better, whatever the metric's direction."""

    candidate: Candidate
    gain: float
    """Posterior mean of the gain, given all scores."""
    deviation: float
    """Posterior standard deviation of the gain."""
    score_gain: float
    """Gain by its own score."""
    children: int
    """Number of candidates that build on it, including unfinished and failed ones."""

    @property
    def id(self) -> str:
        return self.candidate.id


@dataclass(frozen=True)
class Field:
    """The input of a draw."""

    options: Sequence[Option]
    """The best candidates by posterior mean, best first, without banned ones."""
    baseline_error: float
    """Standard error of the baseline's value."""
    generation: int
    """Number of the generation for which parents are drawn."""
    rng: random.Random
    """Seeded by the run's seed and the numbers of known outcomes and candidates."""
    archive: Archive
    """The archive of the options."""


class Guided(ABC):
    """A method with feedback."""

    pool = POOL
    """Number of options, those with the best scores."""

    def __init__(self, config: Config, metric: Metric) -> None:
        self.config = config
        self.metric = metric

    @abstractmethod
    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        """One parent for each of `count` ideas; none for an idea that should explore instead."""

    def plan(self, archive: Archive, room: Room) -> Parents:
        """The share of ideas given by `ideate.exploit_*` builds on parents. Their number is rounded at random, so that the
        share is also right for generations of a single idea."""
        if room.selection is None and baseline_estimate(archive) is None:
            return Parents(ideas=room.ideas, seen=Knowledge(generations=archive.complete))
        luck = random.Random(f"{self.config.seed}/{len(archive.generations)}").random()
        share = exploit_share(self.config.ideate, room.generation) * self._widened(archive)
        count = min(room.ideas, math.floor(share * room.ideas + luck))
        selection = room.selection or self._decide(archive, count)
        draws = selection.draws[:count]
        names = [one for one in selection.parents if one in draws or archive.is_pinned(one)]
        return Parents(tuple(names), len(draws) / max(1, room.ideas), room.ideas, seen=selection.seen, draws=draws)

    def wanted_trials(self, archive: Archive) -> Iterator[Wanted]:
        """One trial for each candidate."""
        return first_trials(self.config, archive)

    def select(self, archive: Archive) -> Selection:
        """Draws for a whole generation. Pinned candidates are drawn first, banned ones never."""
        return self._decide(archive, self.config.ideate.candidates)

    def stop(self, archive: Archive) -> str | None:
        """None: only the rules `stop.*` apply."""
        return None

    def _widened(self, archive: Archive) -> float:
        """What is left of the share of exploit ideas when the ideas narrow (`ideate.widen`), 0 to 1."""
        ideate = self.config.ideate
        if not ideate.widen:
            return 1.0
        complete = archive.generations[: archive.complete]
        ideas = [one.idea for generation in complete for one in generation.candidates]
        span = 2 * max(1, ideate.candidates)
        ends = ideas if len(ideas) <= 2 * span else [*ideas[:span], *ideas[-span:]]
        return 1 - ideate.widen * narrowed([words_of(f"{one.title} {one.text}") for one in ends], span)

    def _decide(self, archive: Archive, count: int) -> Selection:
        known = knowledge(archive)
        first = [one.id for one in pinned(self.metric, archive)]
        field = self._field(archive, known)
        drawn = [one.id for one in self.draw(field, max(0, count - len(first))) if one is not None]
        ordered = [one.id for one in field.options if one.id in drawn and one.id not in first]
        return Selection((*first, *ordered), known, tuple([*first, *drawn][:count]))

    def _field(self, archive: Archive, known: Knowledge) -> Field:
        assert known.baseline is not None
        gain, value = self.metric.gain, known.baseline.value
        options = [
            Option(
                candidate,
                gain(belief.mean, value),
                belief.deviation,
                gain(score.value, value),
                archive.index.children[candidate.id],
            )
            for candidate, belief in ranked(archive, self.metric, known, self.pool)
            if (score := candidate.score) is not None and not archive.is_banned(candidate.id)
        ]
        rng = random.Random(f"{self.config.seed}/{known.outcomes}/{archive.count}")
        return Field(options, known.baseline.standard_error, len(archive.generations), rng, archive)


def exploit_share(ideate: IdeateConfig, generation: int) -> float:
    """Share of exploit ideas: none at first, then rising every second generation (arXiv 2601.14525)."""
    if generation == 0:
        return 0.0
    return min(ideate.exploit_max, ideate.exploit_start + ideate.exploit_step * ((generation - 1) // 2))


def by_rank(rng: random.Random, options: Sequence[Option], alpha: float) -> Option | None:
    """One of the options, which are sorted best first, with a probability proportional to r to the power of -alpha for rank
    r; none if there are no options."""
    if not options:
        return None
    return rng.choices(options, [(rank + 1) ** -alpha for rank in range(len(options))])[0]
