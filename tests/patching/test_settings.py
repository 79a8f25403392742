"""Settings are changed in place, and nothing else changes."""

import json

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


# ---- constants of a module

CONSTANTS = '''"""Train."""
import time
learning_rate = 6e-4 # max learning rate
WARMUP: int = 100
beta1, beta2 = 0.9, 0.95
device = 'cuda' if time else 'cpu'
batch = 12
batch = 24
if __name__ == "__main__":
    steps = 3
'''


def test_constants_of_a_module_are_read() -> None:
    """Those assigned once, at the top level, to a literal."""
    assert read_settings(CONSTANTS, "", "train.py") == {"learning_rate": 6e-4, "WARMUP": 100}


def test_a_constant_of_a_module_is_changed_in_place() -> None:
    edited = edit_settings(CONSTANTS, "", {"learning_rate": 1e-3, "WARMUP": 7, "device": "cpu"}, "train.py")
    expected = (
        CONSTANTS.replace("6e-4 #", "0.001 #").replace("= 100", "= 7").replace("'cuda' if time else 'cpu'", "'cpu'")
    )
    assert edited == expected


@pytest.mark.parametrize("name", ["batch", "steps", "beta1", "lr"])
def test_a_name_that_is_not_a_constant_of_the_module_is_refused(name: str) -> None:
    refusal = edit_settings(CONSTANTS, "", {name: 1}, "train.py")
    assert isinstance(refusal, Refusal) and refusal.kind == "unknown_setting"
    assert f"train.py has no setting '{name}'; it has: WARMUP, device, learning_rate" in refusal.reason


# ---- YAML and JSON

YAML = """# é
optimizer:   # of all weights
  lr: 3e-4   # YAML 1.1 takes it for a text
  "betas": [0.9, 0.95]  # both
  name: adamw
  nesterov: off
data: {batch: 12, shuffle: true, path: ~}
base: &base
  width: &width 64
other: *base
head: *width
layers:
  - 1
  - 2
text: |
  lines
when: 2020-01-01
lr: 1
lr: 2
"""


def test_values_of_yaml_are_read_at_any_depth() -> None:
    """Left out: values that stand for several settings, repeated keys, dates, and lists over several lines."""
    assert read_settings(YAML, "", "conf/train.yaml") == {
        "optimizer.lr": 3e-4,
        "optimizer.betas": [0.9, 0.95],
        "optimizer.name": "adamw",
        "optimizer.nesterov": False,
        "data.batch": 12,
        "data.shuffle": True,
        "data.path": None,
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"optimizer.lr": 1e-05}, "3e-4 ", "1.0e-05 "),
        ({"optimizer.lr": 3e-4}, "", ""),
        ({"optimizer.betas": (0.8, 0.9)}, "[0.9, 0.95]", "[0.8, 0.9]"),
        ({"optimizer.name": "no"}, "adamw", '"no"'),
        ({"optimizer.nesterov": True}, "off", "true"),
        ({"data.path": "a: #b"}, "~", '"a: #b"'),
        ({"data.batch": 8, "data.shuffle": None}, "batch: 12, shuffle: true", "batch: 8, shuffle: null"),
    ],
)
def test_only_the_value_changes_in_yaml(changes: dict[str, object], old: str, new: str, ending: str) -> None:
    source = YAML.replace("\n", ending)
    edited = edit_settings(source, "", changes, "train.yml")
    assert edited == source.replace(old, new, 1)
    read = read_settings(edited, "", "train.yml")
    assert isinstance(read, dict)
    assert {name: read[name] for name in changes} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()
    }


JSON = '{\n\t"model": {"width": 64, "rate": 1e-5},\n\t"tags": ["\\ud83d\\ude00", "a\\/b"]\n}\n'


def test_lone_surrogates_are_left_out() -> None:
    assert read_settings('{"a": "\\ud83d", "b": 1}', "", "a.json") == {"b": 1}


def test_json_is_read_and_changed_in_place() -> None:
    assert read_settings(JSON, "", "a.json") == {"model.width": 64, "model.rate": 1e-5, "tags": ["😀", "a/b"]}
    edited = edit_settings(JSON, "", {"model.rate": 1e-06, "model.width": 128, "tags": ["é\n"]}, "a.json")
    assert isinstance(edited, str)
    assert edited.startswith('{\n\t"model": {"width": 128, "rate": 1e-06},\n\t"tags": [')
    assert json.loads(edited) == {"model": {"width": 128, "rate": 1e-6}, "tags": ["é\n"]}


@pytest.mark.parametrize(
    ("source", "path", "changes", "kind", "reason"),
    [
        (YAML, "a.yaml", {"lr": 1}, "unknown_setting", "a.yaml has no setting 'lr'; it has: data.batch, data.path"),
        (YAML, "a.yaml", {"base.width": 1}, "unknown_setting", "no setting 'base.width'"),
        (YAML, "a.yaml", {"optimizer": 1}, "unknown_setting", "no setting 'optimizer'"),
        (YAML, "a.yaml", {"data.batch": float("nan")}, "bad_value", "data.batch: nan cannot be written in a.yaml"),
        (YAML, "a.yaml", {"data.batch": object()}, "bad_value", "data.batch: <object"),
        ("a: [1", "a.yaml", {"a": 1}, "syntax", "a.yaml does not parse"),
        ("a: 1\n---\na: 2\n", "a.yaml", {"a": 1}, "syntax", "a.yaml does not parse"),
        ("a: \0", "a.yaml", {"a": 1}, "syntax", "a.yaml does not parse"),
        ("[" * 5000, "a.yaml", {"a": 1}, "syntax", "a.yaml does not parse"),
        ("{'a': 1}", "a.json", {"a": 1}, "syntax", "a.json does not parse"),
        ("", "a.yaml", {"a": 1}, "unknown_setting", "it has: none"),
        ("5", "a.json", {"a": 1}, "unknown_setting", "no setting 'a'"),
    ],
)
def test_refusals_of_data_files(source: str, path: str, changes: dict[str, object], kind: str, reason: str) -> None:
    refusal = edit_settings(source, "", changes, path)
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind and reason in refusal.reason
