"""Tuning that learns: Optuna's tree-structured Parzen estimator over the bank's ranges (Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", NIPS 2011; Akiba et al., "Optuna", KDD 2019). The strongest peer that ideas must beat."""

import math
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import BadInput
from pipeline.makers.bank import TRIES
from pipeline.makers.base import Brief, Tools
from pipeline.makers.tune import TUNED, TuneIdeator
from pipeline.metric import Direction
from pipeline.records import Change, Idea


class TpeIdeator(TuneIdeator):
    """Samples all settings at once from the outcomes that a generation may use; ideas without an outcome count as running.
    For a setting with a factor Optuna samples the factor, for one with choices the index. The study is rebuilt from the
    archive for each idea, so the same archive gives the same idea."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        try:
            import optuna
        except ImportError:
            raise BadInput("ideate=tpe needs the package optuna: pip install 'groundwork-hpc[tune]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna

    def _change(self, brief: Brief) -> Change:
        now = self._bank.settings(self._tools.code(None))
        if not now:
            return Change()
        distributions = {name: self._distribution(name) for name in now}
        told = [self._trial(idea, value, now, distributions) for idea, value in self._known(brief)]
        for luck in range(TRIES):
            name = f"{self._tools.config.seed}/{brief.generation.number}/{brief.number}/{luck}"
            study = new_study(self._tools.metric.direction is Direction.maximize, zlib.crc32(name.encode()))
            study.add_trials(told)
            params = study.ask(distributions).params
            drawn = {name: self._value(name, now[name], param) for name, param in params.items()}
            if changed := {name: value for name, value in sorted(drawn.items()) if value != now[name]}:
                return Change(settings=changed)
        return Change()

    def _known(self, brief: Brief) -> Iterator[tuple[Idea, float | None]]:
        """All tuned settings so far with their values: NaN for a failure, none for an outcome that may not be used yet."""
        seen = brief.generation.parents.seen.outcomes
        for generation in brief.archive.generations[: brief.generation.number]:
            for one in generation.candidates:
                ended = 0 < one.order <= seen
                if one.idea.origin == TUNED:
                    yield one.idea, (one.score.value if one.score is not None else math.nan) if ended else None
        yield from ((idea, None) for _, idea in sorted(brief.ideas.items()) if idea.origin == TUNED)

    def _trial(self, idea: Idea, value: float | None, now: Mapping[str, Any], distributions: Mapping[str, Any]) -> Any:
        """A trial as Optuna keeps it."""
        settings = idea.change.settings if idea.change is not None else {}
        params = {
            name: param
            for name in distributions
            if (param := self._param(name, now[name], settings.get(name, now[name]))) is not None
        }
        state = self._optuna.trial.TrialState
        ended = state.RUNNING if value is None else state.FAIL if math.isnan(value) else state.COMPLETE
        return self._optuna.trial.create_trial(
            state=ended,
            value=value if ended is state.COMPLETE else None,
            params=params,
            distributions={name: distributions[name] for name in params},
        )

    def _distribution(self, name: str) -> Any:
        known, distributions = self._bank.ranges[name], self._optuna.distributions
        if known.factor is None:
            return distributions.CategoricalDistribution(range(len(known.choices)))
        return distributions.FloatDistribution(*known.factor, log=True)

    def _param(self, name: str, now: Any, value: Any) -> float | int | None:
        """How Optuna sees the value of a setting; none of one that is no choice."""
        known = self._bank.ranges[name]
        if known.factor is None:
            return known.choices.index(value) if value in known.choices else None
        low, high = known.factor
        return min(high, max(low, value / now)) if now else low

    def _value(self, name: str, now: Any, param: Any) -> Any:
        known = self._bank.ranges[name]
        return known.choices[param] if known.factor is None else known.scaled(now, param)


def new_study(maximize: bool, seed: int) -> Any:
    """An empty Optuna study that samples by TPE and counts running trials as bad ones, so that several can be asked for."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
