"""The part of the settings that prompts show: only those of the scale in use; a change of them is a change of the real
file."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import BaselineConfig
from pipeline.llm.base import tokens
from pipeline.makers.elision import elide
from pipeline.makers.llm_implementer import LlmImplementer
from pipeline.patching import Refusal, patched_tree
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Idea
from tests.llm.desk import desk, in_turn
from tests.llm.provider import Answer
from tests.llm.researcher import block
from tests.makers.world import tools_of
from tests.toy import ROOT, tree

SOURCE = '''"""Settings."""

from dataclasses import dataclass


@dataclass
class Tiny:
    """One core."""

    # the rate
    rate: float = 0.1
    # rows of a step
    batch: int = 4


@dataclass
class Small:
    """One GPU."""

    # the rate
    rate: float = 0.1
    # rows of a step
    batch: int = 64

    def steps(self) -> int:
        return 7


class Paper(Tiny):
    # the rate
    rate: float = 0.3


SCALES = {"tiny": Tiny, "small": Small, "paper": Paper}
'''
BASELINE = BaselineConfig(
    settings_file="settings.py", settings_class={"tiny": "Tiny", "small": "Small", "paper": "Paper"}
)
CODE: Tree = {"settings.py": Entry(SOURCE.encode()), "train.py": Entry(b"import settings\n")}
MARK = "# class Small: settings of another scale, not shown; a new setting of Tiny is copied into it."


def shown(source: str = SOURCE, scale: str = "tiny", baseline: BaselineConfig = BASELINE) -> str:
    return elide({"settings.py": Entry(source.encode())}, baseline, scale).shown["settings.py"].data.decode()


def change(reply: str) -> Tree | Refusal:
    """The result of a model's reply to the shown code, applied to the code."""
    elision = elide(CODE, BASELINE, "tiny")
    made = patched_tree(elision.shown, reply)
    return made if isinstance(made, Refusal) else elision.restore(made)


def changed(reply: str) -> str:
    made = change(reply)
    assert isinstance(made, dict), made
    return made["settings.py"].data.decode()


def test_a_line_stands_for_each_class_of_another_scale() -> None:
    text = shown()
    assert MARK in text.splitlines() and "class Tiny:" in text and text.count("rate: float") == 1
    assert (
        "One GPU" not in text and "steps(self)" not in text and text.endswith("SCALES" + SOURCE.partition("SCALES")[2])
    )
    assert ast.parse(text)
    assert text.count("@dataclass") == 1


def test_a_class_that_the_one_in_use_requires_is_shown() -> None:
    text = shown(scale="paper")
    assert "\nclass Paper(Tiny):" in text and "\nclass Tiny:" in text and "# class Small:" in text


def test_a_line_that_occurs_at_another_scale_is_found_as_shown() -> None:
    """It occurs twice in the whole file, so a block with nothing else would be refused as ambiguous."""
    reply = block("settings.py", "    rate: float = 0.1", "    rate: float = 0.2")
    assert isinstance(patched_tree(CODE, reply), Refusal)
    assert changed(reply) == SOURCE.replace("0.1", "0.2", 1)


@pytest.mark.parametrize(
    "reply",
    [
        block("settings.py", f"    batch: int = 4\n\n\n{MARK}", f"    batch: int = 8\n\n\n{MARK}"),
        f"settings.py\n```python\n{shown().replace('batch: int = 4', 'batch: int = 8')}```\n",
        "```diff\n--- a/settings.py\n+++ b/settings.py\n@@ -12,4 +12,4 @@\n     # rows of a step\n-    batch: int = 4\n"
        f"+    batch: int = 8\n \n \n {MARK}\n```\n",
    ],
    ids=["blocks", "files", "diff"],
)
def test_the_line_may_be_quoted_in_every_form(reply: str) -> None:
    assert changed(reply) == SOURCE.replace("batch: int = 4", "batch: int = 8")


