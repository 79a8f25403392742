"""Searches that only tune settings, on a simulated space: the peers that ideas must beat."""

import random
from collections import defaultdict
from typing import Any, Protocol

import optuna

from pipeline.makers.tpe import new_study
from tests.benchmarks.spaces import Code, Space


class Tuner(Protocol):
    """Draws codes that differ from the baseline in settings only."""

    repeats: bool
    """Whether it may draw a code again."""

    def ask(self) -> Code:
        """The next code to evaluate."""

    def tell(self, code: Code, value: float | None) -> None:
        """The score of a code that was drawn; none if it failed."""


class RandomTuner:
    """Random search (Bergstra and Bengio, JMLR 13, 2012)."""

    repeats = False

    def __init__(self, space: Space, rng: random.Random) -> None:
        self._space, self._rng = space, rng

    def ask(self) -> Code:
        return self._space.tuned(self._rng)

    def tell(self, code: Code, value: float | None) -> None:
        pass


class Tpe:
    """Optuna's tree-structured Parzen estimator (Akiba et al., "Optuna", KDD 2019), as `pipeline.makers.tpe` uses it."""

    repeats = True

    def __init__(self, space: Space, rng: random.Random) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = new_study(True, rng.randrange(2**32))
        self._baseline = space.baseline
        choices = optuna.distributions.CategoricalDistribution
        self._distributions = {str(gene): choices(range(space.levels[gene])) for gene in space.settings}
        self._open: defaultdict[Code, list[Any]] = defaultdict(list)

    def ask(self) -> Code:
        trial = self._study.ask(self._distributions)
        code = tuple(trial.params.get(str(gene), level) for gene, level in enumerate(self._baseline))
        self._open[code].append(trial)
        return code

    def tell(self, code: Code, value: float | None) -> None:
        trial = self._open[code].pop()
        if value is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value)
