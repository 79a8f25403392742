"""How often a search claims a false gain, and how often it finds a real one: simulated searches, many at once.

Only the scores are simulated. The race and the claims are decided by the product's own functions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr
from scipy.stats import ttest_ind

from pipeline.metric import Direction, Estimate, Metric, estimate
from pipeline.policy.race import survivors
from pipeline.report.statistics import ALPHA, Array, gain_tests, trials

METRIC = Metric("points", Direction.maximize)


@dataclass(frozen=True)
class World:
    """The distribution of scores: idea + problems of the split + seed. Values are points."""

    ideas: int = 50
    """Candidates of the search."""
    better: int = 0
    """Number of ideas that are better than the baseline; the others are equal to it."""
    gain: float = 0.0
    """Gain of the better ideas."""
    seed_sd: float = 2.0
    """Standard deviation between seeds of the baseline, including the sampling of the evaluation."""
    unequal: float = 1.0
    """That of the ideas lies between `seed_sd` divided and multiplied by this number."""
    shared: float = 0.0
    """Share of the variance between seeds that is common to all codes."""
    evaluation: float = 2.0
    """Standard error of one evaluation."""
    common: float = 0.75
    """Share of its variance that is common to all codes, as they are scored on the same problems."""
    problems: int = 500
    """Problems in a split."""


@dataclass(frozen=True)
class Plan:
    """What is trained after the search."""

    rounds: tuple[tuple[int, int], ...] = ()
    """Candidates and seeds of each round of the race."""
    elites: int = 3
    seeds: int = 5
    """Final trials of each elite."""
    baseline: int = 5
    """Trials of the baseline."""
    paired: bool = True
    """Whether scores of single problems are available."""

    @property
    def trainings(self) -> int:
        """The maximal number of trainings after the search."""
        return sum(entered * seeds for entered, seeds in (*self.rounds, (self.elites, self.seeds)))


@dataclass(frozen=True)
class Simulated:
    """Searches, one entry each."""

    false: Array
    """Whether a gain is claimed of an idea that is no better."""
    found: Array
    """Whether a gain is claimed of an idea that is better."""
    tested: Array
    """Number of elites that are better."""
    claimed: Array
    """Number of those of which a gain is claimed."""
    trainings: Array
    """Number of trainings after the search."""

    @property
    def power(self) -> float:
        """Share of the better elites of all searches of which a gain is claimed, 0 to 1."""
        return float(self.claimed.sum() / self.tested.sum())


class _Scores:
    """Scores of all codes of many searches; the baseline is code number `ideas`."""

    def __init__(self, world: World, plan: Plan, searches: int, rng: np.random.Generator) -> None:
        codes = world.ideas + 1
        first = sum(seeds for _, seeds in plan.rounds) + 1
        seeds = max(first + plan.seeds, plan.baseline)
        self.gain = np.zeros((searches, codes))
        self.gain[:, : world.better] = world.gain
        spread = np.log(world.unequal) * rng.uniform(-1, 1, (searches, codes))
        spread[:, -1] = 0
        self.sd = world.seed_sd * np.exp(spread)
        own = world.evaluation * np.sqrt(1 - world.common)
        self.items = {split: own * rng.normal(size=(searches, codes)) for split in ("validation", "test")}
        shared = np.sqrt(world.shared) * rng.normal(size=(searches, 1, seeds))
        self.seeds = shared + np.sqrt(1 - world.shared) * rng.normal(size=(searches, codes, seeds))

    def of(self, split: str, codes: Array, seeds: Sequence[int]) -> Array:
        """Searches × codes × seeds; `codes` are numbers, searches × codes."""
        level = np.take_along_axis(self.gain + self.items[split], codes, 1)
        noise = np.take_along_axis(self.seeds[..., list(seeds)], codes[..., None], 1)
        return level[..., None] + np.take_along_axis(self.sd, codes, 1)[..., None] * noise


def simulate(world: World, plan: Plan, searches: int, seed: int = 0) -> Simulated:
    """Searches with their races, final trials and claims."""
    rng = np.random.default_rng(seed)
    scores = _Scores(world, plan, searches, rng)
    ideas = np.tile(np.arange(world.ideas), (searches, 1))
    best = np.argsort(-scores.of("validation", ideas, [0])[..., 0], axis=1)
    baseline = np.full((searches, 1), world.ideas)
    chosen, trainings = _race(world, plan, scores, best, baseline)
    first = 1 + sum(seeds for _, seeds in plan.rounds)
    final = range(first, first + plan.seeds)
    false, tested, found = np.zeros(searches, dtype=bool), np.zeros(searches, dtype=int), np.zeros(searches, dtype=int)
    counts = np.array([len(one) for one in chosen])
    for count in range(1, plan.elites + 1):
        rows = np.flatnonzero(counts == count)
        if not rows.size:
            continue
        elites = np.zeros((searches, count), dtype=int)
        elites[rows] = [chosen[row] for row in rows]
        ours, theirs = scores.of("test", elites, final), scores.of("test", baseline, range(plan.baseline))
        tests = gain_tests(trials(theirs), trials(ours), _items(world, plan, ours.shape[:2], rng))
        claimed = tests.corrected < ALPHA
        better = np.take_along_axis(scores.gain, elites, 1) > 0
        false[rows] = (claimed & ~better).any(axis=1)[rows]
        tested[rows], found[rows] = better.sum(axis=1)[rows], (claimed & better).sum(axis=1)[rows]
    return Simulated(false, found > 0, tested, found, trainings + counts * plan.seeds)


def _race(world: World, plan: Plan, scores: _Scores, best: Array, baseline: Array) -> tuple[list[list[int]], Array]:
    """The elites of each search, and the number of trainings of its race. A round is decided once all its trials have
    ended."""
    searches = len(best)
    if not plan.rounds:
        return best[:, : plan.elites].tolist(), np.zeros(searches)
    validation = scores.of(
        "validation", best[:, : plan.rounds[0][0]], range(1 + sum(seeds for _, seeds in plan.rounds))
    )
    references = scores.of("validation", baseline, range(plan.baseline))[:, 0]
    chosen, trainings = [], np.zeros(searches)
    places = [entered for entered, _ in plan.rounds[1:]] + [plan.elites]
    for search in range(searches):
        reference = _estimate(references[search], world)
        racing, last = list(range(plan.rounds[0][0])), 0
        for (_, seeds), kept in zip(plan.rounds, places, strict=True):
            trainings[search] += len(racing) * seeds
            last += seeds
            found = [_estimate(validation[search, one, 1 : last + 1], world, reference.seed_sd) for one in racing]
            racing = [racing[number] for number in list(survivors(METRIC, found, reference, kept))[:kept]]
        chosen.append([int(best[search, one]) for one in racing])
    return chosen, trainings


def _estimate(values: Array, world: World, seed_sd: float | None = None) -> Estimate:
    return estimate(values.tolist(), [world.evaluation] * len(values), seed_sd)


def _items(world: World, plan: Plan, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Estimated variance of the gains due to the choice of problems."""
    if not plan.paired:
        return np.full(shape, 2 * world.evaluation**2)
    free = world.problems - 1
    return 2 * world.evaluation**2 * (1 - world.common) * rng.chisquare(free, shape) / free


