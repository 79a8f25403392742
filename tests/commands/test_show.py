"""`show --prompt`: the prompts sent to a language model, as text."""

import json
from pathlib import Path

import pytest

from pipeline.commands.show import describe, prompt_texts, prompts_of
from pipeline.records import Completion, Idea, Message, Parents, Prompt
from pipeline.store import files
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.archives import Made, archive_of, config_of
from tests.toy import program

IDEA = Idea("Momentum", "Keep nine tenths.", "explore")
OTHER = Idea("Larger batch", "Sixteen rows.", "explore")
SYSTEM = Message("system", "The [bold]codebase[/bold].")


def proposed(*ideas: Idea) -> str:
    return json.dumps({"ideas": [{"title": idea.title.upper(), "text": idea.text} for idea in ideas]})


def talk(purpose: str, question: str, *more: str) -> Prompt:
    roles = ("user", "assistant", "user")
    turns = [Message(role, text) for role, text in zip(roles, (question, *more), strict=False)]
    return Prompt(purpose, (SYSTEM, *turns))


FIRST = talk("first", "Propose 2 ideas.")
MORE = talk("first", "Propose 2 ideas.", proposed(OTHER), "1 more is needed.")
CODE = talk("implement", f"Write it.\n\n{IDEA.title}\n\n{IDEA.text}\n")
AGAIN = talk("repair_patch", f"Write it.\n\n{IDEA.title}\n\n{IDEA.text}\n", "I cannot.", "This cannot be used.")
ELSE = talk("implement", f"Write it.\n\n{OTHER.title}\n\n{OTHER.text}\n")


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run with ideas of a model and one of the bank."""
    paths = RunPaths(tmp_path / "r")
    for number, idea in enumerate((IDEA, Idea("Bank", "Of the bank.", "explore"))):
        folder = paths.generation(0).candidate(number)
        folder.folder.mkdir(parents=True)
        files.create(folder.idea, idea)
    files.create(paths.generation(0).parents, Parents(ideas=2))
    files.create(paths.facts, {})
    ledger = Ledger(paths)
    ledger.keep(FIRST, 0, Completion("", "stop", "m"))
    ledger.keep(FIRST, 1, Completion(proposed(OTHER), "stop", "m"))
    ledger.keep(MORE, 0, Completion(proposed(IDEA), "stop", "m"))
    ledger.keep(CODE, 0, Completion("I cannot.", "stop", "m"))
    ledger.keep(AGAIN, 0, Completion("train.py: the code", "stop", "m"))
    ledger.keep(ELSE, 0, Completion("other code", "stop", "m"))
    return paths


def test_the_prompts_of_an_idea_are_those_of_the_idea_and_its_code(paths: RunPaths) -> None:
    assert list(prompts_of(Ledger(paths), IDEA)) == [MORE, CODE, AGAIN]
    assert list(prompts_of(Ledger(paths), OTHER)) == [FIRST, ELSE]


def test_a_prompt_is_printed_with_all_turns_and_answers_and_the_codebase_once(paths: RunPaths) -> None:
    text = "\n".join(prompt_texts(Ledger(paths), [FIRST, CODE]))
    assert text.count(SYSTEM.text) == 1 and f"(as in llm/{FIRST.key})" in text
    assert text.index("---- system") < text.index("---- user\nPropose 2 ideas.") < text.index("---- answer 1: stop")
    assert proposed(OTHER) in text and text.endswith("---- answer 0: stop, 0 tokens by m\nI cannot.")


def test_show_prints_prompts_by_candidate_and_by_key(paths: RunPaths) -> None:
    place = paths.folder / "generation_000/candidate_000"
    out = program("show", "--prompt", str(place)).ok().out
    assert [line for line in out.splitlines() if line.startswith("====")] == [
        f"==== llm/{one.key}" for one in (MORE, CODE, AGAIN)
    ]
    assert SYSTEM.text in out
    out = program("show", "--prompt", str(paths.prompt(CODE.key).folder)).ok().out
    assert out.startswith(f"==== llm/{CODE.key}\n") and "Keep nine tenths." in out and "Propose" not in out


def test_show_reports_that_there_is_no_prompt(paths: RunPaths) -> None:
    bank = paths.folder / "generation_000/candidate_001"
    assert program("show", "--prompt", str(bank)).ok().out.startswith("no prompt led to g0/c1: no language model")
    program("show", "--prompt", str(paths.llm / "first-0")).refused(2, "holds no prompt.json", "ls ")
    program("show", "--prompt", str(paths.folder)).refused(2, "is not a candidate")


def test_an_ancestor_on_several_paths_is_shown_once() -> None:
    """A chain of n joins has 2^n paths through it."""
    chain = [Made(0.5), Made(0.5), *(Made(0.6, parents=(number - 1, number - 2)) for number in range(2, 40))]
    archive = archive_of(chain)
    lines = list(describe(archive, archive.candidates[-1], config_of().baseline.metric.metric))
    assert sum(" 0.6" in line or " 0.5" in line for line in lines) == 39
    assert [line.split()[0:2] for line in lines if line.startswith("parent")] == [
        ["parent", "g9/c2"],
        ["parent", "g9/c1"],
    ]
