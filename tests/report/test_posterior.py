"""The posterior on the tree of candidates, against dense linear algebra, and invariants of the queries of a run."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metric import Direction, Metric
from pipeline.records import FailureKind, Knowledge
from pipeline.report import posterior
from pipeline.report.posterior import Belief, Prior, Rows, Tree, beliefs, fit, moments, ranked
from pipeline.report.standings import knowledge
from tests.archives import ERROR, Made, archive_of, name

PRIOR = Prior(50.0, 9.0, -0.5, 2.25)


def drawn(seed: int, count: int, prior: Prior = PRIOR) -> Rows:
    """Parents, scores and their variances, drawn from the model; a tenth have no score."""
    rng, parents, true = random.Random(seed), list[int](), list[float]()
    for number in range(count):
        parents.append(-1 if number < 3 or rng.random() < 0.4 else rng.randrange(number))
        on_baseline = parents[-1] < 0
        mean = prior.root_mean if on_baseline else true[parents[-1]] + prior.step_mean
        true.append(rng.gauss(mean, math.sqrt(prior.root_variance if on_baseline else prior.step_variance)))
    variances = [rng.choice((0.5, 1.0, 2.0)) for _ in true]
    values = [
        None if rng.random() < 0.1 else rng.gauss(one, math.sqrt(variance))
        for one, variance in zip(true, variances, strict=True)
    ]
    return parents, values, variances


def tree_of(rows: Rows, prior: Prior = PRIOR) -> Tree:
    tree = Tree(prior)
    for parent, value, variance in zip(*rows, strict=True):
        node = tree.add(parent)
        if value is not None:
            tree.observe(node, value, variance)
    return tree


def dense(rows: Rows, prior: Prior = PRIOR) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of all nodes given the scores, and the likelihood of the scores up to a constant."""
    parents, values, variances = rows
    count = len(parents)
    mean, cov = np.zeros(count), np.zeros((count, count))
    for node, parent in enumerate(parents):
        if parent < 0:
            mean[node], cov[node, node] = prior.root_mean, prior.root_variance
        else:
            mean[node] = mean[parent] + prior.step_mean
            cov[node, :node] = cov[parent, :node]
            cov[:node, node] = cov[:node, parent]
            cov[node, node] = cov[parent, parent] + prior.step_variance
    seen = [node for node in range(count) if values[node] is not None]
    noisy = cov[np.ix_(seen, seen)] + np.diag([variances[node] for node in seen])
    residual = np.array([values[node] for node in seen], float) - mean[seen]
    gain = cov[:, seen] @ np.linalg.inv(noisy)
    likelihood = -0.5 * float(residual @ np.linalg.solve(noisy, residual) + np.linalg.slogdet(noisy)[1])
    return mean + gain @ residual, cov - gain @ cov[seen, :], likelihood


@pytest.mark.parametrize("seed", range(5))
def test_beliefs_are_those_of_dense_linear_algebra(seed: int) -> None:
    rows = drawn(seed, 60)
    mean, cov, _ = dense(rows)
    found = tree_of(rows).beliefs(range(60))
    assert [one.mean for one in found] == pytest.approx(list(mean))
    assert [one.deviation for one in found] == pytest.approx(list(np.sqrt(np.diag(cov))))


def test_moments_are_those_of_dense_linear_algebra() -> None:
    rows = drawn(7, 60)
    mean, cov, _ = dense(rows)
    roots, steps = moments(PRIOR, rows)
    pairs = [(node, parent) for node, parent in enumerate(rows[0]) if parent >= 0]
    assert np.allclose(roots, [(mean[k], cov[k, k]) for k, parent in enumerate(rows[0]) if parent < 0])
    assert np.allclose(steps, [(mean[k] - mean[p], cov[k, k] + cov[p, p] - 2 * cov[k, p]) for k, p in pairs])


def test_a_retracted_score_has_no_effect() -> None:
    rows = drawn(3, 30)
    tree, before = tree_of(rows), tree_of(rows).beliefs(range(30))
    tree.observe(12, 70.0, 0.1)
    assert tree.beliefs([12])[0].mean > before[12].mean + 1
    tree.observe(12, 70.0, 0.1, sign=-1)
    assert [one.mean for one in tree.beliefs(range(30))] == pytest.approx([one.mean for one in before])


def test_one_score_by_hand() -> None:
    """Prior N(0, 4), score 3 ± 2: the mean is halfway between, the variance 2. A child without a score: one step
    more."""
    tree = Tree(Prior(0.0, 4.0, -1.0, 7.0))
    root, child = tree.add(-1), 1
    tree.observe(root, 3.0, 4.0)
    assert tree.add(root) == child
    assert tree.beliefs([root, child]) == [Belief(1.5, pytest.approx(math.sqrt(2))), Belief(0.5, 3.0)]