NULLS = {
    "equal noise": World(),
    "unequal noise": World(unequal=2.0),
    "equal noise, correlated seeds": World(shared=0.5),
    "unequal noise, correlated seeds": World(unequal=2.0, shared=0.5),
    "unequal noise, problems cancel": World(unequal=2.0, common=1.0),
    "unequal noise, problems do not cancel": World(unequal=2.0, common=0.0),
}
"""Searches in which no idea is better."""
RACE = Plan(((6, 2), (3, 2)), elites=1, seeds=6)
PLANS = {
    "1 elite × 3 seeds, baseline 3": Plan(elites=1, seeds=3, baseline=3),
    "3 elites × 5 seeds, baseline 5": Plan(),
    "8 elites × 3 seeds, baseline 5": Plan(elites=8, seeds=3),
    "race, baseline 5": RACE,
    "race, baseline 12": replace(RACE, baseline=12),
}
POWER = {
    "1 elite × 3 seeds, baseline 3": PLANS["1 elite × 3 seeds, baseline 3"],
    "3 elites × 5 seeds, baseline 5": PLANS["3 elites × 5 seeds, baseline 5"],
    "5 elites × 5 seeds, baseline 5": Plan(elites=5),
    "race, baseline 5": RACE,
    "race, baseline 12": PLANS["race, baseline 12"],
    "race, baseline 12, problems not paired": replace(RACE, baseline=12, paired=False),
}


