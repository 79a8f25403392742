"""The language of the tiny policy: the words of a bank, and answers made of them.

    <think> muon cosine </think> {"text":" muon + learning_rate=0.0004 "}

A word is the name of an idea of the bank, or a setting with one of its values. One to three ideas and up to two settings
give more than 10,000 distinct ideas for either baseline. This module does not import torch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

OPEN, CLOSE, AND, THINK, THOUGHT = '{"text":"', '"}', "+", "<think>", "</think>"
EXPLORE, IMPROVE = "propose:", "improve:"
"""The first word of a prompt; the second one is followed by the words of a parent."""


@dataclass(frozen=True)
class Words:
    """The vocabulary of ideas."""

    names: tuple[str, ...]
    """Names of ideas of the bank."""
    settings: tuple[tuple[str, ...], ...]
    """For each setting, `name=value` for each of its values."""

    @property
    def all(self) -> list[str]:
        """Every word once."""
        return [*self.names, *(word for values in self.settings for word in values)]

    def count(self) -> int:
        """Number of distinct ideas with up to three names and two settings, ignoring order."""
        n, sizes = len(self.names), [len(values) for values in self.settings]
        patches = n + n * (n - 1) // 2 + n * (n - 1) * (n - 2) // 6
        one = sum(sizes)
        two = (one * one - sum(size * size for size in sizes)) // 2
        return patches * (1 + one + two) + one + two


def draw_idea(words: Words, rng: random.Random) -> list[str]:
    """Words of a random idea: one to three names, or settings, or both."""
    names = rng.choices((0, 1, 2, 3), (2, 4, 3, 1))[0] if words.names else 0
    settings = rng.choices((0, 1, 2), (6, 3, 1) if names else (0, 3, 1))[0]
    chosen = rng.sample(words.names, min(names, len(words.names)))
    groups = rng.sample(words.settings, min(settings, len(words.settings)))
    return [*chosen, *(rng.choice(group) for group in groups)]


def answer_text(thoughts: Sequence[str], idea: Sequence[str]) -> str:
    """An answer in the policy's format, without its end token."""
    return " ".join([THINK, *thoughts, THOUGHT, OPEN, f" {AND} ".join(idea), CLOSE])


def parts_of(text: str) -> list[str]:
    """The words in an idea's text, in order."""
    return [word for word in text.split() if word != AND]


def prompt_text(parent: Sequence[str]) -> str:
    """The prompt for the policy, with the words of the parent if the idea should build on one."""
    return f"{IMPROVE} {f' {AND} '.join(parent)}" if parent else EXPLORE


def example(words: Words, rng: random.Random) -> tuple[str, str]:
    """A prompt and its answer. The thoughts are some of the idea's words and random ones; an idea on a parent repeats none
    of the parent's words."""
    parent = draw_idea(words, rng) if rng.random() < 0.5 else []
    idea = [word for word in draw_idea(words, rng) if word not in parent] or [rng.choice(words.all)]
    thoughts = [*idea[: rng.randint(0, 2)], *rng.sample(words.all, rng.randint(0, 3))]
    rng.shuffle(thoughts)
    return prompt_text(parent), answer_text(thoughts, idea)
