"""Which candidates belong to one cell, with numbers worked by hand."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.errors import BadInput
from pipeline.methods.guided import Field, Option
from pipeline.methods.map_elites import MapElites
from pipeline.store.views import Candidate
from tests.archives import Made, archive_of, config_of

TOKENS = (500, 1500, 900, 5000)
"""Tokens per step of four candidates, best first."""


def with_tokens(candidate: Candidate, tokens: float) -> Candidate:
    (attempt,) = candidate.attempts
    (trial,) = attempt.trials
    assert trial.score is not None
    measured = replace(trial, score=replace(trial.score, secondary={"tokens_per_step": tokens}))
    return replace(candidate, attempts=(replace(attempt, trials=(measured,)),))


def with_paths(candidate: Candidate, paths: tuple[str, ...]) -> Candidate:
    (attempt,) = candidate.attempts
    assert attempt.implementation is not None
    return replace(candidate, attempts=(replace(attempt, implementation=replace(attempt.implementation, paths=paths)),))


def drawn(method: MapElites, candidates: Sequence[Candidate]) -> set[str]:
    """The ids of the candidates that are ever drawn."""
    options = [Option(one, 0.4 - number / 10, 0.1, 0.4 - number / 10, 0) for number, one in enumerate(candidates)]
    found = method.draw(Field(options, 0.01, 1, random.Random(0), archive_of()), 200)
    return {one.id for one in found if one is not None}


@pytest.mark.parametrize(
    ("of_baseline", "of_method", "elites"),
    [
        pytest.param({}, {}, {0}, id="all change the same file: one cell"),
        pytest.param({"tokens_per_step": [1000, 4000]}, {}, {0, 1, 3}, id="edges of the baseline's file"),
        pytest.param(
            {"tokens_per_step": [1000]}, {"tokens_per_step": [600]}, {0, 1}, id="the method's own edges take precedence"
        ),
        pytest.param({"loss": [1.0]}, {}, {0}, id="a metric that no evaluator reports"),
    ],
)
def test_the_best_of_each_cell_is_drawn(
    of_baseline: dict[str, list[float]], of_method: dict[str, list[float]], elites: set[int]
) -> None:
    config = config_of()
    config.baseline.descriptors = dict(of_baseline)
    found = archive_of([Made(0.9 - number / 10) for number in range(len(TOKENS))]).candidates
    candidates = [with_tokens(one, tokens) for one, tokens in zip(found, TOKENS, strict=True)]
    method = MapElites(config, config.baseline.metric.metric, of_method)
    assert drawn(method, candidates) == {candidates[number].id for number in elites}


PATCHES = (("settings.py",), ("train.py",), ("settings.py", "train.py"), ("model.py",))
"""Files that the patches of four candidates change, best first."""


@pytest.mark.parametrize(
    ("patch", "elites"),
    [
        pytest.param("files", {0, 1, 2, 3}, id="each set of files"),
        pytest.param("algorithm", {0, 1}, id="settings alone, or code"),
        pytest.param("any", {0}, id="not compared"),
    ],
)
def test_patches_are_told_apart(patch: str, elites: set[int]) -> None:
    config = config_of()
    config.baseline.settings_file = "settings.py"
    found = archive_of([Made(0.9 - number / 10) for number in range(len(PATCHES))]).candidates
    candidates = [with_paths(one, paths) for one, paths in zip(found, PATCHES, strict=True)]
    method = MapElites(config, config.baseline.metric.metric, patch=patch)
    assert drawn(method, candidates) == {candidates[number].id for number in elites}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        pytest.param("lines", "use one of: files, algorithm, any", id="unknown"),
        pytest.param("algorithm", "requires baseline.settings_file", id="no settings file"),
    ],
)
def test_a_descriptor_of_patches_that_cannot_be_used_is_refused(patch: str, message: str) -> None:
    config = config_of()
    config.baseline.settings_file = ""
    with pytest.raises(BadInput, match=message):
        MapElites(config, config.baseline.metric.metric, patch=patch)


@pytest.mark.parametrize("of", ["baseline", "method"])
def test_edges_that_do_not_rise_are_refused(of: str) -> None:
    config, edges = config_of(), {"tokens_per_step": [4000, 1000]}
    config.baseline.descriptors = dict(edges) if of == "baseline" else {}
    with pytest.raises(BadInput, match=r"tokens_per_step are \[4000, 1000\]; list them from low to high"):
        MapElites(config, config.baseline.metric.metric, edges if of == "method" else None)
