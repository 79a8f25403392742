"""MAP-Elites: the best candidate of each kind is a parent, all with equal probability (Mouret and Clune, "Illuminating
search spaces by mapping elites", arXiv 1504.04909)."""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.methods.guided import WIDE, Field, Guided, Option
from pipeline.metric import Metric

Cell = tuple[object, ...]

_PATCH: Mapping[str, Callable[[Sequence[str], str], object]] = {
    "files": lambda paths, settings_file: tuple(paths),
    "algorithm": lambda paths, settings_file: any(path != settings_file for path in paths),
    "any": lambda paths, settings_file: None,
}
"""How patches are told apart: from the files that differ from the baseline, and the settings file."""


class MapElites(Guided):
    """Candidates are of the same kind (cell) if their patches are alike by `patch`, and if their values of `descriptors`
    are between the same edges. `patch` is `files`, which files of the baseline differ, `algorithm`, whether any file
    except the settings file differs, or `any`: patches do not matter. A descriptor is a secondary metric that the
    evaluator reports, e.g. `{tokens_per_step: [1000, 4000]}`; those of the baseline (`baseline.descriptors`) count unless
    they are given here."""

    pool = WIDE

    def __init__(
        self,
        config: Config,
        metric: Metric,
        descriptors: Mapping[str, Sequence[float]] | None = None,
        patch: str = "files",
    ) -> None:
        super().__init__(config, metric)
        if patch not in _PATCH:
            raise BadInput(f"select.method.patch={patch} is not a descriptor; use one of: {', '.join(_PATCH)}")
        if patch == "algorithm" and not config.baseline.settings_file:
            raise BadInput(
                "select.method.patch=algorithm requires baseline.settings_file; set select.method.patch=files"
            )
        self._of_patch = _PATCH[patch]
        self._settings_file = config.baseline.settings_file
        self._descriptors: dict[str, Sequence[float]] = {**config.baseline.descriptors, **(descriptors or {})}
        for name, edges in self._descriptors.items():
            if list(edges) != sorted(edges):
                raise BadInput(f"the edges of descriptor {name} are {list(edges)}; list them from low to high")

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
        return (self._of_patch(made.paths if made is not None else (), self._settings_file), *bins)
