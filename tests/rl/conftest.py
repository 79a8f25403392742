"""A policy for the tests: untrained, so that it costs nothing."""

import pytest

from pipeline.rl.policy import Policy
from pipeline.rl.tiny import make_policy
from pipeline.rl.words import Words


@pytest.fixture(scope="session")
def words() -> Words:
    names = tuple(f"idea{number}" for number in range(6))
    return Words(names, (("rate=0.1", "rate=0.2", "rate=0.3"), ("steps=1", "steps=2")))


@pytest.fixture
def policy(words: Words) -> Policy:
    return make_policy(words, seed=0, width=16, layers=1)
