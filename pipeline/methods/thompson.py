"""Thompson sampling over parents: the parent of an idea is the best of independent random draws from the estimates of all
candidates (Thompson, Biometrika 25, 1933; Russo et al., "A Tutorial on Thompson Sampling", 2018)."""

import math
from collections.abc import Iterator

from pipeline.config import Config
from pipeline.methods.guided import Field, Guided, Option
from pipeline.metric import Metric


class Thompson(Guided):
    """For each idea a value of every candidate is drawn from its posterior, and the candidate with the best draw is the
    parent. If no draw beats the baseline, the idea explores.

    Draws have a standard deviation of `width` times the posterior's: below 1 is better for short runs (Chapelle and Li, "An
    Empirical Evaluation of Thompson Sampling", NIPS 2011). The draw of a candidate with n children is lowered by `discount`
    · ln(1 + n) mean deviations, since a score does not show that the good ideas for a parent are used up."""

    def __init__(self, config: Config, metric: Metric, width: float = 0.7, discount: float = 1.0) -> None:
        super().__init__(config, metric)
        self._width, self._discount = width, discount

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        options, gauss = field.options, field.rng.gauss
        typical = sum(one.deviation for one in options) / max(1, len(options))
        children = [one.children for one in options]
        spreads = [(one.gain, self._width * one.deviation) for one in options]
        spent = [self._discount * typical * math.log1p(made) for made in children]
        for _ in range(count):
            values = [gauss(*spread) - less for spread, less in zip(spreads, spent, strict=True)]
            best = max(range(len(values)), key=values.__getitem__, default=None)
            if best is None or values[best] <= 0:
                yield None
            else:
                children[best] += 1
                spent[best] = self._discount * typical * math.log1p(children[best])
                yield options[best]
