"""The ideator and the implementer against the provider, without a run around them."""

import itertools
from pathlib import Path

import pytest

from pipeline.compose import compose_config
from pipeline.errors import CannotGoOn
from pipeline.patching import Refusal, Rules
from pipeline.records import Failure, Idea, Kind, Parents, Stage
from pipeline.stages.base import Brief, Crash, Implemented
from pipeline.stages.llm_ideate import LlmIdeator
from pipeline.stages.llm_implement import LlmImplementer
from pipeline.stages.packages import Packages
from pipeline.stages.prompting import shared_text
from pipeline.store.archive import Archive, Attempt, Generation
from pipeline.store.paths import RunPaths
from tests.llm.provider import Answer, Script
from tests.llm.researcher import EDITS, Researcher, block
from tests.llm.test_door import desk, in_turn
from tests.stages.test_prompts import METRIC
from tests.toy import CONF, TOY, tree

PACKAGES = Packages((), frozenset({"argparse", "json", "os", "random", "pathlib", "math"}))
RULES = Rules(["train.py", "model.py", "settings.py"], ["evaluate.py"])
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
    config = compose_config(["baseline=toy", "scale=tiny", *settings], CONF)
    code = tree(TOY)
    with desk(folder, script) as it:
        maker = LlmImplementer(it.door, shared_text(config, code, PACKAGES), config, RULES, PACKAGES)
        made = maker.implement(IDEA, code, []) if crash is None else maker.repair(IDEA, code, crash)
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
    code = tree(TOY)
    crashed = {**code, "model.py": type(code["model.py"])(b"import nothing\n" + code["model.py"].data)}
    failure = Failure(Stage.TRAIN, Kind.EXCEPTION, "exit code 1: ModuleNotFoundError: nothing\nlog")
    reply = block("model.py", "import nothing\n", "") + GOOD
    crash = Crash(crashed, failure, "Traceback: line 1 of /tmp/run/variant/model.py")
    made, (question,) = implement(tmp_path, in_turn(Answer(reply)), crash=crash)
    assert isinstance(made, Implemented) and made.tree["model.py"] == code["model.py"]
    for words in (
        "+import nothing",
        "How it ended, in train (exception):",
        "ModuleNotFoundError",
        "line 1 of model.py",
    ):
        assert words in question


# ---- ideas ----


def propose(folder: Path, script: Script, count: int) -> tuple[list[Idea], list[str]]:
    config = compose_config(["baseline=toy", "scale=tiny", f"ideate.candidates={count}", "ideate.batch=3"], CONF)
    paths = RunPaths(folder)
    opened = Generation(0, paths.generation(0), Parents(), (), None)
    archive = Archive(paths, Attempt(paths.baseline, None, None, None, ()), (opened,), None, None)
    with desk(folder, script) as it:
        ideator = LlmIdeator(it.door, shared_text(config, tree(TOY), PACKAGES), config, METRIC)
        ideas = [ideator.propose(Brief(archive, (), 0, number, False, range(count))) for number in range(count)]
        return ideas, [asked.question for asked in it.provider.asked]


def test_ideas_are_asked_for_in_batches_and_each_batch_once(tmp_path: Path) -> None:
    ideas, questions = propose(tmp_path, Researcher(), 5)
    assert [idea.title for idea in ideas] == list(itertools.islice(EDITS, 5))
    assert [question.splitlines()[0][:15] for question in questions] == ["Propose 3 ideas", "Propose 2 ideas"]


def test_a_short_batch_is_asked_again_for_what_is_missing(tmp_path: Path) -> None:
    first = Researcher()
    script = in_turn(Answer(""), Answer(first.ideas(1)), Answer("No."), Answer(first.ideas(4)))
    ideas, questions = propose(tmp_path, script, 3)
    assert [idea.title for idea in ideas] == list(itertools.islice(EDITS, 3))
    assert questions[0] == questions[1]  # an empty answer leaves nothing to talk about
    assert questions[2].startswith("These are too few.\n\n2 more are needed.")
    assert questions[3].startswith("No idea could be read") and "2 more are needed." in questions[3]


def test_a_model_that_never_answers_in_form_ends_the_run_with_a_line(tmp_path: Path) -> None:
    with pytest.raises(
        CannotGoOn, match=r"gave 0 of 3 ideas in 5 answers; read llm/first-\w+ in the run folder.*llm\.model="
    ):
        propose(tmp_path, in_turn(Answer("Let us talk.")), 3)
