"""Spaces of ideas for the benchmark of search: the value of a code as a function of the ideas it contains. All
simulated.

A code is a tuple of levels, one for each gene; the baseline has level 0 everywhere. A gene is a trick (off or on) or a
setting (a few values). Values are in points over the baseline."""

import random
from collections.abc import Callable
from dataclasses import dataclass

Code = tuple[int, ...]

MEASURED = (
    8.2, 2.8, 2.5, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, -0.1, -0.2, -0.3, -0.3, -0.4, -0.5, -0.7, -0.7, -0.8, -0.8, -7.4, -7.5,
    -8.6, -9.6, -10.2, -14.8,
)  # fmt: skip
"""Gain of single published ideas over the baseline in GRPO at tiny scale (baselines/grpo/README.md), points."""
MEASURED_SETTINGS = ((9.1, -14.0), (1.8,), (-0.1,), (-0.4,), (-6.8,))
"""The same for settings, each with the values that were measured."""


@dataclass(frozen=True)
class Space:
    """One instance of a space."""

    levels: tuple[int, ...]
    """Number of levels of each gene."""
    settings: tuple[int, ...]
    """Which genes are settings."""
    gain: Callable[[Code], float]
    """True value over the baseline, points."""

    @property
    def baseline(self) -> Code:
        return (0,) * len(self.levels)

    def changed(self, code: Code, genes: int, rng: random.Random) -> Code:
        """The code with other levels of some genes."""
        new = list(code)
        for gene in rng.sample(range(len(code)), genes):
            new[gene] = rng.choice([level for level in range(self.levels[gene]) if level != code[gene]])
        return tuple(new)

    def tuned(self, rng: random.Random) -> Code:
        """The baseline with all settings drawn at random."""
        new = list(self.baseline)
        for gene in self.settings:
            new[gene] = rng.randrange(self.levels[gene])
        return tuple(new)


def measured(rng: random.Random) -> Space:
    """Single effects as measured on the tiny baseline; interactions of pairs (standard deviation 1 point) and seven
    further settings are drawn. Gains have diminishing returns towards 35 points, where accuracy is at its maximum."""
    settings = [*MEASURED_SETTINGS, *(tuple(rng.gauss(-1, 1.5) for _ in range(3)) for _ in range(7))]
    effects = [(0.0, one) for one in MEASURED] + [(0.0, *one) for one in settings]
    pairs = {(a, b): rng.gauss(0, 1) for a in range(len(effects)) for b in range(a)}

    def gain(code: Code) -> float:
        on = [gene for gene, level in enumerate(code) if level]
        total = sum(effects[gene][code[gene]] for gene in on) + sum(pairs[a, b] for a in on for b in on if b < a)
        return 35 * total / (35 + total) if total > 0 else total

    return Space(tuple(map(len, effects)), tuple(range(len(MEASURED), len(effects))), gain)


def rugged(rng: random.Random, genes: int = 30, others: int = 4) -> Space:
    """An NK landscape (Kauffman and Levin, J. Theoretical Biology 128, 1987): the value of a trick depends on four
    others."""
    near = [rng.sample([other for other in range(genes) if other != gene], others) for gene in range(genes)]
    tables = [[rng.gauss(0, 0.8) for _ in range(2 ** (others + 1))] for _ in range(genes)]

    def raw(code: Code) -> float:
        total = 0.0
        for gene in range(genes):
            place = code[gene]
            for other in near[gene]:
                place = 2 * place + code[other]
            total += tables[gene][place]
        return total

    start = raw((0,) * genes)
    return Space((2,) * genes, (), lambda code: raw(code) - start)


def deceptive(rng: random.Random, traps: int = 8, single: int = 12) -> Space:
    """Triples of tricks that each lose a point until all three are present, which gains six (traps: Deb and Goldberg,
    FOGA 1993), among tricks with small effects of their own."""
    effects = [rng.gauss(0, 1.5) for _ in range(single)]

    def gain(code: Code) -> float:
        total = sum(effect for effect, on in zip(effects, code[3 * traps :], strict=True) if on)
        for trap in range(traps):
            on = sum(code[3 * trap : 3 * trap + 3])
            total += 6 if on == 3 else -on
        return total

    return Space((2,) * (3 * traps + single), (), gain)


SPACES: dict[str, Callable[[random.Random], Space]] = {"measured": measured, "rugged": rugged, "deceptive": deceptive}
