"""Power-law selection by rank: the best are drawn often, all others sometimes (Lange, Imajuku and Cetin, "ShinkaEvolve",
arXiv 2509.19349, section on parent sampling)."""

from collections.abc import Iterator

from pipeline.config import Config
from pipeline.methods.guided import WIDE, Field, Guided, Option, by_rank
from pipeline.metric import Metric


class PowerLaw(Guided):
    """Of the candidates whose posterior mean beats the baseline, the r-th best is drawn in proportion to r to the power of
    -`alpha`."""

    pool = WIDE

    def __init__(self, config: Config, metric: Metric, alpha: float = 1.0) -> None:
        super().__init__(config, metric)
        self._alpha = alpha

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        better = [one for one in field.options if one.gain > 0]
        yield from (by_rank(field.rng, better, self._alpha) for _ in range(count))
