"""The posterior of each candidate's true value, given all scores: exact Gaussian inference on the tree of candidates.

The prior value of a candidate is its parent's value plus a step N(μ, τ²), or N(μ₀, τ₀²) if it builds on the baseline. A
score is the true value plus evaluation noise and seed noise, both of known variance. A failure is not an observation.
So a lucky score shrinks towards the parent, and a candidate whose children do well gains from them.

Each node stores the evidence of its own score and of its descendants. A new score changes only the nodes on the way to
the root, and a query walks the same way back (Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, chapter 4;
Chou, Willsky and Benveniste, "Multiscale Recursive Estimation", IEEE Trans. Automatic Control 39, 1994). The prior is
fitted by expectation-maximization (Shumway and Stoffer, J. Time Series Analysis 3, 1982), which accounts for the fact
that only good scores get children; moments of differences would not.

A candidate that joins two others counts as a child of the first. Evaluation errors are treated as independent although
all candidates are scored on the same problems, which is conservative.
"""

import itertools
import math
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.metric import Direction, Metric
from pipeline.records import Knowledge
from pipeline.store.archive import Archive, Index
from pipeline.store.views import Candidate

POOL = 200
"""Number of best scores among which candidates are ranked. It is large enough to include the best candidate, and keeps
the cost of a ranking independent of the archive's size."""
_MOST_FITTED = 4000
"""After this many outcomes the prior is no longer fitted; its four parameters need no more data."""
_ALL_FITTED = 200
"""Up to this many outcomes, the prior is fitted to all of them."""
_GROWTH = 1.25
"""The prior is fitted again when the number of outcomes has grown by this factor."""
_ROUNDS, _TOLERANCE = 60, 1e-3
"""Maximum number of expectation-maximization rounds, and the tolerance, in standard deviations of a step."""
_PSEUDO = 1.0
"""Number of pseudo-observations, with the spread of the scores, that regularize each mean and variance."""
_KEPT_RANKINGS = 4
_DIGITS = 10
"""Significant digits of a result; differences from the order of additions are smaller."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Posterior of one candidate's true value."""

    mean: float
    """In the unit of the metric."""
    deviation: float
    """Standard deviation."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Prior of the candidates' true values."""

    root_mean: float
    """μ₀, mean of candidates on the baseline."""
    root_variance: float
    """τ₀², their variance."""
    step_mean: float
    """μ, mean step of a candidate over its parent."""
    step_variance: float
    """τ², variance of a step."""


Rows = tuple[Sequence[int], Sequence[float | None], Sequence[float]]
"""For each node its parent, which comes before it (-1 for the baseline), its score if any, and the variance of that."""


class Tree:
    """Candidates as numbered nodes; a parent has a lower number than its children."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self._parents: list[int] = []
        self._evidence: list[tuple[float, float]] = []
        """Precision, and precision times mean, of the evidence in a node's own score and all its descendants."""
        self._sent: list[tuple[float, float]] = []
        """The part of the parent's evidence that comes from this node."""

    def __len__(self) -> int:
        return len(self._parents)

    def parent(self, node: int) -> int:
        """Number of a node's parent; -1 for a node on the baseline."""
        return self._parents[node]

    def add(self, parent: int) -> int:
        """Add a node; returns its number. `parent` is -1 for a node on the baseline."""
        self._parents.append(parent)
        self._evidence.append((0.0, 0.0))
        self._sent.append((0.0, 0.0))
        return len(self._parents) - 1

    def observe(self, node: int, value: float, variance: float, sign: int = 1) -> None:
        """Add a score; with sign -1 remove it."""
        precision = sign / variance
        change = (precision, precision * value)
        step_mean, step_variance = self.prior.step_mean, self.prior.step_variance
        while True:
            precision = self._evidence[node][0] + change[0]
            weighted = self._evidence[node][1] + change[1]
            self._evidence[node] = (precision, weighted)
            parent = self._parents[node]
            if parent < 0:
                return
            shrunk = 1 + precision * step_variance
            sent = (precision / shrunk, (weighted - precision * step_mean) / shrunk)
            change = (sent[0] - self._sent[node][0], sent[1] - self._sent[node][1])
            self._sent[node], node = sent, parent

    def beliefs(self, nodes: Iterable[int]) -> list[Belief]:
        """Posteriors of some nodes, given all scores."""
        before: dict[int, tuple[float, float]] = {}
        found = []
        for node in nodes:
            mean, variance = self._before(node, before)
            precision, weighted = self._evidence[node]
            total = precision + 1 / variance
            found.append(Belief(_rounded((weighted + mean / variance) / total), _rounded(math.sqrt(1 / total))))
        return found

    def _before(self, node: int, known: dict[int, tuple[float, float]]) -> tuple[float, float]:
        """Mean and variance of a node given all scores except its own and its descendants'. `known` caches those of
        other nodes."""
        prior, path = self.prior, [node]
        while path[-1] not in known and (parent := self._parents[path[-1]]) >= 0:
            path.append(parent)
        mean, variance = known.setdefault(path[-1], (prior.root_mean, prior.root_variance))
        for above, below in zip(path[:0:-1], path[-2::-1], strict=True):
            precision = self._evidence[above][0] - self._sent[below][0] + 1 / variance
            weighted = self._evidence[above][1] - self._sent[below][1] + mean / variance
            mean, variance = weighted / precision + prior.step_mean, 1 / precision + prior.step_variance
            known[below] = mean, variance
        return mean, variance


