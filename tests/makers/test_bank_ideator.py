"""What the bank's ideator counts as tried, and that it proposes no code twice."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.makers.bank import Range, load_bank
from pipeline.makers.bank_ideator import BankIdeator, Ingredients, Tried
from pipeline.makers.bank_implementer import BankImplementer
from pipeline.makers.base import Implemented, UsedUp
from pipeline.makers.tune import TuneIdeator
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Change, Idea, Parents
from pipeline.stages.ideate import without_more
from pipeline.store.paths import RunPaths
from pipeline.store.views import Candidate, Generation
from tests.makers.world import IDEAS, archive_of, brief_of, candidate, generation, tools_of

PATHS = RunPaths(Path("runs/r"))
BANK = ("decay", "diverge", "huber", "larger_batch", "momentum")


def name_of(generation: int, number: int) -> str:
    return f"generation_{generation:03d}/candidate_{number:03d}"


def idea_of(change: Change | None, *parents: str) -> Idea:
    return Idea("An idea", "Do it.", "exploit" if parents else "explore", parents, change=change)


def patch(name: str, *parents: str) -> Idea:
    return idea_of(Change(patch=name), *parents)


def setting(name: str, value: object, *parents: str) -> Idea:
    return idea_of(Change(settings={name: value}), *parents)


def join(*parents: str) -> Idea:
    return idea_of(Change(join=True), *parents)


def made_of(*patches: str, **settings: object) -> Ingredients:
    return Ingredients(frozenset(patches), settings)


def opened(number: int, *ideas: Idea | None, size: int | None = None) -> Generation:
    """A generation with the existing ideas, by number; `size` is how many it should have."""
    candidates = [candidate(PATHS, name_of(number, n), idea) for n, idea in enumerate(ideas) if idea is not None]
    return generation(PATHS, number, candidates, Parents(ideas=len(ideas) if size is None else size))


class Walked(tuple[Candidate, ...]):
    """Candidates of a generation that count how often they are iterated over."""

    times = 0

    def __iter__(self) -> Iterator[Candidate]:
        self.times += 1
        return super().__iter__()


# ---- what was tried


def test_what_a_candidate_inherited_and_changed_is_known() -> None:
    archive = archive_of(
        PATHS,
        opened(0, patch("momentum"), setting("batch", 8), idea_of(None)),
        opened(1, patch("huber", name_of(0, 0)), join(name_of(0, 0), name_of(0, 1)), idea_of(None, name_of(0, 1))),
        opened(2, setting("batch", 16, name_of(1, 1)), join(name_of(1, 0), name_of(1, 1))),
        opened(3),
    )
    tried = Tried()
    tried.update(brief_of(archive, 0))
    assert tried.of(name_of(0, 2)) == made_of()
    assert tried.of(name_of(1, 0)) == made_of("momentum", "huber")
    assert tried.of(name_of(1, 1)) == made_of("momentum", batch=8)
    assert tried.of(name_of(1, 2)) == made_of(batch=8)  # an idea that is only text adds no ingredient
    assert tried.of(name_of(2, 0)) == made_of("momentum", batch=16)
    assert tried.of(name_of(2, 1)) == made_of("momentum", "huber", batch=8)
    assert tried.has(made_of("momentum")) and not tried.has(made_of("huber"))


def test_the_same_ingredients_reached_in_another_way_are_found() -> None:
    archive = archive_of(
        PATHS,
        opened(0, patch("momentum"), patch("huber"), setting("batch", 8)),
        opened(1, join(name_of(0, 0), name_of(0, 1)), setting("batch", 8, name_of(0, 0))),
        opened(2),
    )
    tried = Tried()
    tried.update(brief_of(archive, 0))
    huber, momentum = tried.of(name_of(0, 1)), tried.of(name_of(0, 0))
    assert tried.has(huber.with_change(Change(patch="momentum")))
    assert tried.has(momentum.with_change(Change(patch="huber")))
    assert tried.has(tried.of(name_of(0, 2)).with_change(Change(patch="momentum")))
    assert tried.has(huber.with_change(Change(join=True), [momentum]))
    assert not tried.has(momentum.with_change(Change(settings={"batch": 8.0})))  # a float is different code
    assert not tried.has(huber.with_change(Change(settings={"batch": 8})))


def test_in_a_join_the_first_parents_setting_is_kept() -> None:
    archive = archive_of(
        PATHS,
        opened(0, setting("batch", 8), setting("batch", 16)),
        opened(1, join(name_of(0, 1), name_of(0, 0))),
        opened(2),
    )
    tried = Tried()
    tried.update(brief_of(archive, 0))
    assert tried.of(name_of(1, 0)) == made_of(batch=16)


def test_each_idea_is_read_once() -> None:
    """One more idea costs the same in any archive: complete generations are not read again."""
    first, second = (
        replace(one, candidates=Walked(one.candidates))
        for one in (opened(0, patch("momentum")), opened(1, patch("huber")))
    )
    tried, archive = Tried(), archive_of(PATHS, first, second, opened(2, size=3))
    before = first.candidates.times, second.candidates.times
    for number in range(3):
        tried.update(brief_of(archive, number))
    assert (first.candidates.times, second.candidates.times) == (before[0] + 1, before[1] + 1)
    assert tried.has(made_of("momentum")) and tried.has(made_of("huber"))
    tried.update(
        brief_of(archive_of(PATHS, opened(0, patch("decay")), second, opened(2, patch("diverge")), opened(3)), 0)
    )
    assert not tried.has(made_of("decay")) and tried.has(made_of("diverge"))


def test_late_candidates_of_an_incomplete_generation_are_included() -> None:
    """Several generations are open at the same time, and an earlier one gets its ideas last."""
    first = opened(0, patch("momentum"))
    tried = Tried()
    tried.update(
        brief_of(archive_of(PATHS, first, opened(1, None, patch("huber"), size=2), opened(2, patch("decay"))), 0)
    )
    assert tried.has(made_of("huber")) and tried.has(made_of("decay")) and not tried.has(made_of("larger_batch"))
    late = opened(1, patch("larger_batch"), patch("huber"))
    tried.update(brief_of(archive_of(PATHS, first, late, opened(2, patch("decay")), opened(3)), 0))
    assert tried.has(made_of("larger_batch"))
    assert tried.of(name_of(1, 0)) == made_of("larger_batch")


def test_a_proposal_that_arrives_after_the_ideators_ideas_is_included() -> None:
    parents = Parents(ideas=1, proposals=("human-1",))
    without = generation(PATHS, 0, [candidate(PATHS, name_of(0, 0), patch("momentum"))], parents)
    human = candidate(PATHS, name_of(0, 1), setting("batch", 16))
    tried = Tried()
    tried.update(brief_of(archive_of(PATHS, without), 0))
    assert not tried.has(made_of(batch=16))
    tried.update(brief_of(archive_of(PATHS, generation(PATHS, 0, [*without.candidates, human], parents), opened(1)), 0))
    assert tried.has(made_of(batch=16))


def test_ideas_written_since_the_archive_was_read_count() -> None:
    archive = archive_of(PATHS, opened(0, patch("momentum")), opened(1, size=3))
    tried = Tried()
    tried.update(brief_of(archive, 2, ideas={0: patch("huber"), 1: patch("decay", name_of(0, 0))}))
    assert tried.has(made_of("huber")) and tried.of(name_of(1, 1)) == made_of("momentum", "decay")


# ---- what is proposed


def test_every_published_idea_is_proposed_once_and_then_only_settings() -> None:
    archive = archive_of(PATHS, opened(0, size=12))
    ideator = BankIdeator(tools_of("ideate.patch_share=1"))
    ideas: dict[int, Idea] = {}
    for number in range(12):
        ideas[number] = ideator.propose(brief_of(archive, number, ideas=ideas))
    changes = [idea.change or Change() for idea in ideas.values()]
    assert sorted(str(change.patch) for change in changes[:5]) == list(BANK)
    assert all(change.settings and not change.patch for change in changes[5:])
    assert len({tuple(change.settings.items()) for change in changes[5:]}) == 7


def test_the_error_of_a_used_up_bank_gives_the_remedy(tmp_path: Path) -> None:
    """A bank without ranges, where no new settings are left to draw."""
    shutil.copytree(IDEAS, tmp_path / "ideas", ignore=shutil.ignore_patterns("settings.yaml"))
    ideator = BankIdeator(tools_of(ideas=tmp_path / "ideas"))
    last = brief_of(archive_of(PATHS, opened(0, *map(patch, BANK[:-1]), size=5)), 4)
    assert ideator.propose(last).change == Change(patch=BANK[-1])
    words = (
        "the idea bank is used up; add ideas or ranges to it .*step 7 of docs/.* propose RUN .*ideate=llm.*candidates=0"
    )
    with pytest.raises(UsedUp, match=words):
        ideator.propose(brief_of(archive_of(PATHS, opened(0, *map(patch, BANK), size=6)), 5))


def test_a_child_is_never_code_that_was_tried() -> None:
    """Code that was tried in another way counts: once all pairs of patches are tried, only changes of settings are
    left."""
    first = opened(0, *map(patch, BANK))
    pairs = [patch(other, name_of(0, n)) for n, one in enumerate(BANK) for other in BANK if other != one]
    second = opened(1, *pairs)
    parents = Parents((name_of(0, 0), name_of(0, 1)), 1.0, 20)
    archive = archive_of(PATHS, first, second, generation(PATHS, 2, parents=parents))
    ideator = BankIdeator(tools_of())
    ideas: dict[int, Idea] = {}
    for number in range(20):
        ideas[number] = ideator.propose(brief_of(archive, number, exploit=True, ideas=ideas))
    assert {idea.parents for idea in ideas.values()} <= {(name_of(0, 0),), (name_of(0, 1),), ()}
    assert all(idea.change is not None and idea.change.settings and not idea.change.join for idea in ideas.values())
    settings = [(idea.parents, *idea.change.settings.items()) for idea in ideas.values() if idea.change is not None]
    assert len(set(settings)) == len(settings)


def test_the_error_of_an_absent_bank_gives_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsedUp, match=r"the idea bank is empty; .* propose RUN .*ideate=llm"):
        BankIdeator(tools_of(ideas=tmp_path / "nowhere")).propose(brief_of(archive_of(PATHS, opened(0, size=1)), 0))


def test_a_generation_without_more_ideas_uses_waiting_proposals_instead_of_being_empty() -> None:
    asked = Parents((name_of(0, 0),), 0.5, 4)
    with_a_persons = replace(asked, proposals=("human-1",))
    assert without_more(asked, 2, ("human-2",)) == replace(asked, ideas=2)  # the proposal waits for the next generation
    assert without_more(asked, 0, ("human-2",)) == replace(asked, ideas=0, proposals=("human-2",))
    assert without_more(with_a_persons, 0, ("human-2",)) == replace(with_a_persons, ideas=0)
    assert without_more(asked, 0, ()).size == 0


# ---- reasons


@pytest.mark.parametrize(
    ("now", "value", "why"),
    [
        pytest.param(0.95, 0.9, "shorter", id="smaller"),
        pytest.param(0.95, 0.999, "longer", id="larger"),
        pytest.param(1, 0.5, "shorter", id="an integer is ordered too"),
        pytest.param("adam", "muon", "another", id="no order"),
        pytest.param(False, True, "another", id="a switch has no order"),
        pytest.param(None, 3, "another", id="off"),
    ],
)
def test_the_reason_states_the_direction(now: object, value: object, why: str) -> None:
    assert Range("another", "longer", "shorter", choices=(value,)).reason(now, value) == why


def test_without_a_text_for_the_direction_the_general_one_is_used() -> None:
    assert Range("another", higher="longer", choices=(1, 3)).reason(2, 1) == "another"
    assert Range("another", choices=(1, 3)).reason(2, 3) == "another"


def test_a_proposed_setting_is_explained_by_its_direction(tmp_path: Path) -> None:
    """`beta2 = 0.9` was explained as "a longer memory", although the baseline has 0.95."""
    text = "ranges:\n  batch: {choices: [2, 16], why: w, higher: More rows., lower: Fewer rows.}\n"
    (tmp_path / "settings.yaml").write_text(text)
    ideator, ideas = BankIdeator(tools_of(ideas=tmp_path)), dict[int, Idea]()
    archive = archive_of(PATHS, opened(0, size=2))
    for number in range(2):
        ideas[number] = ideator.propose(brief_of(archive, number, ideas=ideas))
    assert {idea.text for idea in ideas.values()} == {"Set batch = 2. Fewer rows.", "Set batch = 16. More rows."}


# ---- ideas without a patch


def without_patches(folder: Path) -> Path:
    """A bank with one idea, in words."""
    words = "title: Higher rate\ntext: Raise it.\nwhy: To see.\nsource: none\n"
    (folder / "higher_rate.yaml").write_text(words)
    return folder


@pytest.mark.parametrize("implement", ["command", "llm"])
def test_an_idea_in_words_requires_no_patch_if_text_is_supported(implement: str, tmp_path: Path) -> None:
    given = [f"implement={implement}", *(["implement.command=[sed]"] if implement == "command" else [])]
    tools = tools_of(*given, ideas=without_patches(tmp_path))
    archive, ideator = archive_of(PATHS, opened(0, size=2)), BankIdeator(tools)
    idea = ideator.propose(brief_of(archive, 0))
    assert (idea.title, idea.text) == ("Higher rate", "Raise it. To see.")
    with pytest.raises(UsedUp):  # it counts as tried
        ideator.propose(brief_of(archive, 1, ideas={0: idea}))


def test_if_the_bank_implements_ideas_each_requires_a_patch(tmp_path: Path) -> None:
    tools = tools_of(ideas=without_patches(tmp_path))
    for make in (BankIdeator, BankImplementer):
        with pytest.raises(
            BadInput, match=r"requires a patch, higher_rate.diff, in the same folder; or use implement=llm or"
        ):
            make(tools)
    assert load_bank(tmp_path, tools.config, patches=False).published["higher_rate"].patch == ""


# ---- places of settings


@pytest.mark.parametrize(
    ("file", "text", "name", "new"),
    [
        ("train.py", "lr = 3e-4  # of Adam\nsteps = 9\n", "lr", "lr = 0.5  # of Adam\nsteps = 9\n"),
        ("conf/a.yaml", "optimizer:\n  lr: 3e-4  # of Adam\n", "optimizer.lr", "optimizer:\n  lr: 0.5  # of Adam\n"),
        ("a.json", '{"optimizer": {"lr": 3e-4}}\n', "optimizer.lr", '{"optimizer": {"lr": 0.5}}\n'),
    ],
)
def test_settings_outside_of_a_dataclass_are_tuned(file: str, text: str, name: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"ranges:\n  {name}: {{choices: [0.5]}}\n")
    code: Tree = {"other.py": Entry(b"lr = 1\n"), file: Entry(text.encode(), "100755")}
    given = tools_of(ideas=tmp_path)
    baseline = replace(given.config.baseline, settings_file=file, settings_class={})
    tools = replace(given, config=replace(given.config, baseline=baseline), code=lambda _: dict(code))
    idea = TuneIdeator(tools).propose(brief_of(archive_of(PATHS, opened(0, size=1)), 0))
    made = BankImplementer(tools).implement(idea, code, [])
    assert idea.change == Change(settings={name: 0.5}) and isinstance(made, Implemented)
    assert made.tree == {**code, file: Entry(new.encode(), "100755")}


@pytest.mark.parametrize(
    ("settings_file", "why"),
    [("", "baseline.settings_file is empty"), ("model.py", "model.py holds none of the settings .* ranges for: lr")],
)
def test_tuning_gives_the_reason_for_having_nothing_to_tune(settings_file: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("ranges:\n  lr: {choices: [0.5]}\n")
    given = tools_of(ideas=tmp_path)
    baseline = replace(given.config.baseline, settings_file=settings_file, settings_class={})
    tools = replace(given, config=replace(given.config, baseline=baseline))
    with pytest.raises(BadInput, match=f"there is nothing to tune: {why}"):
        TuneIdeator(tools).propose(brief_of(archive_of(PATHS, opened(0, size=1)), 0))
