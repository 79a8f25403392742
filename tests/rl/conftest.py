"""Policies for the tests."""

from pathlib import Path

import pytest
import torch

from pipeline.makers.bank import load_bank
from pipeline.makers.policy_ideator import bank_words
from pipeline.rl.policy import Policy, save_policy
from pipeline.rl.tiny import make_policy, supervise
from pipeline.rl.words import Words
from tests.makers.world import IDEAS, PRISTINE, composed

# Models this small gain nothing from threads. On a busy machine, each operation waits until all of its threads have had
# their turn: a policy that takes four CPU seconds took more than five minutes.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def words() -> Words:
    names = tuple(f"idea{number}" for number in range(6))
    return Words(names, (("rate=0.1", "rate=0.2", "rate=0.3"), ("steps=1", "steps=2")))


@pytest.fixture
def policy(words: Words) -> Policy:
    """Untrained, so that it costs nothing."""
    return make_policy(words, seed=0, width=16, layers=1)


@pytest.fixture(scope="session")
def toy_words() -> Words:
    bank = load_bank(IDEAS, composed(()), patches=True)
    return bank_words(bank, bank.settings(PRISTINE))


@pytest.fixture(scope="session")
def toy_policy(toy_words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy for the toy that mostly knows the form of an answer."""
    policy = make_policy(toy_words, 0, width=32, layers=1)
    supervise(policy, toy_words, steps=150, seed=0, batch=32)
    folder = tmp_path_factory.mktemp("policy") / "toy_tiny"
    save_policy(policy, folder, 0)
    return folder
