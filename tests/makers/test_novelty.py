"""Whether earlier ideas are recognized among many, compared with a check of every pair."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.makers.novelty import KnownIdeas
from pipeline.makers.proposals import alike, idea_words
from pipeline.records import Idea
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from tests.makers.world import archive_of, candidate, generation

PATHS = RunPaths(Path("runs/r"))
TEXT = (
    "Use momentum of 0.9 in the update of the weights and keep the velocity in the state, so that the steps go on in the "
    "direction in which most of the earlier slopes agreed and the noise of single rows is averaged out."
)


def random_words(rng: random.Random, count: int) -> list[str]:
    """Words of a language with 20,000 words."""
    return [
        f"w{'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10 % 10]}{chr(97 + n // 100 % 20)}{chr(97 + n // 2000)}"
        for n in rng.sample(range(20_000), count)
    ]


def random_idea(rng: random.Random, words: Sequence[str] = (), parents: tuple[str, ...] = ()) -> Idea:
    text = list(words or random_words(rng, rng.randint(10, 120)))
    rng.shuffle(text)
    return Idea(text[0], " ".join(text[1:]), "explore", parents)


def with_words(archive_ideas: Sequence[Sequence[Idea]]) -> Archive:
    """An archive with these ideas, generation by generation."""
    return archive_of(
        PATHS,
        *(
            generation(
                PATHS,
                g,
                [candidate(PATHS, f"generation_{g:03d}/candidate_{c:03d}", idea) for c, idea in enumerate(ideas)],
            )
            for g, ideas in enumerate(archive_ideas)
        ),
    )


def known_of(*ideas: Sequence[Idea]) -> KnownIdeas:
    known = KnownIdeas()
    known.update(with_words(ideas), len(ideas))
    return known


def test_an_idea_in_nearly_the_same_words_is_found_among_many() -> None:
    rng = random.Random(0)
    old = Idea("Momentum", TEXT, "explore")
    others = [random_idea(rng) for _ in range(3000)]
    known = known_of([*others[:1500], old, *others[1500:]])
    again = Idea("Momentum!", f"Please {TEXT.lower()}", "explore")
    assert known.twin(again, 1) == old
    assert known.twin(Idea("Nesterov", "Look ahead before the slope is taken.", "explore"), 1) is None


@pytest.mark.parametrize(
    ("title", "text", "parents"),
    [
        pytest.param("Momentum", TEXT, ("generation_000/candidate_000",), id="on a parent"),
        pytest.param("Momentum", "Use momentum of 0.5.", (), id="another number"),
    ],
)
def test_a_different_idea_is_not_found(title: str, text: str, parents: tuple[str, ...]) -> None:
    short = Idea("Momentum", "Use momentum of 0.9.", "explore")
    known = known_of([Idea("Momentum", TEXT, "explore"), short])
    assert known.twin(Idea(title, text, "exploit", parents), 1) is None
    assert known.twin(short, 1) == short


def test_by_character_trigrams_an_inflected_idea_is_found_and_another_number_is_not() -> None:
    old = Idea("Warm-up", "Warming up the learning rate linearly over the first 100 steps.", "explore")
    again = Idea("Warmup", "Warm up learning rates linearly over the first 100 step.", "explore")
    other = Idea("Warm-up", "Warming up the learning rate linearly over the first 200 steps.", "explore")
    strict, loose = KnownIdeas(), KnownIdeas(0.6)
    for known in (strict, loose):
        known.update(with_words([[old]]), 1)
    assert strict.twin(again, 1) is None and loose.twin(again, 1) == old
    assert strict.twin(other, 1) is loose.twin(other, 1) is None
    assert loose.twin(again, 0) is None


def test_on_the_same_parents_it_is_found() -> None:
    parents = ("generation_000/candidate_000", "generation_000/candidate_003")
    old = Idea("Momentum", TEXT, "exploit", parents)
    known = known_of([Idea("Other", "Another idea.", "explore"), old])
    assert known.twin(Idea("Momentum", TEXT, "exploit", parents), 1) == old
    assert known.twin(Idea("Momentum", TEXT, "exploit", parents[:1]), 1) is None
    assert known.twin(Idea("Momentum", TEXT, "exploit", parents[::-1]), 1) is None


def test_ideas_of_later_generations_are_not_found_also_when_they_were_read() -> None:
    """A generation that opened earlier repeats its query after a restart and must get the same answer."""
    old, later = Idea("Momentum", TEXT, "explore"), Idea("Batch", "A larger batch of sixteen rows.", "explore")
    known = known_of([old], [later], [])
    assert known.twin(old, 1) == old and known.twin(old, 0) is None
    assert known.twin(later, 2) == later and known.twin(later, 1) is None


def test_each_generation_is_read_once_and_only_up_to_the_one_named() -> None:
    old, later = Idea("Momentum", TEXT, "explore"), Idea("Batch", "A larger batch of sixteen rows.", "explore")
    known = KnownIdeas()
    known.update(with_words([[old], [later]]), 1)
    assert known.twin(old, 2) == old and known.twin(later, 2) is None
    other = Idea("Decay", "Let the step size fall to a tenth over the run.", "explore")
    known.update(with_words([[other], [later]]), 2)
    assert known.twin(old, 2) == old and known.twin(later, 2) == later
    assert known.twin(other, 2) is None  # the first generation is not read again


@pytest.mark.parametrize(("share", "least"), [(0.8, 0.98), (0.85, 0.995), (0.9, 0.9998), (1.0, 1.0)])
@pytest.mark.parametrize("count", [8, 20, 60, 120])
def test_pairs_that_share_most_of_their_words_are_found(count: int, share: float, least: float) -> None:
    """The share of all such pairs that the module promises to find, over texts from a line to a page."""
    rng = random.Random(f"{count}/{share}")
    found = pairs = 0
    while pairs < 500:
        words = random_words(rng, count)
        shared = -int(-share * count // 1)
        own = (count - shared) // 2
        one = random_idea(rng, words[: shared + own])
        two = random_idea(rng, words[:shared] + words[shared + own :])
        assert alike(one, two)
        pairs += 1
        found += known_of([random_idea(rng), one, random_idea(rng)]).twin(two, 1) == one
    assert found >= least * pairs


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh 0.1 0.2 3".split()), min_size=1, max_size=8), min_size=2, max_size=8)
)
def test_found_ideas_are_similar_and_equal_ones_are_found(texts: list[list[str]]) -> None:
    ideas = [Idea("", " ".join(text), "explore") for text in texts]
    known = known_of(ideas[1:])
    twin = known.twin(ideas[0], 1)
    assert twin is None or alike(ideas[0], twin)
    if idea_words(ideas[0]) in [idea_words(idea) for idea in ideas[1:]]:
        assert twin is not None
    if not any(alike(ideas[0], idea) for idea in ideas[1:]):
        assert twin is None