def report(searches: int = 4000) -> Iterator[str]:
    """Tables for the documentation."""
    chance = f"{100 * 1.96 * (ALPHA * (1 - ALPHA) / searches) ** 0.5:.1f}"
    yield f"Simulated: {searches:,} searches of 50 ideas for each number; chance moves a rate of 5 % by up to {chance}."
    nulls = {**NULLS, "very unequal noise": World(unequal=3.0)}
    yield "\nSearches in which no idea is better and a gain is claimed, %:\n"
    yield from _head(nulls)
    for name, plan in {**PLANS, "1 elite × 3 seeds, baseline 5": Plan(elites=1, seeds=3)}.items():
        yield _row(name, [simulate(world, plan, searches).false.mean() for world in nulls.values()], 1)
    for name, test in SIMPLER.items():
        yield _row(f"*simpler:* {name}", [simpler(world, test, searches).mean() for world in nulls.values()], 1)
    ways = [(better, gain) for better in (1, 5) for gain in (3.0, 5.0, 8.0)]
    worlds = {f"{better} × +{gain:g}": World(better=better, gain=gain) for better, gain in ways}
    worlds["5 × +5, problems cancel"] = World(better=5, gain=5.0, common=1.0)
    worlds["5 × +5, half the noise"] = World(better=5, gain=5.0, seed_sd=1.0, evaluation=1.0)
    yield "\nSearches in which a better idea is claimed, %, by the number of better ideas and their gain in points:\n"
    yield from _head({"trainings": 0, **worlds})
    power = {name: [simulate(world, plan, searches) for world in worlds.values()] for name, plan in POWER.items()}
    for name, found in power.items():
        yield _row(f"{name} | {POWER[name].trainings}", [one.found.mean() for one in found], 0)
    yield "\nBetter ideas among the elites of which a gain is claimed, %:\n"
    yield from _head(worlds)
    for name, found in power.items():
        yield _row(name, [one.power for one in found], 0)


def _head(columns: Iterable[str]) -> Iterator[str]:
    names = list(columns)
    yield f"| | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)


def _row(name: str, rates: Sequence[float], digits: int) -> str:
    return f"| {name} | " + " | ".join(f"{100 * rate:.{digits}f}" for rate in rates) + " |"


# ---- claims of simpler tests

Test = Callable[[_Scores, Array, Array], Array]
"""From scores, elites and baseline to p-values."""


def simpler(world: World, test: Test, searches: int, plan: Plan = Plan()) -> Array:
    """Whether a simpler test claims a gain in searches without a better idea."""
    scores = _Scores(world, plan, searches, np.random.default_rng(0))
    ideas = np.tile(np.arange(world.ideas), (searches, 1))
    best = np.argsort(-scores.of("validation", ideas, [0])[..., 0], axis=1)[:, : plan.elites]
    found: Array = (test(scores, best, np.full((searches, 1), world.ideas)) < ALPHA).any(axis=1)
    return found


def _welch(split: str, seeds: range) -> Test:
    def test(scores: _Scores, elites: Array, baseline: Array) -> Array:
        ours, theirs = scores.of(split, elites, seeds), scores.of(split, baseline, range(5))
        found: Array = ttest_ind(ours, theirs, axis=-1, equal_var=False, alternative="greater").pvalue
        return found

    return test


def _search_score(scores: _Scores, elites: Array, baseline: Array) -> Array:
    """The score that chose the elite, against the baseline's spread."""
    theirs = trials(scores.of("validation", baseline, range(5)))
    gain = scores.of("validation", elites, [0])[..., 0] - theirs.mean
    found: Array = stdtr(4.0, -gain / np.sqrt(theirs.variance * (1 + 1 / 5)))
    return found


SIMPLER = {
    "the search score against the spread of 5 baseline trials": _search_score,
    "Welch's test on the search split, 5 seeds with the one that chose": _welch("validation", range(5)),
    "Welch's test on the search split, 5 other seeds": _welch("validation", range(1, 6)),
    "Welch's test on the test split, 5 other seeds, for each of 3 elites": _welch("test", range(1, 6)),
}
