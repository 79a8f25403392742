"""PUCT: the value of a parent plus a bonus for parents with few children for their rank (Rosin, "Multi-armed Bandits with
Episode Context", 2011; Silver et al., Nature 529, 2016; for code search "Learning to Discover at Test Time", arXiv
2601.16175)."""

import math
from collections import Counter
from collections.abc import Iterator

from pipeline.config import Config
from pipeline.methods.guided import Field, Guided, Option
from pipeline.metric import Metric


class Puct(Guided):
    """Draws the parent with the largest value + `bonus` · prior · √(1 + visits of all) / (1 + own visits), where values are
    scaled to at most 1, the prior falls linearly with the rank, and each child counts as a visit."""

    def __init__(self, config: Config, metric: Metric, bonus: float = 1.0) -> None:
        super().__init__(config, metric)
        self._bonus = bonus

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        better = [one for one in field.options if one.gain > 0]
        if not better:
            return
        top, size = better[0].gain, len(better)
        priors = [2 * (size - rank) / (size * (size + 1)) for rank in range(size)]
        visits = Counter({one.id: one.children for one in better})
        for _ in range(count):
            spread = math.sqrt(1 + visits.total())

            def worth(rank: int, spread: float = spread) -> float:
                one = better[rank]
                return one.gain / top + self._bonus * priors[rank] * spread / (1 + visits[one.id])

            best = better[max(range(size), key=worth)]
            visits[best.id] += 1
            yield best
