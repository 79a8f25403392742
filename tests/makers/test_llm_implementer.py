"""The implementer that uses a language model, with the provider, outside a run."""

from pathlib import Path

import pytest

from pipeline.llm.base import Unanswered
from pipeline.makers.base import Crash, Implemented
from pipeline.makers.llm_implementer import LlmImplementer
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry, Tree
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
    """The result for an idea, and the last turn of every request."""
    with desk(folder, script) as it:
        maker = LlmImplementer(tools_of(*settings, model=it.model))
        made = maker.implement(IDEA, PRISTINE, []) if crash is None else maker.repair(IDEA, PRISTINE, crash)
        return made, [asked.question for asked in it.provider.asked]


@pytest.mark.parametrize("form", ["diff", "blocks", "files"])
@pytest.mark.parametrize("reply", [DIFF, GOOD, WHOLE], ids=["diff", "blocks", "files"])
def test_every_format_is_understood_whichever_was_requested(form: str, reply: str, tmp_path: Path) -> None:
    made, _ = implement(tmp_path, in_turn(Answer(reply)), f"implement.format={form}")
    assert isinstance(made, Implemented)
    assert b"momentum: float = 0.9" in made.tree["settings.py"].data


def test_the_first_usable_of_several_samples_is_used(tmp_path: Path) -> None:
    script = in_turn(Answer("I cannot."), Answer(GOOD), Answer(GOOD.replace("0.9", "0.8")))
    made, questions = implement(tmp_path, script, "implement.samples=3")
    assert isinstance(made, Implemented) and made.tries == 3 == len(questions) and len(set(questions)) == 1
    assert made.usage is not None and made.usage.tokens_out > 0
    assert len(list(tmp_path.glob("llm/implement-*/sample_*.json"))) == 3


def test_a_reply_is_revised_with_the_exact_reason_and_only_a_few_times(tmp_path: Path) -> None:
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
        "How it failed, in train (exception). The lines that begin with a bar",
        "| exit code 1: ModuleNotFoundError",
        "| Traceback: line 1 of model.py",
    ):
        assert words in question


CHILD = Idea("Momentum", "Keep nine tenths of the last step.", "exploit", ("generation_000/candidate_000",))


def asked_on(folder: Path, *parents: Tree, context: int = 128_000) -> str:
    """The question for an idea on these parents."""
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
    files, _, other = question.partition("It includes this change of the codebase by another candidate")
    assert "    batch: int = 32" in files and "abs(error)" not in files
    assert "+        loss += abs(error)" in other and "batch" not in other


def test_a_parent_that_is_too_long_for_the_context_is_shown_as_its_change(tmp_path: Path) -> None:
    more = "".join(f"# note {number} of many\n" for number in range(400))
    parent = variant("model.py", '"""A line', f'{more}"""A line')
    parent = {**parent, "settings.py": variant("settings.py", "batch: int = 4", "batch: int = 32")["settings.py"]}
    question = asked_on(tmp_path, parent, context=20_000)
    assert "+    batch: int = 32" in question and "(1 of 2 hunks are left out)" in question and "note 7" not in question
    assert "note 399 of many" in asked_on(tmp_path, parent)


# ---- unusable answers

DRAFT = block("settings.py", "    batch: int = 4", "    batch: int = 8")
REASONING = {
    "only the end": f"I could do\n{DRAFT}no, too large. Final:\n</think>\n\n{{}}",
    "both ends": f"<think>\n{DRAFT}no.\n</think>\n{{}}",
    "harmony": f"<|channel|>analysis<|message|>{DRAFT}no.<|end|><|start|>assistant<|channel|>final<|message|>{{}}<|return|>",
    "a draft left open": DRAFT.partition(">>>>>>>")[0] + "no, too large.</think>\n\n{}",
}


@pytest.mark.parametrize("text", REASONING.values(), ids=REASONING)
def test_a_rejected_draft_is_never_applied(text: str, tmp_path: Path) -> None:
    made, questions = implement(tmp_path, in_turn(Answer(text.replace("{}", GOOD))))
    assert isinstance(made, Implemented) and len(questions) == 1
    assert b"momentum: float = 0.9" in made.tree["settings.py"].data
    assert b"batch: int = 4" in made.tree["settings.py"].data


def test_truncated_reasoning_is_named_and_the_request_repeated(tmp_path: Path) -> None:
    script = in_turn(Answer(f"<think>{DRAFT}", finish="length"), Answer(GOOD))
    made, questions = implement(tmp_path, script)
    assert isinstance(made, Implemented) and made.tries == 2 and questions[0] == questions[1]
    assert b"batch: int = 4" in made.tree["settings.py"].data


def test_only_reasoning_is_named_in_the_refusal(tmp_path: Path) -> None:
    made, _ = implement(tmp_path, in_turn(Answer(f"{DRAFT}</think>")), "implement.revisions=0")
    assert isinstance(made, Refusal) and "all of its" in made.reason and "tokens are reasoning" in made.reason


def test_a_limit_that_reasoning_uses_up_closes_no_candidate(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match=r"llm\.max_tokens=100 was used up by hidden reasoning"):
        implement(tmp_path, in_turn(Answer(f"<think>{DRAFT}", finish="length")))


def test_an_answer_that_is_cut_off_names_the_setting(tmp_path: Path) -> None:
    made, questions = implement(
        tmp_path, in_turn(Answer("Half", finish="length")), "implement.revisions=1", "llm.max_tokens=64"
    )
    assert isinstance(made, Refusal) and len(questions) == 2
    assert "was cut off after 1 tokens (llm.max_tokens=64): write less" in questions[1]


@pytest.mark.parametrize("start", ["\ufeff", "# -*- coding: latin-1 -*- é\n"])
def test_the_code_of_other_encodings_is_changed(start: str, tmp_path: Path) -> None:
    data = PRISTINE["settings.py"].data
    encoded = start.encode("utf-8" if start == "\ufeff" else "latin-1")
    base = {**PRISTINE, "settings.py": Entry(encoded + data)}
    with desk(tmp_path, in_turn(Answer(GOOD))) as it:
        made = LlmImplementer(tools_of(model=it.model)).implement(IDEA, base, [])
    assert isinstance(made, Implemented)
    assert made.tree["settings.py"].data == encoded + data.replace(b"momentum: float = 0.0", b"momentum: float = 0.9")