def test_the_fitted_prior_is_at_least_as_likely_as_its_neighbours() -> None:
    """The weak prior on the variances shifts it slightly, which 300 scores outweigh."""
    rows = drawn(5, 300)
    prior = fit(rows)
    best = dense(rows, prior)[2]
    assert best > dense(rows)[2]  # than the prior it was drawn from
    for factor in (0.6, 1.6):
        assert best > dense(rows, replace(prior, step_variance=factor * prior.step_variance))[2]
        assert best > dense(rows, replace(prior, root_variance=factor * prior.root_variance))[2]
    for moved in (-0.7, 0.7):
        assert best > dense(rows, replace(prior, step_mean=prior.step_mean + moved))[2]
        assert best > dense(rows, replace(prior, root_mean=prior.root_mean + moved))[2]


def test_selected_parents_do_not_bias_the_step() -> None:
    """Only the best scores get children. The mean difference of the scores is far below the mean step; the fit is
    not."""
    rng, rows = random.Random(1), ([-1] * 200, [], [])
    true = [rng.gauss(0, 1) for _ in range(200)]
    values = [rng.gauss(one, 2) for one in true]
    best = sorted(range(200), key=lambda number: -values[number])[:20]
    for parent in best * 20:
        rows[0].append(parent)
        values.append(rng.gauss(true[parent] + rng.gauss(0, 0.5), 2))
    differences = [values[200 + k] - values[parent] for k, parent in enumerate(best * 20)]
    assert np.mean(differences) < -2
    assert abs(fit((rows[0], values, [4.0] * len(values))).step_mean) < 0.5


# ---- of a run

METRIC = Metric("quality", Direction.maximize)
SPECS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 40)), st.integers(-3, 30)), min_size=1, max_size=25)


def made(rows: Sequence[tuple[int | None, int]], mirror: bool = False) -> list[Made]:
    """Values in fortieths, none for a failure, and a parent among the earlier scored ones."""
    specs, scored = list[Made](), list[int]()
    for number, (value, parent) in enumerate(rows):
        parents = (scored[parent % len(scored)],) if parent >= 0 and scored else ()
        if value is None:
            specs.append(Made(kind=FailureKind.NAN, parents=parents))
        else:
            specs.append(Made((40 - value if mirror else value) / 40, parents=parents))
            scored.append(number)
    return specs


