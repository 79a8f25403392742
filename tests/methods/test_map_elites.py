"""Which candidates belong to one cell, with numbers worked by hand."""

import random
from dataclasses import replace

import pytest

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
    options = [Option(one, 0.4 - number / 10, 0.1, 0.4 - number / 10, 0) for number, one in enumerate(candidates)]
    method = MapElites(config, config.baseline.metric.metric, of_method)
    drawn = list(method.draw(Field(options, 0.01, 1, random.Random(0)), 200))
    assert {one and one.id for one in drawn} == {candidates[number].id for number in elites}
