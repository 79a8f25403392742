"""A provider's usage numbers: impossible ones are not trusted."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.llm.prices import Prices
from pipeline.llm.usage import usage_of, valid_price
from pipeline.records import Usage


def counted(sent: Any, received: Any, cached: Any = None) -> SimpleNamespace:
    return SimpleNamespace(
        prompt_tokens=sent, completion_tokens=received, prompt_tokens_details=SimpleNamespace(cached_tokens=cached)
    )


@pytest.mark.parametrize(
    ("numbers", "usage"),
    [
        (counted(10, 5, 4), Usage(10, 4, 5, None)),
        (counted(10, 5), Usage(10, 0, 5, None)),
        (counted("10", "5", "4"), Usage(10, 4, 5, None)),
        (counted(10.0, 5.0, 4.0), Usage(10, 4, 5, None)),
        (counted(10, 100, 965602), Usage(10, 10, 100, None, True)),  # more cached than sent
        (counted(10, 5, -4), Usage(10, 0, 5, None, True)),
        (counted(-10, -5, 4), Usage(7, 4, 3, None, True)),
        (counted(10, 5, "many"), Usage(10, 0, 5, None, True)),
        (counted(None, None), Usage(7, 0, 3, None, True)),
        (counted(0, 0), Usage(7, 0, 3, None, True)),
        (counted(math.nan, math.inf), Usage(7, 0, 3, None, True)),
        (counted(True, [5]), Usage(7, 0, 3, None, True)),
        (None, Usage(7, 0, 3, None, True)),
        (SimpleNamespace(), Usage(7, 0, 3, None, True)),
    ],
)
def test_impossible_counts_are_corrected_and_missing_ones_estimated(numbers: Any, usage: Usage) -> None:
    found = usage_of(numbers, 7, 3)
    assert found == usage
    assert Prices(3e-6, 3e-7, 15e-6).of(found) >= 0


def test_an_empty_answer_has_no_tokens() -> None:
    assert usage_of(counted(10, 0), 7, 0) == Usage(10, 0, 0, None)


@pytest.mark.parametrize(
    ("price", "valid"),
    [(0, 0.0), (1.5, 1.5), (-1.0, None), (math.nan, None), (math.inf, None), (None, None), ("1", None), (True, None)],
)
def test_a_price_is_a_valid_number(price: object, valid: float | None) -> None:
    assert valid_price(price) == valid


def test_a_sum_with_uncertain_parts_is_uncertain() -> None:
    assert sum([Usage(1), Usage(2, uncertain=True), Usage(3)], Usage()) == Usage(6, uncertain=True)