@given(rows=SPECS, earlier=st.integers(0, 25), first=st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_an_estimate_does_not_depend_on_earlier_queries(
    rows: list[tuple[int | None, int]], earlier: int, first: int
) -> None:
    asked, fresh = archive_of(made(rows)), archive_of(made(rows))
    for outcomes in (first, len(rows)):
        ranked(asked, METRIC, Knowledge(min(outcomes, len(rows))))
    known = Knowledge(min(earlier, len(rows)))
    before = ranked(asked, METRIC, known)
    assert before == ranked(fresh, METRIC, known)
    assert before == ranked(archive_of(made(rows[: known.outcomes])), METRIC, known)  # whatever arrived later


@given(rows=SPECS)
@settings(max_examples=60, deadline=None)
def test_both_directions_are_alike(rows: list[tuple[int | None, int]]) -> None:
    up, down = archive_of(made(rows)), archive_of(made(rows, mirror=True))
    less = Metric("quality", Direction.minimize)
    ours, theirs = ranked(up, METRIC, knowledge(up)), ranked(down, less, knowledge(down))
    means = sorted(one.mean for _, one in ours)
    assert means == pytest.approx(sorted(1 - one.mean for _, one in theirs), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("all_fitted", [0, 200])
def test_moving_between_any_two_numbers_of_outcomes(all_fitted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior, "_ALL_FITTED", all_fitted)
    rng = random.Random(2)
    specs = made([(rng.randrange(41) if rng.random() < 0.8 else None, rng.randrange(-3, 30)) for _ in range(24)])
    asked = archive_of(specs)
    for outcomes in [*range(25), *range(24, -1, -1), *range(0, 25, 3), *range(24, -1, -3)]:
        known = Knowledge(outcomes)
        assert ranked(asked, METRIC, known) == ranked(archive_of(specs), METRIC, known)


def test_the_order_of_results_changes_nothing() -> None:
    """Five generations of 60: the prior is fitted to what earlier selections used."""
    rng = random.Random(3)
    specs = made([(rng.randrange(41), rng.randrange(-1, 9)) for _ in range(300)])
    one, other = archive_of(specs, per_generation=60), archive_of(specs, per_generation=60)
    for start in range(0, 300, 60):
        numbers = rng.sample(range(start, start + 60), 60)
        for place, number in enumerate(numbers):
            candidate = other.candidate(name(number, 60))
            (attempt,) = candidate.attempts
            (trial,) = attempt.trials
            assert trial.score is not None
            trial = replace(trial, score=replace(trial.score, order=start + place + 1))
            other.index.put(replace(candidate, attempts=(replace(attempt, trials=(trial,)),)))
    other.index.by_order = {candidate.order: key for key, candidate in other.index.candidates.items()}
    for outcomes in (180, 240, 300):
        known = Knowledge(outcomes)
        ours, theirs = ([(one.id, belief) for one, belief in ranked(each, METRIC, known)] for each in (one, other))
        assert ours == theirs


@given(rows=SPECS, parent=st.integers(-3, 30), more=st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_a_good_result_does_not_lower_the_rank_of_its_candidate(
    rows: list[tuple[int | None, int]], parent: int, more: int
) -> None:
    """Good: at least as high as all other scores, and as was expected."""
    best = max((value for value, _ in rows if value is not None), default=0)
    archive, late = archive_of(made([*rows, (best + more, parent)])), name(len(rows))
    names = [one.id for one in archive.candidates if one.score is not None]
    before, after = (
        dict(zip(names, beliefs(archive, names, Knowledge(outcomes)), strict=True))
        for outcomes in (len(rows), len(rows) + 1)
    )
    if before[late].mean <= (best + more) / 40:
        ranks = [sum(one.mean > found[late].mean for one in found.values()) for found in (before, after)]
        assert ranks[1] <= ranks[0]


def test_a_high_score_shrinks_towards_its_parent_and_a_good_family_raises_it() -> None:
    specs = [Made(0.60), Made(0.50), Made(0.48), Made(0.52), *[Made(0.60 + k / 500, parents=(0,)) for k in range(6)]]
    lucky = [*specs, Made(0.64, parents=(1,)), Made(0.63, parents=(4,))]
    archive = archive_of(lucky, baseline=(0.5, 0.5, 0.56))
    alone, family = beliefs(archive, [name(10), name(11)], knowledge(archive))
    assert alone.mean < 0.63 < 0.64 and family.mean > alone.mean
    assert family.deviation < math.hypot(ERROR, np.std([0.5, 0.5, 0.56], ddof=1))


def test_without_noise_the_estimate_is_the_score() -> None:
    archive = archive_of([Made(0.25), Made(0.75), Made(0.5, parents=(1,))], baseline=(0.5,))
    for number in range(3):
        candidate = archive.candidate(name(number))
        (attempt,) = candidate.attempts
        trial = attempt.trials[0]
        exact = replace(trial, score=replace(trial.score, standard_error=0.0))  # type: ignore[type-var]
        archive.index.put(replace(candidate, attempts=(replace(attempt, trials=(exact,)),)))
    found = beliefs(archive, [name(0), name(1), name(2)], Knowledge(3))
    assert [one.mean for one in found] == pytest.approx([0.25, 0.75, 0.5], abs=1e-6)
    assert all(one.deviation < 1e-6 for one in found)


def test_the_pool_consists_of_the_best_scores() -> None:
    archive = archive_of([Made(value / 100) for value in (30, 90, 60, 10)])
    assert [one.id for one, _ in ranked(archive, METRIC, knowledge(archive), pool=2)] == [name(1), name(2)]


# ---- cost


class CountedDict(dict[Any, Any]):
    """Counts lookups."""

    count = 0

    def __getitem__(self, key: object) -> Any:
        self.count += 1
        return super().__getitem__(key)

    def get(self, key: object, default: object = None) -> Any:
        self.count += 1
        return super().get(key, default)


class CountedList(list[Any]):
    """Counts accesses to elements."""

    count = 0

    def __getitem__(self, key: Any) -> Any:
        self.count += 1
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.count += 1
        super().__setitem__(key, value)

    def __iter__(self) -> Any:
        self.count += len(self)
        return super().__iter__()


def lookups(candidates: int) -> int:
    """Candidates looked up for a ranking of five after one more result; all others are known, and all are on the
    baseline."""
    rng = random.Random(0)
    archive = archive_of([Made(rng.random()) for _ in range(candidates)], per_generation=candidates // 4)
    ranked(archive, METRIC, Knowledge(candidates - 1), pool=5)
    index = archive.index
    index.candidates, index.by_order = (CountedDict(one) for one in (index.candidates, index.by_order))
    ranked(archive, METRIC, Knowledge(candidates), pool=5)
    return index.candidates.count + index.by_order.count


def test_an_estimate_after_one_more_result_reads_only_that_result() -> None:
    """Above 200 outcomes the prior is not fitted to each."""
    assert lookups(300) == lookups(1200) < 30


def test_one_more_score_changes_only_the_nodes_above_it() -> None:
    counts = []
    for count in (50, 500):
        tree = tree_of(([-1] * count, [50.0] * count, [1.0] * count))
        tree._evidence = found = CountedList(tree._evidence)
        leaf = tree.add(7)
        tree.observe(leaf, 60.0, 1.0)
        tree.beliefs([leaf])
        counts.append(found.count)
    assert counts[0] == counts[1] < 20
