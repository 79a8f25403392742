"""The implementer that asks a language model, against the provider, without a run around it."""

from pathlib import Path

import pytest

from pipeline.makers.base import Crash, Implemented
from pipeline.makers.llm_implementer import LlmImplementer
from pipeline.patching import Refusal
from pipeline.patching.trees import Tree
from pipeline.records import Failure, FailureKind, Idea, Stage
from tests.llm.desk import desk, in_turn
from tests.llm.provider import Answer, Script
from tests.llm.researcher import EDITS, Researcher, block
from tests.makers.world import PRISTINE, tools_of
from tests.toy import TOY

IDEA = Idea("Momentum", "Keep nine tenths of the last step.", "explore")
GOOD = Researcher.code("Momentum")
DIFF = (
    "--- settings.py\n+++ settings.py\n@@ -1,9 +1,9 @@\n     # share of the last step that goes on\n"
    "-    momentum: float = 0.0\n+    momentum: float = 0.9\n     # pull of the weights towards zero\n"
)
WHOLE = f"settings.py\n```python\n{(TOY / 'settings.py').read_text().replace(*EDITS['Momentum'][1:])}```\n"


def implement(
    folder: Path, script: Script, *settings: str, crash: Crash | None = None
) -> tuple[Implemented | Refusal, list[str]]:
    """What comes of an idea, and the last turn of every request."""
    with desk(folder, script) as it:
        maker = LlmImplementer(tools_of(*settings, model=it.model))
        made = maker.implement(IDEA, PRISTINE, []) if crash is None else maker.repair(IDEA, PRISTINE, crash)
        return made, [asked.question for asked in it.provider.asked]


@pytest.mark.parametrize("form", ["diff", "blocks", "files"])
@pytest.mark.parametrize("reply", [DIFF, GOOD, WHOLE], ids=["diff", "blocks", "files"])
def test_every_format_is_understood_whichever_was_asked_for(form: str, reply: str, tmp_path: Path) -> None:
    made, _ = implement(tmp_path, in_turn(Answer(reply)), f"implement.format={form}")
    assert isinstance(made, Implemented)
    assert b"momentum: float = 0.9" in made.tree["settings.py"].data


def test_of_several_samples_the_first_that_can_be_used_is_taken(tmp_path: Path) -> None:
    script = in_turn(Answer("I cannot."), Answer(GOOD), Answer(GOOD.replace("0.9", "0.8")))
    made, questions = implement(tmp_path, script, "implement.samples=3")
    assert isinstance(made, Implemented) and made.tries == 3 == len(questions) and len(set(questions)) == 1
    assert made.usage is not None and made.usage.tokens_out > 0
    assert len(list(tmp_path.glob("llm/implement-*/sample_*.json"))) == 3


def test_a_reply_is_revised_with_the_exact_reason_and_only_so_often(tmp_path: Path) -> None:
    script = in_turn(
        Answer("evaluate.py\n```\nprint(1)\n```\n"), Answer(GOOD.replace("0.0", "0.7")), Answer("Half", finish="length")
    )
    made, questions = implement(tmp_path, script, "implement.revisions=2")
    assert isinstance(made, Refusal) and len(questions) == 3
    assert "evaluate.py is protected" in questions[1] and "momentum: float = 0.7" in questions[2]
    assert "was cut off after 1 tokens" in made.reason and "the answers are in llm/repair_patch-" in made.reason


def test_without_revisions_there_is_one_answer(tmp_path: Path) -> None:
    made, questions = implement(tmp_path, in_turn(Answer("")), "implement.revisions=0")
    assert isinstance(made, Refusal) and "the answer is empty (stop)" in made.reason and len(questions) == 1


def test_a_crash_is_repaired_on_the_code_that_crashed(tmp_path: Path) -> None:
    code = PRISTINE
    crashed = {**code, "model.py": type(code["model.py"])(b"import nothing\n" + code["model.py"].data)}
    failure = Failure(Stage.TRAIN, FailureKind.EXCEPTION, "exit code 1: ModuleNotFoundError: nothing\nlog")
    reply = block("model.py", "import nothing\n", "") + GOOD
    crash = Crash(crashed, failure, "Traceback: line 1 of /tmp/run/variant/model.py")
    made, (question,) = implement(tmp_path, in_turn(Answer(reply)), crash=crash)
    assert isinstance(made, Implemented) and made.tree["model.py"] == code["model.py"]
    for words in (
        "model.py\n```python\nimport nothing\n",
        "How it ended, in train (exception):",
        "ModuleNotFoundError",
        "line 1 of model.py",
    ):
        assert words in question


CHILD = Idea("Momentum", "Keep nine tenths of the last step.", "exploit", ("generation_000/candidate_000",))


def asked_on(folder: Path, *parents: Tree, context: int = 128_000) -> str:
    """What is asked for an idea on these parents."""
    with desk(folder, in_turn(Answer(GOOD))) as it:
        maker = LlmImplementer(tools_of(f"llm.context={context}", model=it.model))
        made = maker.implement(CHILD, PRISTINE, list(parents))
        assert isinstance(made, Implemented), made
        return it.provider.asked[0].question


def variant(path: str, old: str, new: str) -> Tree:
    text = PRISTINE[path].data.decode()
    assert old in text
    return {**PRISTINE, path: type(PRISTINE[path])(text.replace(old, new).encode())}


def test_the_code_of_a_parent_is_shown_as_files_that_can_be_quoted(tmp_path: Path) -> None:
    parent = variant("settings.py", "batch: int = 4", "batch: int = 32")
    question = asked_on(tmp_path, parent)
    assert f"settings.py\n```python\n{parent['settings.py'].data.decode().rstrip()}\n```" in question
    assert "+    batch: int = 32" not in question and "model.py" not in question


def test_of_a_second_parent_the_change_is_shown(tmp_path: Path) -> None:
    first = variant("settings.py", "batch: int = 4", "batch: int = 32")
    second = variant("model.py", "loss += error * error", "loss += abs(error)")
    question = asked_on(tmp_path, first, second)
    files, _, other = question.partition("It brings in this change of the codebase by another candidate")
    assert "    batch: int = 32" in files and "abs(error)" not in files
    assert "+        loss += abs(error)" in other and "batch" not in other


def test_a_parent_that_is_too_long_for_the_context_is_shown_as_its_change(tmp_path: Path) -> None:
    more = "".join(f"# note {number} of many\n" for number in range(400))
    parent = variant("model.py", '"""A line', f'{more}"""A line')
    parent = {**parent, "settings.py": variant("settings.py", "batch: int = 4", "batch: int = 32")["settings.py"]}
    question = asked_on(tmp_path, parent, context=20_000)
    assert "+    batch: int = 32" in question and "(1 of 2 hunks are left out)" in question and "note 7" not in question
    assert "note 399 of many" in asked_on(tmp_path, parent)