def test_a_new_setting_is_copied_into_the_classes_that_are_not_shown() -> None:
    """The code must work at every scale; a class that inherits already has it."""
    new = "    # share of the last step\n    # that goes on\n    momentum: float = field(\n        default=0.9\n    )\n"
    text = changed(block("settings.py", "    # rows of a step", f"{new}    # rows of a step"))
    tiny = SOURCE.replace("    # rows of a step", f"{new}    # rows of a step", 1)
    assert text == tiny.replace("batch: int = 64\n", f"batch: int = 64\n{new}")


def test_other_changes_leave_the_settings_unchanged() -> None:
    made = change(block("train.py", "import settings", "import settings as s"))
    assert isinstance(made, dict) and made["settings.py"] == CODE["settings.py"]
    assert made["train.py"].data == b"import settings as s\n"


@pytest.mark.parametrize("new", ["", f"{MARK}\n{MARK}", "class Small: pass"])
def test_the_line_must_stay(new: str) -> None:
    refusal = change(block("settings.py", MARK, new))
    assert isinstance(refusal, Refusal) and "stands for a class and must occur exactly once" in refusal.reason


@pytest.mark.parametrize(
    ("source", "baseline"),
    [
        ("class Tiny(:\n", BASELINE),
        (f"# coding\n{MARK}\n{SOURCE}", BASELINE),
        (SOURCE.replace("class Tiny", "class Huge"), BASELINE),
        (SOURCE, replace(BASELINE, settings_class={"tiny": "Tiny"})),
        (SOURCE, replace(BASELINE, settings_class={})),
        ("", BASELINE),
    ],
)
def test_classes_that_cannot_be_omitted_are_shown(source: str, baseline: BaselineConfig) -> None:
    assert shown(source, baseline=baseline) == source


@pytest.mark.parametrize(
    "code", [{}, {"settings.py": Entry(b"/etc", "120000")}, {"settings.py": Entry(b"\xff\0class Tiny: pass")}]
)
def test_any_code_of_a_parent_is_accepted(code: Tree) -> None:
    elision = elide(code, BASELINE, "tiny")
    assert elision.shown == code and elision.restore(code) == code


def test_line_ends_are_kept() -> None:
    text = shown(SOURCE.replace("\n", "\r\n"))
    assert f"{MARK}\r\n" in text and "\n" not in text.replace("\r\n", "")


@pytest.mark.parametrize(("name", "saved"), [("grpo", 600), ("nanogpt", 600)])
def test_the_baselines_show_one_class_of_three(name: str, saved: int) -> None:
    code = tree(ROOT / "baselines" / name)
    elision = elide(code, BASELINE, "paper")
    before, after = (tokens(one["settings.py"].data.decode()) for one in (elision.full, elision.shown))
    assert before - after > saved
    assert elision.restore(dict(elision.shown)) == code


def test_the_implementer_reads_and_changes_what_is_shown(tmp_path: Path) -> None:
    """From the prompt to the code: the parent's file is quoted as it was shown, and the result is complete."""
    settings = ("baseline.settings_class={tiny: Tiny, small: Small}",)
    source = (ROOT / "tests/baselines/toy/settings.py").read_text()
    more = source + source.partition("\n\n\n")[2].join(("\n\n", "")).replace("Tiny", "Small")
    parent = {**tree(ROOT / "tests/baselines/toy"), "settings.py": Entry(more.encode())}
    reply = block("settings.py", "    batch: int = 4", "    batch: int = 8")
    with desk(tmp_path, in_turn(Answer(reply))) as it:
        maker = LlmImplementer(tools_of(*settings, model=it.model))
        made = maker.implement(Idea("Batch", "Double it.", "exploit"), tree(ROOT / "tests/baselines/toy"), [parent])
        (asked,) = it.provider.asked
    assert not isinstance(made, Refusal), made
    assert made.tree["settings.py"].data.decode() == more.replace("batch: int = 4", "batch: int = 8", 1)
    assert "settings.py\n```python" in asked.question and "# class Small:" in asked.question
    assert asked.question.count("batch: int = 4") == 1
