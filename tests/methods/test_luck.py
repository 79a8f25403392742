"""A single lucky score is not preferred over a slightly lower one in a good family, wherever candidates are compared."""

import pytest

from pipeline.config import SelectConfig
from pipeline.makers import history
from pipeline.methods.base import SearchMethod
from pipeline.methods.puct import Puct
from pipeline.methods.thompson import Thompson
from pipeline.methods.truncation import Truncation
from pipeline.policy.race import by_search
from pipeline.report.posterior import ranked
from pipeline.report.standings import knowledge
from tests.archives import Made, archive_of, config_of, name, terms_of

CONFIG = config_of(select=SelectConfig(parents=1))
METRIC = CONFIG.baseline.metric.metric
LUCKY, FAMILY = 10, 11
ARCHIVE = archive_of(
    [
        *[Made(value) for value in (0.60, 0.50, 0.48, 0.52)],
        *[Made(0.60 + number / 500, parents=(0,)) for number in range(6)],
        Made(0.64, parents=(1,)),
        Made(0.63, parents=(4,)),
    ],
    baseline=(0.5, 0.5, 0.56),
)
"""The lucky candidate builds on one that scored 0.50; the other has a parent and siblings at 0.60."""


def test_in_the_ranking() -> None:
    names = [one.id for one, _ in ranked(ARCHIVE, METRIC, knowledge(ARCHIVE))]
    assert names.index(name(FAMILY)) < names.index(name(LUCKY))


@pytest.mark.parametrize(
    "method",
    [Truncation(CONFIG, METRIC), Thompson(CONFIG, METRIC, 1e-9, 0.0), Puct(CONFIG, METRIC, 0.0)],
    ids=lambda method: type(method).__name__,
)
def test_as_a_parent(method: SearchMethod) -> None:
    """Each method is set to draw only the best."""
    assert method.select(ARCHIVE).parents == (name(FAMILY),)


def test_as_an_elite() -> None:
    assert [one.id for one in by_search(terms_of(CONFIG), ARCHIVE, 1)] == [name(FAMILY)]


def test_in_the_history_of_prompts() -> None:
    text = history.tried(ARCHIVE, knowledge(ARCHIVE), METRIC, "seed", 4000)
    best = text.partition("Others that were tried")[0]
    lucky, family = (best.find(f"idea {number}\n") for number in (LUCKY, FAMILY))
    assert family >= 0 and (family < lucky or lucky < 0)
