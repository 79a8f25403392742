"""The rule of "Towards Execution-Grounded Automated AI Research" (arXiv 2601.14525, section on evolutionary search)."""

from collections.abc import Iterator

from pipeline.methods.guided import WIDE, Field, Guided, Option


class Paper(Guided):
    """Every candidate with a better score than the baseline, of the 2,000 with the best scores, is a parent with equal
    probability, regardless of noise."""

    pool = WIDE

    def draw(self, field: Field, count: int) -> Iterator[Option | None]:
        better = [one for one in field.options if one.score_gain > 0]
        yield from (field.rng.choice(better) if better else None for _ in range(count))
