"""MAP-Elites: the best candidate of each kind is a parent, all with equal probability (Mouret and Clune, "Illuminating
search spaces by mapping elites", arXiv 1504.04909)."""

import bisect
from collections.abc import Iterator, Mapping, Sequence

from pipeline.config import Config
from pipeline.methods.guided import Field, Guided, Option
from pipeline.metric import Metric

Cell = tuple[object, ...]


class MapElites(Guided):
    """Candidates are of the same kind (cell) if they change the same files of the baseline, and if their values of
    `descriptors` are between the same edges. A descriptor is a secondary metric that the evaluator reports, e.g.
    `{tokens_per_step: [1000, 4000]}`; those of the baseline (`baseline.descriptors`) count unless they are given here. So
    candidates that change only the settings file are one kind."""

    def __init__(
        self, config: Config, metric: Metric, descriptors: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        super().__init__(config, metric)
        self._descriptors: dict[str, Sequence[float]] = {**config.baseline.descriptors, **(descriptors or {})}

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        cells: dict[Cell, Option] = {}
        for one in field.options:
            if one.gain > 0:
                cells.setdefault(self._cell(one), one)
        elites = list(cells.values())
        yield from (field.rng.choice(elites) if elites else None for _ in range(count))

    def _cell(self, option: Option) -> Cell:
        attempt, score = option.candidate.attempt, option.candidate.score
        made = attempt.implementation if attempt is not None else None
        numbers = score.secondary if score is not None else {}
        bins = [
            bisect.bisect(list(edges), numbers[name]) if name in numbers else None
            for name, edges in self._descriptors.items()
        ]
        return (made.paths if made is not None else (), *bins)
