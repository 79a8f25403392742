"""Settings change where they stand, and nothing else does."""

import pytest

from pipeline.patching import Refusal, edit_settings, read_settings

SOURCE = '''"""é"""
from dataclasses import dataclass, field


@dataclass
class Settings:
    """What an idea may change."""

    learning_rate: float = 3e-4  # of AdamW, é
    # ------------------
    betas: tuple[float, float] = (
        0.9,
        0.95,  # second
    )
    name: str = "é"; warm: bool = True  # two on a line
    steps: int = (100)
    rules: list[str] = field(default_factory=list)
    needed: int

    def method(self) -> None:
        inner: int = 1
'''


def test_values_are_read() -> None:
    assert read_settings(SOURCE, "Settings") == {
        "learning_rate": 3e-4,
        "betas": (0.9, 0.95),
        "name": "é",
        "warm": True,
        "steps": 100,
    }


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"learning_rate": 1e-3}, "= 3e-4  # of AdamW, é", "= 0.001  # of AdamW, é"),
        ({"learning_rate": 0.0003}, "", ""),
        ({"betas": (0.8, 0.9)}, "(\n        0.9,\n        0.95,  # second\n    )", "(0.8, 0.9)"),
        ({"warm": False, "name": "ñ"}, '"é"; warm: bool = True', "'ñ'; warm: bool = False"),
        ({"steps": 7}, "(100)", "(7)"),
        ({"steps": -1.5}, "(100)", "(-1.5)"),
        ({"rules": ["a"]}, "field(default_factory=list)", "['a']"),
        ({"name": None}, '= "é"', "= None"),
    ],
)
def test_only_the_value_changes(changes: dict[str, object], old: str, new: str) -> None:
    assert edit_settings(SOURCE, "Settings", changes) == SOURCE.replace(old, new, 1)
    crlf = edit_settings(SOURCE.replace("\n", "\r\n"), "Settings", changes)
    assert crlf == SOURCE.replace(old, new, 1).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("source", "name", "changes", "kind", "reason"),
    [
        (
            SOURCE,
            "Settings",
            {"lr": 1},
            "unknown_setting",
            "it has: betas, learning_rate, name, rules, steps, warm",
        ),
        (SOURCE, "Settings", {"inner": 1}, "unknown_setting", "no setting 'inner'"),
        (SOURCE, "Settings", {"needed": 1}, "unknown_setting", "no setting 'needed'"),
        (SOURCE, "Config", {"steps": 1}, "unknown_setting", "the classes are: Settings"),
        (SOURCE, "Settings", {"steps": float("nan")}, "bad_value", "steps: nan"),
        (SOURCE, "Settings", {"steps": object()}, "bad_value", "steps: <object"),
        ("class Settings(:\n", "Settings", {}, "syntax", "does not parse"),
    ],
)
def test_refusals(source: str, name: str, changes: dict[str, object], kind: str, reason: str) -> None:
    refusal = edit_settings(source, name, changes)
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind
    assert reason in refusal.reason
