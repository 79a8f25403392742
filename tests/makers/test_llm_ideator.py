"""The ideator that asks a language model, against the provider, without a run around it."""

import itertools
import json
from pathlib import Path

import pytest

from pipeline.errors import CannotGoOn
from pipeline.makers.llm_ideator import LlmIdeator
from pipeline.records import Idea, Knowledge, Parents, Standing
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths, short
from tests.llm.desk import desk, in_turn
from tests.llm.provider import Answer, Script
from tests.llm.researcher import EDITS, Researcher
from tests.makers.world import archive_of, brief_of, candidate, generation, tools_of


def propose(folder: Path, script: Script, count: int) -> tuple[list[Idea], list[str]]:
    paths = RunPaths(folder)
    archive = archive_of(paths, generation(paths, 0, parents=Parents(ideas=count)))
    with desk(folder, script) as it:
        ideator = LlmIdeator(tools_of("ideate.batch=3", model=it.model))
        ideas = [ideator.propose(brief_of(archive, number)) for number in range(count)]
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


# ---- what a prompt says of the past

BASELINE = Standing("baseline", 0.8, 0.01, 3)


def past(paths: RunPaths, ends: dict[str, tuple[float, int]], *sizes: int, seen: Knowledge) -> Archive:
    """Generations of these sizes, and a new one that knows what `seen` says. `ends` holds values and orders of outcomes by
    id; the others have none."""
    generations = []
    for g, size in enumerate(sizes):
        names = [f"generation_{g:03d}/candidate_{c:03d}" for c in range(size)]
        ideas = {name: Idea(f"Idea {short(name)}", f"Do {short(name)} with {name}.", "explore") for name in names}
        made = [candidate(paths, name, ideas[name], *ends.get(name, (None, 0))) for name in names]
        generations.append(generation(paths, g, made))
    return archive_of(paths, *generations, generation(paths, len(sizes), parents=Parents(ideas=3, seen=seen)))


def first_question(folder: Path, archive: Archive) -> str:
    """What the model is asked for the first idea of the newest generation."""
    with desk(folder, Researcher()) as it:
        LlmIdeator(tools_of(model=it.model)).propose(brief_of(archive, 0))
        return it.provider.asked[0].question


def test_what_has_no_outcome_yet_is_listed_however_old_it_is(tmp_path: Path) -> None:
    """The first generation has a candidate that takes long; all of the second are decided."""
    ends = {"generation_000/candidate_001": (0.5, 1), "generation_001/candidate_000": (0.6, 2)}
    ends["generation_001/candidate_001"] = (0.7, 3)
    archive = past(RunPaths(tmp_path), ends, 2, 2, seen=Knowledge(3, 2, BASELINE))
    question = first_question(tmp_path, archive)
    assert "Already proposed, not to be repeated:\n- Idea g0/c0\n" in question
    for name in ("g0/c1", "g1/c0", "g1/c1"):
        assert f"{name}: Idea {name}" in question and f"- Idea {name}" not in question


def test_a_question_does_not_change_with_what_came_in_after_its_generation_opened(tmp_path: Path) -> None:
    """So that a resumed run finds the answer that it paid for."""
    ends = {"generation_000/candidate_001": (0.5, 1), "generation_001/candidate_000": (0.6, 2)}
    later = {"generation_000/candidate_000": (0.4, 3), "generation_001/candidate_001": (0.3, 4)}
    seen = Knowledge(2, 2, BASELINE)
    one, two = (
        first_question(tmp_path / name, past(RunPaths(tmp_path / name), known, 2, 2, seen=seen))
        for name, known in (("then", ends), ("now", {**ends, **later}))
    )
    assert one == two
    assert "Already proposed, not to be repeated:\n- Idea g1/c1\n- Idea g0/c0\n" in one


def test_ideas_of_a_generation_that_was_not_complete_are_not_mentioned(tmp_path: Path) -> None:
    """They may have been written after this generation opened."""
    ends = {"generation_000/candidate_000": (0.5, 1), "generation_001/candidate_000": (0.6, 2)}
    archive = past(RunPaths(tmp_path), ends, 1, 2, seen=Knowledge(1, 1, BASELINE))
    assert "g1/c" not in first_question(tmp_path, archive)


def test_an_idea_of_an_earlier_generation_is_returned_to_the_model(tmp_path: Path) -> None:
    archive = past(RunPaths(tmp_path), {"generation_000/candidate_000": (0.5, 1)}, 1, seen=Knowledge(1, 1, BASELINE))
    old = archive.candidates[0].idea
    again = Answer(json.dumps({"ideas": [{"title": old.title.upper(), "text": f"{old.text}!"}]}))
    with desk(tmp_path, in_turn(again, Answer(Researcher().ideas(1)))) as it:
        idea = LlmIdeator(tools_of("ideate.batch=1", model=it.model)).propose(brief_of(archive, 0))
        assert idea.title == "Momentum"
        assert it.provider.asked[1].question.startswith(
            f"'IDEA G0/C0' is the same as '{old.title}', which is known already."
        )
