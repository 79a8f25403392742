"""Islands: several parallel searches that periodically exchange their best candidates (Tanese, "Distributed Genetic
Algorithms", ICGA 1989; Romera-Paredes et al., "FunSearch", Nature 625, 2024)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.methods.guided import Field, Guided, Option
from pipeline.methods.power_law import PowerLaw
from pipeline.methods.thompson import Thompson
from pipeline.methods.truncation import Truncation
from pipeline.metric import Metric
from pipeline.report.posterior import POOL
from pipeline.store.archive import Archive
from pipeline.store.paths import number_of

_WITHIN = {"thompson": Thompson, "truncation": Truncation, "power_law": PowerLaw}


class Islands(Guided):
    """Parents are drawn for `islands` in turn, each from the candidates of one island. Every `every` generations the best
    candidate of each island is also available to the next island for that generation. `within` names the method by which
    islands draw: one for all, or one for each.

    A candidate on the baseline belongs to the island of its number, any other to the island of its first parent; in a
    generation with exchange it moves to the next island if its number belongs there. So ideas that join two parents mix
    islands."""

    def __init__(
        self, config: Config, metric: Metric, islands: int = 4, every: int = 3, within: Sequence[str] = ("thompson",)
    ) -> None:
        super().__init__(config, metric)
        for key, number in (("islands", islands), ("every", every)):
            if number < 1:
                raise BadInput(f"select.method.{key}={number} is too small; use at least 1")
        if not within:
            raise BadInput(f"select.method.within is empty; list one or more of: {', '.join(_WITHIN)}")
        if unknown := [name for name in within if name not in _WITHIN]:
            raise BadInput(f"select.method.within has no {unknown[0]}; allowed: {', '.join(_WITHIN)}")
        self._islands, self._every = islands, every
        self._within = [_WITHIN[within[number % len(within)]](config, metric) for number in range(islands)]
        self.pool = islands * POOL

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        homes: dict[str, int] = {}
        own: list[list[Option]] = [[] for _ in range(self._islands)]
        for one in field.options:
            own[self._home(field.archive, one.id, homes)].append(one)
        if field.generation % self._every == 0 and self._islands > 1:
            best = [options[:1] for options in own]
            own = [[*best[island - 1], *options] for island, options in enumerate(own)]
            own = [sorted(options, key=lambda one: (-one.gain, one.id)) for options in own]
        slots = [(field.generation + slot) % self._islands for slot in range(count)]
        draws = {
            island: self._within[island].draw(replace(field, options=own[island]), slots.count(island))
            for island in set(slots)
        }
        yield from (next(draws[island], None) for island in slots)

    def _home(self, archive: Archive, name: str, homes: dict[str, int]) -> int:
        """The island of a candidate; `homes` caches those of its ancestors."""
        line = [name]
        while line[-1] not in homes and (parents := archive.candidate(line[-1]).idea.parents):
            line.append(parents[0])
        home = homes.get(line[-1])
        for one in reversed(line):
            generation, number = map(number_of, one.split("/"))
            own = (generation + number) % self._islands
            moves = generation % self._every == 0 and home is not None and own == (home + 1) % self._islands
            home = homes.setdefault(one, own if home is None or moves else home)
        assert home is not None
        return home