def moments(prior: Prior, rows: Rows) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Posterior mean and variance of the values of nodes on the baseline, and of the steps of all other nodes: one pass up
    the tree and one down."""
    parents, values, variances = rows
    count, step_mean, step_variance = len(parents), prior.step_mean, prior.step_variance
    evidence = [0.0 if value is None else 1 / variance for value, variance in zip(values, variances, strict=True)]
    weighted = [one * (value or 0.0) for one, value in zip(evidence, values, strict=True)]
    sent, sent_weighted = [0.0] * count, [0.0] * count
    for node in range(count - 1, -1, -1):
        if (parent := parents[node]) >= 0:
            shrunk = 1 + evidence[node] * step_variance
            sent[node] = evidence[node] / shrunk
            sent_weighted[node] = (weighted[node] - evidence[node] * step_mean) / shrunk
            evidence[parent] += sent[node]
            weighted[parent] += sent_weighted[node]
    means, spreads = [0.0] * count, [0.0] * count  # by all scores but those at and below the node
    roots, steps = list[tuple[float, float]](), list[tuple[float, float]]()
    for node, parent in enumerate(parents):
        if parent < 0:
            mean, variance = prior.root_mean, prior.root_variance
        else:
            precision = evidence[parent] - sent[node] + 1 / spreads[parent]
            above = weighted[parent] - sent_weighted[node] + means[parent] / spreads[parent]
            mean, variance = above / precision + step_mean, 1 / precision + step_variance
        means[node], spreads[node] = mean, variance
        # The evidence at and below a node is shared between its parent and its step in proportion to their variances.
        own = variance if parent < 0 else step_variance
        gain = own / (1 + evidence[node] * variance)
        moved = gain * (weighted[node] - evidence[node] * mean)
        part = ((mean if parent < 0 else step_mean) + moved, own - gain * evidence[node] * own)
        (roots if parent < 0 else steps).append(part)
    return roots, steps


def fit(rows: Rows) -> Prior:
    """The prior with the highest likelihood, by empirical Bayes. A weak prior on the variances helps while there are few
    scores."""
    _, values, variances = rows
    known = [value for value in values if value is not None]
    if not known:
        return Prior(0.0, 1.0, 0.0, 1.0)
    middle = math.fsum(known) / len(known)
    noise = math.fsum(variance for one, variance in zip(values, variances, strict=True) if one is not None) / len(known)
    spread = max(math.fsum((one - middle) ** 2 for one in known) / len(known), noise)
    prior = Prior(middle, spread, 0.0, spread)
    for _ in range(_ROUNDS):
        roots, steps = moments(prior, rows)
        new = Prior(*_moments_of(roots, spread, middle), *_moments_of(steps, spread, 0.0))
        moved = max(abs(new.root_mean - prior.root_mean), abs(new.step_mean - prior.step_mean)) ** 2
        moved = max(moved, abs(new.root_variance - prior.root_variance), abs(new.step_variance - prior.step_variance))
        prior = new
        if moved <= _TOLERANCE * prior.step_variance:
            break
    return prior


def _moments_of(parts: Sequence[tuple[float, float]], spread: float, middle: float) -> tuple[float, float]:
    """Mean and variance of values that are each given as a mean and a variance, with a pseudo-observation added."""
    count = len(parts) + _PSEUDO
    mean = (math.fsum(one for one, _ in parts) + _PSEUDO * middle) / count
    return mean, (math.fsum((one - mean) ** 2 + variance for one, variance in parts) + _PSEUDO * spread) / count


# ---- of a run


def beliefs(archive: Archive, names: Sequence[str], known: Knowledge) -> list[Belief]:
    """Posteriors of scored candidates at the time of a decision, from the outcomes and the noise that it had seen."""
    return _state(archive.index, known.seed_sd).beliefs(archive, names, known.outcomes)


def ranked(archive: Archive, metric: Metric, known: Knowledge, pool: int = POOL) -> list[tuple[Candidate, Belief]]:
    """The `pool` candidates with the best known scores and their posteriors, best posterior mean first; ties by id."""
    ranking = _state(archive.index, known.seed_sd).ranking(archive, metric, known.outcomes, pool)
    return [(archive.candidate(name), belief) for name, belief in ranking]


class _State:
    """The tree of one archive at some number of outcomes. To move to another number, it adds or removes the scores in
    between; it is rebuilt if the prior is fitted again in between."""

    def __init__(self, noise: float) -> None:
        self._noise = noise
        self._lock = threading.Lock()
        self._rankings: dict[tuple[int, int, Direction], list[tuple[str, Belief]]] = {}
        self._clear(Prior(0.0, 1.0, 0.0, 1.0), 0)

    def _clear(self, prior: Prior, fitted: int) -> None:
        self._tree, self._fitted = Tree(prior), fitted
        self._numbers: dict[str, int] = {}
        self._seen: dict[int, tuple[int, float, float]] = {}
        """Outcome number to node, value and variance."""
        self._outcomes = 0

    def beliefs(self, archive: Archive, names: Sequence[str], outcomes: int) -> list[Belief]:
        with self._lock:
            self._move(archive, outcomes)
            return self._tree.beliefs([self._number(archive, name) for name in names])

    def ranking(self, archive: Archive, metric: Metric, outcomes: int, pool: int) -> list[tuple[str, Belief]]:
        """Names and posteriors, best first. The latest rankings are cached, since a tick needs them several times."""
        key = (outcomes, pool, metric.direction)
        kept = self._rankings.get(key)
        if kept is None:
            scored = archive.ranked(metric.direction is Direction.maximize)
            names = [one.id for one in itertools.islice((one for one in scored if one.order <= outcomes), pool)]
            pairs = zip(names, self.beliefs(archive, names, outcomes), strict=True)
            kept = sorted(pairs, key=lambda pair: (-metric.goodness(pair[1].mean), pair[0]))
            if len(self._rankings) >= _KEPT_RANKINGS:
                self._rankings = {}
            self._rankings[key] = kept
        return kept

    def _move(self, archive: Archive, outcomes: int) -> None:
        if outcomes == self._outcomes:
            return
        due = _fitted_at(archive, outcomes)
        if due != self._fitted:
            self._clear(self._prior(archive, due), due)
        for order in range(self._outcomes + 1, outcomes + 1):
            candidate = archive.outcome(order)
            if candidate is not None and candidate.score is not None:
                score = candidate.score
                row = (
                    self._number(archive, candidate.id),
                    score.value,
                    self._variance(score.value, score.standard_error),
                )
                self._tree.observe(*row)
                self._seen[order] = row
        for order in range(self._outcomes, outcomes, -1):
            if order in self._seen:
                self._tree.observe(*self._seen.pop(order), sign=-1)
        self._outcomes = outcomes

    def _variance(self, value: float, error: float) -> float:
        """Variance of a score. Without any noise it is negligible, but not zero."""
        return max(error**2 + self._noise**2, (1e-7 * value) ** 2, 1e-100)

    def _number(self, archive: Archive, name: str) -> int:
        """The node of a candidate; it and its ancestors are added if they are missing."""
        above = [name]
        while above[-1] not in self._numbers and (parents := archive.candidate(above[-1]).idea.parents):
            above.append(parents[0])
        for parent, one in zip([None, *above[:0:-1]], above[::-1], strict=True):
            if one not in self._numbers:
                self._numbers[one] = self._tree.add(-1 if parent is None else self._numbers[parent])
        return self._numbers[name]

    def _prior(self, archive: Archive, outcomes: int) -> Prior:
        """The prior fitted to the first `outcomes` outcomes."""
        self._clear(Prior(0.0, 1.0, 0.0, 1.0), 0)
        parents, values, variances = list[int](), list[float | None](), list[float]()
        for order in range(1, outcomes + 1):
            candidate = archive.outcome(order)
            if candidate is None or candidate.score is None:
                continue
            node = self._number(archive, candidate.id)
            for one in range(len(parents), len(self._tree)):
                parents.append(self._tree.parent(one))
                values.append(None)
                variances.append(1.0)
            values[node] = candidate.score.value
            variances[node] = self._variance(candidate.score.value, candidate.score.standard_error)
        return fit((parents, values, variances))


_STATES: weakref.WeakKeyDictionary[Index, dict[float, _State]] = weakref.WeakKeyDictionary()
_STATES_LOCK = threading.Lock()


def _state(index: Index, seed_sd: float) -> _State:
    """The cached state for an archive and a seed noise. The noise is rounded, so that another trial of the baseline
    rarely causes a rebuild."""
    noise = float(f"{seed_sd:.1e}")
    with _STATES_LOCK:
        states = _STATES.setdefault(index, {})
        if noise not in states and len(states) > 1:
            states.pop(next(iter(states)))
        return states.setdefault(noise, _State(noise))


def _fitted_at(archive: Archive, outcomes: int) -> int:
    """Number of first outcomes to which the current prior is fitted: all of them while they are few, later those that
    an earlier selection had seen. So the order in which the results of a generation arrive makes no difference."""
    if outcomes <= _ALL_FITTED:
        return outcomes
    at = 0
    for generation in archive.generations:
        seen = generation.selection.seen.outcomes if generation.selection is not None else 0
        if _GROWTH * at < seen < outcomes:
            at = seen
        if _GROWTH * at >= min(outcomes, _MOST_FITTED):
            break
    return at or outcomes


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
