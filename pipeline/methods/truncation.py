"""Truncation selection: only the best few are parents, better ones more often (Mühlenbein and Schlierkamp-Voosen,
"Predictive Models for the Breeder Genetic Algorithm", Evolutionary Computation 1, 1993)."""

import math
from collections.abc import Iterator

from pipeline.methods.guided import Field, Guided, Option, by_rank


class Truncation(Guided):
    """Parents are the best `select.parents` candidates whose gain is at least `select.margin` standard errors. The r-th best
    is drawn in proportion to 1/r."""

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        margin, best = self.config.select.margin, list[Option]()
        for one in field.options:
            if len(best) < self.config.select.parents and one.gain > 0:
                if one.gain >= margin * math.hypot(one.deviation, field.baseline_error):
                    best.append(one)
        yield from (by_rank(field.rng, best, 1.0) for _ in range(count))
