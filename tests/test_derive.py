"""Settings of a rerun: overrides of the baseline's settings are applied to the run's settings, and nothing else
changes."""

from typing import Any

import pytest

from pipeline.setup.derive import carried, replaced, unused_changes


@pytest.mark.parametrize(
    ("onto", "before", "after", "found"),
    [
        pytest.param({"a": 1}, {"a": 5}, {"a": 5}, {"a": 1}, id="a setting without an override keeps the run's value"),
        pytest.param({"a": 1}, {"a": 5}, {"a": 6}, {"a": 6}, id="an override changes a value"),
        pytest.param({"a": 6}, {"a": 5}, {"a": 6}, {"a": 6}, id="an override of a value that the run already has"),
        pytest.param({"g": {"a": 1, "b": 2}}, {"g": {"a": 0, "b": 0}}, {"g": {"a": 0, "b": 3}}, {"g": {"a": 1, "b": 3}},
                     id="nested"),
        pytest.param({"s": {"x": 1, "own": 9}}, {"s": {"x": 1}}, {"s": {"y": 2}}, {"s": {"own": 9, "y": 2}},
                     id="another scale"),
        pytest.param({"l": [1]}, {"l": [1, 2]}, {"l": [3]}, {"l": [3]}, id="a list is one value"),
    ],
)  # fmt: skip
def test_an_override_means_the_same_as_for_a_run(onto: Any, before: Any, after: Any, found: Any) -> None:
    assert carried(onto, before, after) == found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        pytest.param("data", {"data": "data", "train": {"sandbox": {"kind": "none"}}}, id="a setting"),
        pytest.param("train.sandbox", {"data": "/x", "train": {"sandbox": {"name": "auto"}}}, id="a part is one value"),
        pytest.param("experiment", {"data": "/x", "train": {"sandbox": {"kind": "none"}}}, id="not a setting"),
        pytest.param("data.x", {"data": "/x", "train": {"sandbox": {"kind": "none"}}}, id="nothing below a value"),
    ],
)
def test_a_named_setting_is_taken_even_at_its_default(key: str, found: Any) -> None:
    run = {"data": "/x", "train": {"sandbox": {"kind": "none"}}}
    assert replaced(run, {"data": "data", "train": {"sandbox": {"name": "auto"}}}, key.split(".")) == found


SCALES = """
class Tiny:
    rate: float = {0}
    clip: float = {1}

class Small:
    rate: float = {2}
    clip: float = 9
"""


def test_settings_changed_for_another_scale_are_named() -> None:
    before, after = SCALES.format(1, 1, 1), SCALES.format(2, 2, 3)
    assert unused_changes(before, after, "Tiny", "Small", "settings.py") == ["clip"]
    assert unused_changes(before, after, "Tiny", "Tiny", "settings.py") == []
    assert unused_changes(before, before, "Tiny", "Small", "settings.py") == []
    assert unused_changes(before, "class Tiny(:", "Tiny", "Small", "settings.py") == []
