"""A policy for the tests: untrained, so that it costs nothing."""

import pytest

from pipeline.rl.policy import Policy
from pipeline.rl.tiny import Words, all_words, make_policy


@pytest.fixture(scope="session")
def words() -> Words:
    return all_words([f"idea{number}" for number in range(6)], [("rate", (0.1, 0.2, 0.3)), ("steps", (1, 2))])


@pytest.fixture
def policy(words: Words) -> Policy:
    return make_policy(words, seed=0, width=16, layers=1)
