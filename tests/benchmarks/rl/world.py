"""A surrogate executor: scores of ideas of the GRPO bank without training. All its scores are SIMULATED.

Measured, in `table.json`, from trials of `scale=tiny`: the score of each idea and setting alone, the noise of a seed,
and which patches do not merge. Assumed: the log odds of a combination are the sum of those of its words, plus a term
for each pair, drawn for each world: normal, with `PAIR_SPREAD` times the spread of single words and a mean of
`PAIR_MEAN` times it, since gains of single ideas rarely add up. So combinations matter that single words do not reveal,
gains do not accumulate without limit, and no number of a world is a fact about GRPO. Executions have no durations: each
outcome is there at once, or late by whole steps where the study says so.
"""

import json
import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pipeline.rl.words import Words

TABLE = Path(__file__).with_name("table.json")
PAIR_SPREAD, PAIR_MEAN = 0.5, -0.2
_FLAKY = 0.02
"""Share of jobs that fail because of the machine."""


@dataclass(frozen=True)
class Table:
    """Facts from real tiny trials."""

    baseline: float
    """Accuracy of the unmodified code."""
    seed_sd: float
    """Standard deviation of the accuracy between seeds."""
    values: dict[str, float]
    """Accuracy with each word alone; none for a word that failed."""
    failed: frozenset[str]
    """Words that crash alone."""
    conflicts: frozenset[frozenset[str]]
    """Pairs of patches that do not merge."""

    @classmethod
    def read(cls) -> "Table":
        raw = json.loads(TABLE.read_text())
        pairs = frozenset(map(frozenset, raw["conflicts"]))
        return cls(raw["baseline"], raw["seed_sd"], raw["values"], frozenset(raw["failed"]), pairs)

    def words(self) -> Words:
        """What the policy can write; settings are words with an equals sign."""
        known = sorted([*self.values, *self.failed])
        settings: dict[str, list[str]] = {}
        for word in known:
            if "=" in word:
                settings.setdefault(word.partition("=")[0], []).append(word)
        names = tuple(word for word in known if "=" not in word)
        return Words(names, tuple(map(tuple, settings.values())))


class World:
    """One problem. Worlds of different seeds share the measured effects of single words and differ in those of
    pairs."""

    def __init__(self, table: Table, seed: int) -> None:
        rng = random.Random(f"world {seed}")
        self._table = table
        base = _logit(table.baseline)
        noise = table.seed_sd / (table.baseline * (1 - table.baseline))  # of one trial, in log odds
        self._single = {
            word: _logit(value) - base + rng.gauss(0, noise) for word, value in sorted(table.values.items())
        }
        spread = statistics.pstdev(self._single.values())
        words = sorted([*table.values, *table.failed])
        draws = ((pair, rng.gauss(PAIR_MEAN * spread, PAIR_SPREAD * spread)) for pair in combinations(words, 2))
        self._pairs = {frozenset(pair): draw for pair, draw in draws}
        self._noise = random.Random(f"noise {seed}")

    def value(self, idea: Iterable[str]) -> float | None:
        """Accuracy without noise; none if it does not merge or crashes."""
        words = final_words(idea)
        if not words or any(word not in self._single for word in words):
            return None
        pairs = [frozenset(pair) for pair in combinations(sorted(words), 2)]
        if any(pair in self._table.conflicts for pair in pairs):
            return None
        odds = _logit(self._table.baseline) + sum(self._single[word] for word in words)
        return _logistic(odds + sum(self._pairs[pair] for pair in pairs))

    def execute(self, idea: Iterable[str]) -> float | None:
        """Reward of one execution with the noise of a seed: 0 for an idea that fails, none if a machine fails."""
        value, draw = self.value(idea), self._noise.gauss(0, self._table.seed_sd)
        if self._noise.random() < _FLAKY:
            return None
        return 0.0 if value is None else min(1.0, max(0.0, value + draw))


def final_words(idea: Iterable[str]) -> frozenset[str]:
    """Of two values of a setting, the last one is used."""
    chosen = {word.partition("=")[0]: word for word in idea}
    return frozenset(chosen.values())


def _logit(share: float) -> float:
    share = min(0.999, max(0.001, share))
    return math.log(share / (1 - share))


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
