"""Similarity of texts, and how far a search narrows. Pure functions, shared by makers, methods and analysis.

Own code, since it is a few lines of sets: rapidfuzz compares strings by edits, which reordered sentences defeat, and
scikit-learn would bring a hundred megabytes into the controller for the same n-grams.
"""

import functools
import itertools
import math
import re
import statistics
from collections.abc import Sequence, Set
from typing import Any

_WORD = re.compile(r"[^\W\d]+|\d+(?:\.\d+)?(?:e-?\d+)?")
_MOST_COMPARED = 200
"""Texts that are compared pair by pair."""


def words_of(text: str) -> frozenset[str]:
    """The words, in any script, and numbers of a text."""
    return frozenset(_WORD.findall(text.lower()))


@functools.lru_cache(8192)
def trigrams_of(text: str) -> frozenset[str]:
    """Sequences of three characters in the padded words of a text: inflected and hyphenated words share most of them
    (Cavnar and Trenkle, "N-Gram-Based Text Categorization", SDAIR 1994)."""
    padded = (f" {word} " for word in re.findall(r"[^\W\d]+", text.lower()))
    return frozenset(word[at : at + 3] for word in padded for at in range(len(word) - 2))


@functools.lru_cache(8192)
def numbers_of(text: str) -> frozenset[str]:
    """The numbers of a text."""
    return frozenset(word for word in words_of(text) if word[0].isdigit())


def jaccard(one: Set[Any], two: Set[Any]) -> float:
    """Share of what two sets have together that is in both, 0 to 1; 1 for two empty ones."""
    shared = len(one & two)
    both = len(one) + len(two) - shared
    return shared / both if both else 1.0


def similarity(texts: Sequence[Set[str]]) -> float | None:
    """Mean share of words that two of some texts have in common, 0 to 1; none for fewer than two."""
    pairs = [jaccard(one, two) for one, two in itertools.combinations(sampled(texts), 2)]
    return statistics.fmean(pairs) if pairs else None


def sampled(texts: Sequence[Set[str]]) -> Sequence[Set[str]]:
    """An evenly spread sample that is small enough to compare all pairs."""
    return texts[:: max(1, math.ceil(len(texts) / _MOST_COMPARED))]


def narrowed(texts: Sequence[Set[str]], span: int) -> float:
    """Rise of the similarity from the first `span` texts to the last `span`, as a share of the largest possible rise, 0 to
    1. 0 while there are fewer than two spans."""
    if len(texts) < 2 * span:
        return 0.0
    first, last = similarity(texts[:span]), similarity(texts[-span:])
    if first is None or last is None or first >= 1:
        return 0.0
    return max(0.0, (last - first) / (1 - first))


def largest_group(texts: Sequence[Set[str]], least: float) -> int:
    """Size of the largest group of texts that share at least this part of their words with the first of the group."""
    groups: list[tuple[Set[str], int]] = []
    for text in texts:
        for number, (first, size) in enumerate(groups):
            if jaccard(text, first) >= least:
                groups[number] = (first, size + 1)
                break
        else:
            groups.append((text, 1))
    return max((size for _, size in groups), default=0)
