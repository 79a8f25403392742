"""The rules by which two other programs sample parents, as methods of our protocol: our reading of their papers and
documentation, with their default numbers. Like these programs, they rank by raw scores; nothing else of the programs is
reproduced."""

import math
import statistics
from collections.abc import Iterator

from pipeline.methods.guided import WIDE, Field, Guided, Option
from pipeline.store.paths import number_of


def better(field: Field) -> list[Option]:
    """Options with a better score than the baseline's, best first."""
    return sorted((one for one in field.options if one.score_gain > 0), key=lambda one: (-one.score_gain, one.id))


class ShinkaEvolve(Guided):
    """Lange, Imajuku and Cetin, "ShinkaEvolve" (arXiv 2509.19349), weighted sampling: a sigmoid of the distance of the
    score to the median, in median absolute deviations, times 1 / (1 + children)."""

    slope = 10.0
    pool = WIDE

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        options = better(field)
        if not options:
            return
        middle = statistics.median(one.score_gain for one in options)
        scale = statistics.median(abs(one.score_gain - middle) for one in options) or 1.0
        weights = [
            1 / (1 + math.exp(min(700.0, -self.slope * (one.score_gain - middle) / scale))) / (1 + one.children)
            for one in options
        ]
        yield from field.rng.choices(options, weights, k=count)


class OpenEvolve(Guided):
    """OpenEvolve, an open AlphaEvolve (arXiv 2506.13131): five islands; a parent is drawn with probability 0.2 from its
    island, with 0.7 from the archive of the best 100, else from all. After every 50 candidates of an island, its best
    tenth moves to the next."""

    islands, archive, explore, exploit, every = 5, 100, 0.2, 0.7, 50
    pool = WIDE

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        options = better(field)
        if not options:
            return
        homes = [self._home(one) for one in options]
        newest = max(one.candidate.order for one in options)
        moved = [one for one in options if newest - one.candidate.order >= self.every * self.islands]
        guests = {one.id for one in moved[: max(1, len(moved) // 10)]} if moved else set()
        for slot in range(count):
            island, luck = (field.generation + slot) % self.islands, field.rng.random()
            own = [
                one
                for one, home in zip(options, homes, strict=True)
                if home == island or (one.id in guests and (home + 1) % self.islands == island)
            ]
            if luck < self.explore and own:
                yield field.rng.choice(own)
            elif luck < self.explore + self.exploit:
                best = options[: self.archive]
                yield field.rng.choice([one for one in best if one in own] or best)
            else:
                yield field.rng.choice(options)

    def _home(self, option: Option) -> int:
        generation, candidate = option.id.split("/")
        return (number_of(generation) + number_of(candidate)) % self.islands
