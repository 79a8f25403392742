"""The ideator that uses a language model, with the provider, outside a run."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import CannotContinue
from pipeline.llm.base import Unanswered
from pipeline.llm.roles import Member, Role
from pipeline.makers.llm_ideator import LlmIdeator
from pipeline.makers.proposals import read_proposals
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Idea, Knowledge, Parents, Standing
from pipeline.setup.build import terms_of
from pipeline.setup.preview import estimate_cost
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths, short
from tests.llm.desk import desk, in_turn
from tests.llm.provider import Answer, Asked, Script
from tests.llm.researcher import EDITS, Researcher
from tests.makers.world import PRISTINE, archive_of, brief_of, candidate, composed, generation, tools_of


def propose(folder: Path, script: Script, count: int) -> tuple[list[Idea], list[str]]:
    paths = RunPaths(folder)
    archive = archive_of(paths, generation(paths, 0, parents=Parents(ideas=count)))
    with desk(folder, script) as it:
        ideator = LlmIdeator(tools_of("ideate.batch=3", model=it.model))
        ideas = [ideator.propose(brief_of(archive, number)) for number in range(count)]
        return ideas, [asked.question for asked in it.provider.asked]


def test_ideas_are_requested_in_batches_and_each_batch_once(tmp_path: Path) -> None:
    ideas, questions = propose(tmp_path, Researcher(), 5)
    assert [idea.title for idea in ideas] == list(itertools.islice(EDITS, 5))
    assert [question.splitlines()[0][:15] for question in questions] == ["Propose 3 ideas", "Propose 2 ideas"]


def test_missing_ideas_of_a_short_batch_are_requested(tmp_path: Path) -> None:
    first = Researcher()
    script = in_turn(Answer(""), Answer(first.ideas(1)), Answer("No."), Answer(first.ideas(4)))
    ideas, questions = propose(tmp_path, script, 3)
    assert [idea.title for idea in ideas] == list(itertools.islice(EDITS, 3))
    assert questions[0] == questions[1]  # an empty answer is not worth quoting
    assert questions[2].startswith("These are too few.\n\n2 more are needed.")
    assert questions[3].startswith("No idea could be read") and "2 more are needed." in questions[3]


def test_a_model_that_never_gives_a_valid_answer_ends_the_run_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        CannotContinue, match=r"gave 0 of 3 ideas in 5 answers; read llm/first-\w+ in the run folder.*llm\.model="
    ):
        propose(tmp_path, in_turn(Answer("Let us talk.")), 3)


# ---- the past in prompts

BASELINE = Standing("baseline", 0.8, 0.01, 3)


def past(paths: RunPaths, ends: dict[str, tuple[float, int]], *sizes: int, seen: Knowledge) -> Archive:
    """Generations of these sizes, and a new one that may use what `seen` states. `ends` contains values and orders of
    outcomes by id; the others have none."""
    generations = []
    for g, size in enumerate(sizes):
        names = [f"generation_{g:03d}/candidate_{c:03d}" for c in range(size)]
        ideas = {name: Idea(f"Idea {short(name)}", f"Do {short(name)} with {name}.", "explore") for name in names}
        made = [candidate(paths, name, ideas[name], *ends.get(name, (None, 0))) for name in names]
        generations.append(generation(paths, g, made))
    return archive_of(paths, *generations, generation(paths, len(sizes), parents=Parents(ideas=3, seen=seen)))


def first_question(folder: Path, archive: Archive) -> str:
    """The question to the model for the first idea of the newest generation."""
    with desk(folder, Researcher()) as it:
        LlmIdeator(tools_of(model=it.model)).propose(brief_of(archive, 0))
        return it.provider.asked[0].question


def test_candidates_without_an_outcome_are_listed_however_old(tmp_path: Path) -> None:
    """The first generation has a slow candidate; all of the second are decided."""
    ends = {"generation_000/candidate_001": (0.5, 1), "generation_001/candidate_000": (0.6, 2)}
    ends["generation_001/candidate_001"] = (0.7, 3)
    archive = past(RunPaths(tmp_path), ends, 2, 2, seen=Knowledge(3, 2, BASELINE))
    question = first_question(tmp_path, archive)
    assert "Already proposed, not to be repeated:\n- Idea g0/c0\n" in question
    for name in ("g0/c1", "g1/c0", "g1/c1"):
        assert f"{name}: Idea {name}" in question and f"- Idea {name}" not in question


def test_a_question_does_not_change_with_results_after_its_generation_opened(tmp_path: Path) -> None:
    """So that a resumed run finds the answer that was paid for."""
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


# ---- differences between prompts


def decided(paths: RunPaths, count: int, seen: Knowledge, ideas: int = 6, exploit: bool = False) -> Archive:
    """A generation of `count` candidates that all have a score, and a new one."""
    made = [
        candidate(
            paths,
            f"generation_000/candidate_{n:03d}",
            Idea(f"Idea {n}", f"Do {n} with {n * n}.", "explore"),
            0.9 - 0.001 * n,
            n + 1,
        )
        for n in range(count)
    ]
    parents = Parents((made[-1].id,) if exploit else (), 1.0 if exploit else 0.0, ideas, seen=seen)
    return archive_of(paths, generation(paths, 0, made), generation(paths, 1, parents=parents))


def questions(folder: Path, archive: Archive, *settings: str, exploit: bool = False) -> list[str]:
    """The questions to the model for all ideas of the newest generation, in batches of two."""
    with desk(folder, Researcher()) as it:
        ideator = LlmIdeator(tools_of("ideate.batch=2", *settings, model=it.model))
        ideas: dict[int, Idea] = {}
        for number in range(archive.generations[-1].parents.ideas):
            ideas[number] = ideator.propose(brief_of(archive, number, exploit, ideas=ideas))
        return [asked.question for asked in it.provider.asked]


def described(question: str) -> list[str]:
    return [
        line.partition(":")[0]
        for line in question.partition("Others that were tried")[2].splitlines()
        if line[:1] == "g"
    ]


def test_each_batch_sees_a_different_part_of_the_history_and_always_the_same(tmp_path: Path) -> None:
    seen = Knowledge(200, 1, BASELINE)
    one, two = (
        questions(tmp_path / name, decided(RunPaths(tmp_path / name), 200, seen), "ideate.history_tokens=2000")
        for name in ("one", "two")
    )
    assert one == two and len(one) == 3
    samples = [described(question) for question in one]
    assert all(len(sample) > 5 for sample in samples) and len({tuple(sample) for sample in samples}) == 3
    best = [question.partition("The best so far")[2].partition("Others")[0] for question in one]
    assert len(set(best)) == 1 and "Idea 199" in best[0]


def test_the_baseline_is_described_before_any_outcome(tmp_path: Path) -> None:
    """In steady mode generations open while the first is still running."""
    archive = past(RunPaths(tmp_path), {}, 2, seen=Knowledge(0, 1, BASELINE, 0.03))
    question = first_question(tmp_path, archive)
    assert question.startswith(
        "Propose 3 ideas that improve the score. No idea has a result yet.\n\nThe unmodified codebase"
    )
    assert "scores 0.8000 ± 0.0100 with 3 seeds; between seeds the standard deviation is 0.0300." in question


def asked_of_a_parent(folder: Path, code: Tree, *settings: str) -> str:
    """The description in the prompt of a parent with this code."""
    paths = RunPaths(folder)
    best = candidate(paths, "generation_000/candidate_000", Idea("Best", "Do it.", "explore"), 0.5, 1, code=code)
    parents = Parents((best.id,), 1.0, 2, seen=Knowledge(1, 1, BASELINE))
    archive = archive_of(paths, generation(paths, 0, [best]), generation(paths, 1, parents=parents))
    with desk(folder, Researcher()) as it:
        tools = tools_of("ideate.history_tokens=3000", *settings, model=it.model, codes={best.id: code})
        LlmIdeator(tools).propose(brief_of(archive, 0, exploit=True))
        return it.provider.asked[0].question.partition("best first:")[2]


@pytest.mark.parametrize(
    ("draws", "line"),
    [
        pytest.param(
            (0, 1, 0), "\n\nNumber of ideas for each as the first parent: g0/c0 2, g0/c1 1.\n", id="two parents"
        ),
        pytest.param((0, 0, 0), "", id="one parent"),
        pytest.param((), "", id="the model chooses"),
    ],
)
def test_a_batch_states_how_often_each_parent_was_drawn(draws: tuple[int, ...], line: str, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    made = [
        candidate(
            paths, f"generation_000/candidate_{n:03d}", Idea(f"Idea {n}", "Do.", "explore"), 0.5, n + 1, code=PRISTINE
        )
        for n in range(2)
    ]
    ids = tuple(one.id for one in made)
    parents = Parents(ids, 1.0, 3, seen=Knowledge(2, 1, BASELINE), draws=tuple(ids[n] for n in draws))
    archive = archive_of(paths, generation(paths, 0, made), generation(paths, 1, parents=parents))
    with desk(tmp_path, Researcher()) as it:
        LlmIdeator(tools_of("ideate.batch=3", model=it.model)).propose(brief_of(archive, 0, exploit=True))
        question = it.provider.asked[0].question
    assert line in question and question.count("Number of ideas for each") == bool(line)


def test_parents_share_the_room_for_their_code(tmp_path: Path) -> None:
    """However long the code is, part of it is shown."""
    text = PRISTINE["model.py"].data.decode()
    notes = "".join(f"# note {number} of many in this file\n" for number in range(2000))
    long = {**PRISTINE, "model.py": Entry((notes + text.replace("2 * error", "3 * error")).encode())}
    parent = asked_of_a_parent(tmp_path, long)
    assert "g0/c0: Best\nDo it.\nScored 0.5000" in parent and "too long" not in parent
    assert "+            slope[i] += 3 * error" in parent and "(1 of 2 hunks are left out)" in parent


def test_a_parents_change_of_settings_that_are_not_shown_is_not_shown(tmp_path: Path) -> None:
    source = PRISTINE["settings.py"].data.decode()
    other = "\n\n@dataclass\nclass Small:\n    batch: int = 7\n"
    code = {**PRISTINE, "settings.py": Entry((source.replace("batch: int = 4", "batch: int = 32") + other).encode())}
    base = {**PRISTINE, "settings.py": Entry((source + other.replace("= 7", "= 6")).encode())}
    made = candidate(RunPaths(tmp_path), "generation_000/candidate_000", Idea("a", "b", "explore"), 0.5, 1)
    with desk(tmp_path, Researcher()) as it:
        tools = tools_of("baseline.settings_class={tiny: Tiny, small: Small}", model=it.model)
        maker = LlmIdeator(replace(tools, code=lambda one: code if one is not None else base))
        patch = maker._patch(made)
        assert patch is maker._patch(made)
    assert "+    batch: int = 32" in patch and "= 7" not in patch


# ---- lessons


def with_lessons(folder: Path, archive: Archive, note: str = "Momentum helps.", *more: str) -> list[tuple[str, str]]:
    """Purpose and text of the requests for one idea of the newest generation, with a note after every generation of
    four."""
    researcher = Researcher()

    def script(asked: Asked) -> Answer:
        return Answer(note) if "Write a note" in asked.question else researcher(asked)

    with desk(folder, script) as it:
        settings = ("ideate.lessons_every=1", "ideate.candidates=4", "ideate.batch=1", *more)
        LlmIdeator(tools_of(*settings, model=it.model)).propose(brief_of(archive, 0))
        return [
            ("lessons" if "Write a note" in asked.question else "ideas", asked.question) for asked in it.provider.asked
        ]


def many(paths: RunPaths, generations: int) -> Archive:
    """Generations of four whose candidates all have scores, each opened after the previous one was decided; the last is
    new."""
    made = []
    for g in range(generations + 1):
        seen = Knowledge(4 * g, g, BASELINE if g else None)
        names = [f"generation_{g:03d}/candidate_{c:03d}" for c in range(4)]
        candidates = [
            candidate(paths, name, Idea(f"Idea {short(name)}", f"Do {name}.", "explore"), 0.5, 4 * g + c + 1)
            for c, name in enumerate(names)
        ]
        made.append(generation(paths, g, candidates if g < generations else (), Parents(ideas=4, seen=seen)))
        paths.generation(g).folder.mkdir(parents=True, exist_ok=True)
    return archive_of(paths, *made)


def test_a_note_is_written_once_and_shown_in_the_prompts_after_it(tmp_path: Path) -> None:
    archive = many(RunPaths(tmp_path), 1)
    (first, note), (second, question) = with_lessons(tmp_path, archive)
    assert (first, second) == ("lessons", "ideas")
    assert "g0/c3: Idea g0/c3" in note and "The note so far" not in note
    assert "A note on what was learned, written before generation 1:\n\nMomentum helps.\n" in question
    assert archive.generations[1].paths.lessons.read_text() == "Momentum helps.\n"
    assert [path.name[:8] for path in sorted(tmp_path.glob("llm/lessons*"))] == ["lessons-"]
    assert [what for what, _ in with_lessons(tmp_path, archive, "Other words.")] == []  # all paid answers are found


def test_an_existing_note_is_shown_and_not_requested(tmp_path: Path) -> None:
    archive = many(RunPaths(tmp_path), 1)
    archive.generations[1].paths.lessons.write_text("Changed by hand.\n")
    ((what, question),) = with_lessons(tmp_path, archive)
    assert what == "ideas" and "before generation 1:\n\nChanged by hand.\n" in question


def test_without_its_file_a_note_is_read_from_the_answers(tmp_path: Path) -> None:
    """After a kill between the answer and the file."""
    archive = many(RunPaths(tmp_path), 1)
    with_lessons(tmp_path, archive)
    archive.generations[1].paths.lessons.unlink()
    assert with_lessons(tmp_path, archive, "Other words.") == []
    assert archive.generations[1].paths.lessons.read_text() == "Momentum helps.\n"


def test_a_note_is_based_on_the_one_before(tmp_path: Path) -> None:
    archive = many(RunPaths(tmp_path), 2)
    asked = with_lessons(tmp_path, archive)
    assert [what for what, _ in asked] == ["lessons", "lessons", "ideas"]
    assert "The note so far:\n\nMomentum helps.\n" in asked[1][1] and "g1/c3" not in asked[0][1]
    assert "written before generation 2" in asked[2][1]


@pytest.mark.parametrize(
    ("every", "generations", "written"), [(0, 3, None), (1, 3, 3), (2, 1, None), (2, 2, 2), (2, 3, 2), (3, 5, 3)]
)
def test_a_note_is_due_every_so_many_generations(
    every: int, generations: int, written: int | None, tmp_path: Path
) -> None:
    question = with_lessons(tmp_path, many(RunPaths(tmp_path), generations), "Note.", f"ideate.lessons_every={every}")[
        -1
    ][1]
    found = re.search(r"written before generation (\d+):", question)
    assert (int(found[1]) if found else None) == written


def test_a_missing_note_stops_nothing_and_a_long_one_is_cut(tmp_path: Path) -> None:
    asked = with_lessons(tmp_path / "empty", many(RunPaths(tmp_path / "empty"), 1), "")
    assert [what for what, _ in asked] == ["lessons"] * 3 + ["ideas"] and "A note on" not in asked[-1][1]
    note = "".join(f"- line {number} of the note\n" for number in range(1000))
    asked = with_lessons(tmp_path / "long", many(RunPaths(tmp_path / "long"), 1), note)
    assert "- line 20 of the note" in asked[-1][1] and "- line 500 of the note" not in asked[-1][1]


def test_a_dry_run_writes_no_note(tmp_path: Path) -> None:
    archive = many(RunPaths(tmp_path), 1)
    with_lessons(tmp_path, archive, "Note.", "dry_run=true")
    assert not archive.generations[1].paths.lessons.exists()


def test_a_dry_run_counts_the_note_and_the_real_prompts_after_it(tmp_path: Path) -> None:
    archive = many(RunPaths(tmp_path), 1)
    expected = {}
    for every in (0, 1):
        given = ("ideate=llm", "llm=replay", "dry_run=true", "ideate.candidates=4", "ideate.batch=2")
        config = composed((*given, f"ideate.lessons_every={every}"))
        (ideas,) = estimate_cost(terms_of(config), archive, PRISTINE, lambda _: PRISTINE).expected
        expected[every] = ideas
    assert (expected[0].requests, expected[1].requests) == (2, 3)
    # The note's prompt, and the note in the prompt of each batch.
    one = expected[0].usage.tokens_in // 2
    assert expected[0].usage.tokens_in + one < expected[1].usage.tokens_in < expected[0].usage.tokens_in + one + 1500
    assert not archive.generations[1].paths.lessons.exists()


# ---- unusable answers


def idea(title: str) -> str:
    return json.dumps({"ideas": [{"title": title, "text": f"Do {title} in settings.py.", "parents": []}]})


@pytest.mark.parametrize(
    "text",
    [
        f"{idea('Rejected')} no.\n</think>\n{idea('Kept')}",
        f"<think>{idea('Rejected')}</think>{idea('Kept')}",
        f"<reflection>{idea('Rejected')}</reflection>{idea('Kept')}",
        f"<|channel|>analysis<|message|>{idea('Rejected')}<|end|><|start|>assistant<|channel|>final<|message|>{idea('Kept')}",
    ],
)
def test_a_rejected_idea_is_not_a_candidate(text: str, tmp_path: Path) -> None:
    ideas, questions = propose(tmp_path, in_turn(Answer(text)), 1)
    assert [one.title for one in ideas] == ["Kept"] and len(questions) == 1


def test_lone_surrogates_in_an_idea_are_replaced_and_can_be_written(tmp_path: Path) -> None:
    text = '{"ideas":[{"title":"Momentum","text":"\\ud83d In settings.py …","parents":["\\udc00"]}]}'
    for answer in (text, text.encode("ascii", "backslashreplace").decode().replace("\\\\u", "\\u")):
        (idea,), _ = propose(tmp_path, in_turn(Answer(answer)), 1)
        assert idea.text == "\N{REPLACEMENT CHARACTER} In settings.py …"
        files.create(tmp_path / "idea.json", idea)
        assert files.read(tmp_path / "idea.json", Idea) == idea


@pytest.mark.parametrize(
    "odd",
    [
        "[" * 100_000,
        '{"a":' * 5000,
        f'{{"text": {"9" * 5000}}}',
        '{"ideas": {"ideas": null}}',
        '{"text": 1e999}',
        "\ud800{",
        "{\0}",
    ],
)
def test_unusual_json_is_not_an_error(odd: str) -> None:
    assert read_proposals(odd) == []
    assert [one.title for one in read_proposals(f"{odd}\n{idea('Kept')}")] in (["Kept"], [])


def test_cut_off_answers_without_an_idea_are_not_requested_five_times(tmp_path: Path) -> None:
    asked = []

    def script(one: Asked) -> Answer:
        asked.append(one)
        return Answer("Let me begin with", finish="length")

    with pytest.raises(
        CannotContinue, match=r"0 of 1 ideas in 2 answers \(the answer was cut off .*llm\.max_tokens=\d+"
    ):
        propose(tmp_path, script, 1)
    assert len(asked) == 2


def test_a_limit_that_reasoning_uses_up_is_retried_once_and_the_setting_is_named(tmp_path: Path) -> None:
    asked = []

    def script(one: Asked) -> Answer:
        asked.append(one)
        return Answer("<think>Hm.", finish="length")

    for count in (2, 2):  # the second time nothing is sent
        with pytest.raises(Unanswered, match=r"llm\.max_tokens=100 was used up by hidden reasoning"):
            propose(tmp_path, script, 1)
        assert len(asked) == count


def test_a_prompt_that_is_too_long_is_sent_once_and_the_setting_is_named(tmp_path: Path) -> None:
    asked = []

    def script(one: Asked) -> Answer:
        asked.append(one)
        return Answer("prompt is too long: 210000 tokens > 200000 maximum", 400, "invalid_request_error")

    with pytest.raises(CannotContinue, match=r"set a lower llm\.context; the server said: .*210000 tokens"):
        propose(tmp_path, script, 1)
    assert len(asked) == 1


def test_ideas_are_requested_with_a_schema(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    archive = archive_of(paths, generation(paths, 0, parents=Parents(ideas=1)))
    with desk(tmp_path, in_turn(Answer(idea("Kept"))), structured=True) as it:
        LlmIdeator(tools_of(model=it.model)).propose(brief_of(archive, 0))
        sent = it.provider.asked[0].body["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["schema"]["required"] == ["ideas"]


def test_each_role_uses_its_own_model(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    archive = archive_of(paths, generation(paths, 0, parents=Parents(ideas=1)))
    with (
        desk(tmp_path / "i", in_turn(Answer(idea("Kept")))) as ideas,
        desk(tmp_path / "c", in_turn(Answer(""))) as code,
    ):
        tools = replace(tools_of(model=code.model), models={Role.IDEATOR: [Member(LlmConfig(), ideas.model)]})
        LlmIdeator(tools).propose(brief_of(archive, 0))
        assert (len(ideas.provider.asked), len(code.provider.asked)) == (1, 0)
        assert tools.model_for(Role.IMPLEMENTER) is tools.model_for(Role.JUDGE) is code.model
