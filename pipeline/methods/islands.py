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
from pipeline.store.paths import number_of

_WITHIN = {"thompson": Thompson, "truncation": Truncation, "power_law": PowerLaw}


class Islands(Guided):
    """Ideas are assigned to `islands` in turn; each builds on candidates of its own island. Every `every` generations the
    best candidate of each island is also available to the next island for that generation. `within` names the method by
    which islands draw: one for all, or one for each."""

    def __init__(
        self, config: Config, metric: Metric, islands: int = 4, every: int = 3, within: Sequence[str] = ("thompson",)
    ) -> None:
        super().__init__(config, metric)
        if unknown := [name for name in within if name not in _WITHIN]:
            raise BadInput(f"select.method.within has no {unknown[0]}; allowed: {', '.join(_WITHIN)}")
        self._islands, self._every = islands, every
        self._within = [_WITHIN[within[number % len(within)]](config, metric) for number in range(islands)]
        self.pool = islands * POOL

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        own = [[one for one in field.options if self._of(one) == island] for island in range(self._islands)]
        if field.generation % self._every == 0:
            best = [options[:1] for options in own]
            own = [[*best[island - 1], *options] for island, options in enumerate(own)]
            own = [sorted(options, key=lambda one: (-one.gain, one.id)) for options in own]
        slots = [(field.generation + slot) % self._islands for slot in range(count)]
        draws = {
            island: self._within[island].draw(replace(field, options=own[island]), slots.count(island))
            for island in set(slots)
        }
        yield from (next(draws[island], None) for island in slots)

    def _of(self, option: Option) -> int:
        """The island of a candidate."""
        generation, candidate = option.id.split("/")
        return (number_of(generation) + number_of(candidate)) % self._islands
