"""Settings of a rerun: what an override changes of the baseline's settings is changed of the run's, and nothing else."""

from typing import Any

import pytest

from pipeline.setup.derive import carried


@pytest.mark.parametrize(
    ("onto", "before", "after", "found"),
    [
        pytest.param({"a": 1}, {"a": 5}, {"a": 5}, {"a": 1}, id="what is not overridden stays as in the run"),
        pytest.param({"a": 1}, {"a": 5}, {"a": 6}, {"a": 6}, id="what is overridden changes"),
        pytest.param({"a": 6}, {"a": 5}, {"a": 6}, {"a": 6}, id="also where the run has that value"),
        pytest.param({"g": {"a": 1, "b": 2}}, {"g": {"a": 0, "b": 0}}, {"g": {"a": 0, "b": 3}}, {"g": {"a": 1, "b": 3}},
                     id="nested"),
        pytest.param({"s": {"x": 1, "own": 9}}, {"s": {"x": 1}}, {"s": {"y": 2}}, {"s": {"own": 9, "y": 2}},
                     id="another scale"),
        pytest.param({"l": [1]}, {"l": [1, 2]}, {"l": [3]}, {"l": [3]}, id="a list is one value"),
    ],
)  # fmt: skip
def test_an_override_means_what_it_means_to_run(onto: Any, before: Any, after: Any, found: Any) -> None:
    assert carried(onto, before, after) == found
