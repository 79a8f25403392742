"""Finds earlier ideas with nearly the same words, at a cost that does not grow with the archive.

One-permutation MinHash with locality-sensitive hashing (Li, Owen and Zhang, "One Permutation Hashing", NIPS 2012; Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3) finds the few ideas that may be alike; these are compared word
by word. Of pairs that share 80 % of their words 98 % are found, of pairs that share 90 % all but one in 5,000.
"""

import zlib
from collections.abc import Iterable, Iterator

from pipeline.llm.base import Embedder
from pipeline.makers.proposals import alike, idea_words, trigram_likeness, whole
from pipeline.records import Idea
from pipeline.store.archive import Archive

_BANDS, _ROWS = 8, 4
_BINS = _BANDS * _ROWS
_MIX, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
"""Fibonacci hashing: spreads a checksum over 64 bits."""


class KnownIdeas:
    """An index of the ideas of complete generations. Each is read once."""

    def __init__(self, least: float = 1.0, embedder: Embedder | None = None) -> None:
        """`least`: see `ideate.similarity`. Below 1 every earlier idea is compared, by its meaning with an `embedder`."""
        self._least = least
        self._embedder = embedder if least < 1 else None
        self._ideas: list[tuple[int, Idea]] = []
        self._bands: dict[int, list[tuple[int, Idea]]] = {}
        self._generations = 0

    def update(self, archive: Archive, generations: int) -> None:
        """Add the ideas of generations with a number below `generations`. Raises `Unanswered`."""
        self.prepare(
            [one.idea for new in archive.generations[self._generations : generations] for one in new.candidates]
        )
        for generation in archive.generations[self._generations : generations]:
            for candidate in generation.candidates:
                self._ideas.append((generation.number, candidate.idea))
                for band in _bands(candidate.idea):
                    self._bands.setdefault(band, []).append((generation.number, candidate.idea))
        self._generations = max(self._generations, generations)

    def prepare(self, ideas: Iterable[Idea]) -> None:
        """Request what `alike` needs of these ideas, together. Raises `Unanswered`."""
        if self._embedder is not None:
            self._embedder.embed([whole(idea) for idea in ideas])

    def alike(self, one: Idea, two: Idea) -> bool:
        """Whether two ideas count as the same."""
        return alike(one, two, self._least, trigram_likeness if self._embedder is None else self._cosine)

    def twin(self, idea: Idea, generations: int) -> Idea | None:
        """An idea like this one from a generation with a number below `generations`; none if there is none."""
        near: Iterable[tuple[int, Idea]] = self._ideas
        if self._least >= 1:
            near = (pair for band in _bands(idea) for pair in self._bands.get(band, ()))
        return next((other for number, other in near if number < generations and self.alike(idea, other)), None)

    def _cosine(self, one: Idea, two: Idea) -> float:
        """Cosine of the embeddings of two ideas; their share of trigrams if the model rejects one of them."""
        assert self._embedder is not None
        first, second = self._embedder.embed([whole(one), whole(two)])
        return trigram_likeness(one, two) if first is None or second is None else float(first @ second)


def _bands(idea: Idea) -> Iterator[int]:
    """Hashes; two ideas share at least one with a probability that rises steeply with their share of common words."""
    least: dict[int, int] = {}
    for word in idea_words(idea):
        value = zlib.crc32(word.encode()) * _MIX & _MASK
        place = value % _BINS
        if value < least.get(place, _MASK + 1):
            least[place] = value
    if not least:
        return
    filled = [_filled(least, place) for place in range(_BINS)]
    parents = zlib.crc32(" ".join(idea.parents).encode())
    for band in range(_BANDS):
        yield hash((band, parents, *filled[band * _ROWS : (band + 1) * _ROWS]))


def _filled(least: dict[int, int], place: int) -> int:
    """The least value of a bin; for an empty bin that of the next filled one."""
    return next(least[at % _BINS] for at in range(place, place + _BINS) if at % _BINS in least)
