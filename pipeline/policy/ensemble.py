"""Choice between several language models: Thompson sampling (Biometrika 25, 1933) on the probability that an idea becomes a
parent, divided by the cost of an idea. Only the newest outcomes count, because good ideas become rarer during a search
(Trovò et al., "Sliding-Window Thompson Sampling for Non-Stationary Settings", JAIR 68, 2020)."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.records import Purpose
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate, Generation

WINDOW = 400
"""How many of the newest outcomes count."""
_TRAINED = (Purpose.SEARCH, Purpose.RUNG)


@dataclass(frozen=True, slots=True)
class Earned:
    """The record of the ideas of one model."""

    ideas: int = 0
    """With an outcome, failures too."""
    parents: int = 0
    """Number of them that were chosen as parents."""
    usd: float = 0.0
    """Price of the answers for these ideas and their code, US dollars."""
    device_h: float = 0.0
    """Device hours of their trainings before the end of the search."""

    def cost(self, device_hour_usd: float) -> float:
        """Total cost, US dollars."""
        return self.usd + device_hour_usd * self.device_h


def next_model(
    archive: Archive,
    generation: Generation,
    config: Config,
    names: Sequence[str],
    name_of: Callable[[Candidate], str],
    rng: random.Random,
) -> str:
    """The model of `names` that gets the next request of a generation. `name_of` returns the model of a candidate."""
    if len(names) == 1:
        return names[0]
    found = earned(archive, generation, config.train.resources.devices, name_of)
    return choose(names, found, config.budget.device_hour_usd, rng)


def earned(
    archive: Archive, generation: Generation, devices: int, name_of: Callable[[Candidate], str]
) -> dict[str, Earned]:
    """The record of each model in the outcomes that a generation may use. It does not change later, so a resumed run takes
    the same decision."""
    seen = generation.parents.seen.outcomes
    orders = range(max(1, seen - WINDOW + 1), seen + 1)
    candidates = [one for order in orders if (one := archive.outcome(order)) is not None]
    opened = (*archive.generations[: generation.number], generation)
    parents = {name for one in opened[-WINDOW:] for name in one.parents.candidates}
    found: dict[str, Earned] = {}
    for one in candidates:
        name = name_of(one)
        before = found.get(name, Earned())
        found[name] = Earned(
            before.ideas + 1,
            before.parents + (one.id in parents),
            before.usd + _usd(one),
            before.device_h + _device_h(one, devices),
        )
    return found


def choose(names: Sequence[str], found: Mapping[str, Earned], device_hour_usd: float, rng: random.Random) -> str:
    """One of `names`, by Thompson sampling. The prior of each probability is uniform; the mean cost of all ideas counts as
    one additional idea of each model."""
    records = [found.get(name, Earned()) for name in names]
    ideas = sum(one.ideas for one in records)
    usual = sum(one.cost(device_hour_usd) for one in records) / ideas if ideas else 0.0

    def worth(record: Earned) -> float:
        chance = rng.betavariate(1 + record.parents, 1 + record.ideas - record.parents)
        cost = (usual + record.cost(device_hour_usd)) / (1 + record.ideas)
        return chance / cost if usual else chance

    worths = [worth(one) for one in records]
    return names[worths.index(max(worths))]


def _usd(candidate: Candidate) -> float:
    """Unknown prices count as nothing."""
    made = (attempt.implementation for attempt in candidate.attempts)
    code = (one.usage.usd for one in made if one is not None and one.usage is not None)
    return sum(price or 0.0 for price in (candidate.idea.usd, *code))


def _device_h(candidate: Candidate, devices: int) -> float:
    trials = (trial for attempt in candidate.attempts for trial in attempt.of(*_TRAINED))
    return sum(one.held_s(0.0) for trial in trials for one in trial.tries if one.result is not None) * devices / 3600
