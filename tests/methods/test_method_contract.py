"""The contract of `pipeline/methods/base.py`, tested for every search method as a file of `conf/select/` sets it, and for
those of the benchmark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pipeline.config import Config, IdeateConfig, SelectConfig
from pipeline.methods.base import Room, SearchMethod
from pipeline.methods.guided import Guided
from pipeline.metric import Direction, Metric
from pipeline.records import FailureKind, Purpose
from pipeline.setup.parts import make_part
from tests.archives import Made, archive_of, config_of, name, terms_of
from tests.benchmarks.peers import OpenEvolve, ShinkaEvolve
from tests.toy import ROOT

Make = Callable[[Config, Metric], SearchMethod]


def set_by(file: Path) -> Make:
    """The method as the file sets it."""
    part = OmegaConf.load(file)["method"]
    return lambda config, metric: make_part(part, "select.method", config, metric)


CONFIGURED = {file.stem: set_by(file) for file in sorted((ROOT / "conf/select").iterdir())}
METHODS: dict[str, Make] = {**CONFIGURED, "OpenEvolve": OpenEvolve, "ShinkaEvolve": ShinkaEvolve}
GUIDED = {key: make for key, make in METHODS.items() if isinstance(terms_of(config_of(), make).method, Guided)}
VALUES = st.lists(st.one_of(st.none(), st.integers(0, 40).map(lambda n: n / 40)), min_size=1, max_size=20)
"""None is a failure."""


def specs(values: Sequence[float | None]) -> list[Made]:
    return [Made(value) if value is not None else Made(kind=FailureKind.NAN) for value in values]


def mirrored(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else 1 - value for value in values]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@given(values=VALUES, bans=st.sets(st.integers(0, 19)))
@settings(max_examples=25, deadline=None)
def test_a_plan_and_a_selection(method: Make, values: list[float | None], bans: set[int]) -> None:
    marks = {number: False for number in bans if number < len(values)}
    archive = archive_of(specs(values), marks=marks)
    terms = terms_of(config_of(), method)
    selection = terms.method.select(archive)
    assert terms.method.select(archive) == selection  # the same archive gives the same answer
    assert selection.seen.outcomes == len(values) and selection.seen.banned == archive.banned
    parents = terms.method.plan(archive, Room(4, 1, selection))
    assert parents == terms.method.plan(archive, Room(4, 1, selection))
    assert parents.ideas == 4 and 0 <= parents.exploit_share <= 1
    assert len(set(parents.candidates)) == len(parents.candidates)
    assert set(parents.draws) <= set(parents.candidates) <= set(selection.parents)
    if parents.draws:
        assert len(parents.draws) == round(parents.exploit_share * parents.ideas)
    for candidate in parents.candidates:
        assert archive.candidate(candidate).score is not None and not archive.is_banned(candidate)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@given(values=VALUES)
@settings(max_examples=25, deadline=None)
def test_both_directions_are_equivalent(method: Make, values: list[float | None]) -> None:
    up = archive_of(specs(values), baseline=(0.25, 0.3))
    down = archive_of(specs(mirrored(values)), baseline=(0.75, 0.7))
    maximize, minimize = (terms_of(config_of(way), method) for way in (Direction.maximize, Direction.minimize))
    assert maximize.method.select(up).parents == minimize.method.select(down).parents


@pytest.mark.parametrize("method", GUIDED.values(), ids=GUIDED)
@given(values=VALUES, number=st.integers(0, 19))
@settings(max_examples=25, deadline=None)
def test_a_much_better_score_is_not_drawn_less_often(method: Make, values: list[float | None], number: int) -> None:
    number %= len(values)
    value = values[number]
    if value is None:
        return
    method_of = terms_of(config_of(ideate=IdeateConfig(candidates=400)), method).method
    before = method_of.select(archive_of(specs(values))).draws
    after = method_of.select(archive_of(specs([*values[:number], value + 2.0, *values[number + 1 :]]))).draws
    # Methods that draw all parents with equal probability draw others if the archive differs; the tolerance is four
    # standard deviations of that.
    chance = 4 * math.sqrt(max(1, before.count(name(number))))
    assert after.count(name(number)) >= max(1, before.count(name(number)) - chance)


@pytest.mark.parametrize("method", GUIDED.values(), ids=GUIDED)
def test_pinned_candidates_are_parents_whatever_they_scored(method: Make) -> None:
    archive = archive_of(specs([0.9, 0.1, None, 0.2]), marks={1: True, 2: True, 3: False})
    terms = terms_of(config_of(), method)
    selection = terms.method.select(archive)
    assert selection.parents[0] == selection.draws[0] == name(1) and name(3) not in selection.parents
    for generation in range(1, 4):
        assert name(1) in terms.method.plan(archive, Room(1, generation, selection)).candidates


@pytest.mark.parametrize("method", GUIDED.values(), ids=GUIDED)
def test_without_a_gain_over_the_baseline_all_ideas_explore(method: Make) -> None:
    archive = archive_of(specs([0.05, None, 0.1, 0.0]))
    parents = terms_of(config_of(), method).method.plan(archive, Room(4, 1, None))
    assert (parents.candidates, parents.draws, parents.exploit_share) == ((), (), 0.0)


@pytest.mark.parametrize("method", GUIDED.values(), ids=GUIDED)
@given(values=VALUES, late=st.one_of(st.none(), st.floats(0.0, 2.0)))
@settings(max_examples=10, deadline=None)
def test_a_later_outcome_does_not_change_a_decision(
    method: Make, values: list[float | None], late: float | None
) -> None:
    chosen = terms_of(config_of(), method).method
    before, after = (archive_of([*specs(values), one]) for one in (Made(), *specs([late])))
    selection, number = chosen.select(before), len(before.generations)
    assert chosen.plan(after, Room(4, number, selection)) == chosen.plan(before, Room(4, number, selection))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_wanted_trials_are_those_of_trainable_candidates(method: Make) -> None:
    archive = archive_of(
        [
            Made(0.6),
            Made(kind=FailureKind.NAN),
            Made(),
            Made(ready=False),
            Made(tries=[None]),
            Made(tries=[FailureKind.PREEMPTED]),
        ]
    )
    wanted = list(terms_of(config_of(), method).method.wanted_trials(archive))
    holders = [one.holder.paths.folder.parent for one in wanted]
    assert holders == [archive.candidate(name(number)).paths.folder for number in (2, 4, 5)]
    assert {one.purpose for one in wanted} == {Purpose.SEARCH}
    assert [one.found is not None for one in wanted] == [False, True, True]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_empty_archive(method: Make) -> None:
    archive = archive_of(baseline=())
    parents = terms_of(config_of(), method).method.plan(archive, Room(3, 0, None))
    assert (parents.candidates, parents.ideas, parents.seen.outcomes, parents.seen.baseline) == ((), 3, 0, None)


# ---- truncation


def parents_of(values: Sequence[float | None], marks: dict[int, bool] | None = None, **select: object) -> list[int]:
    config = config_of(select=SelectConfig(**select), ideate=IdeateConfig(candidates=400))  # type: ignore[arg-type]
    archive = archive_of(specs(values), marks=marks, baseline=(0.5, 0.5, 0.5))
    chosen = terms_of(config).method.select(archive).parents
    return [int(one[11:14]) * 4 + int(one[-3:]) for one in chosen]


@pytest.mark.parametrize(
    ("values", "marks", "select", "expected"),
    [
        pytest.param([0.6, 0.7, 0.4, 0.8], {}, {}, [3, 1, 0], id="best first, and only what beats the baseline"),
        pytest.param([0.6, 0.7, 0.4, 0.8], {}, {"parents": 2}, [3, 1], id="at most the maximal number"),
        # Standard errors: 0.01 for one score and for the baseline, so 0.014 for the difference. Other scores are far
        # away, so that shrinkage is small.
        pytest.param([0.512, 0.516, 0.9, 0.1], {}, {}, [2, 1], id="a gain of one standard error"),
        pytest.param([0.512, 0.516, 0.9, 0.1], {}, {"margin": 0.5}, [2, 1, 0], id="a smaller margin"),
        pytest.param([0.4, 0.6, 0.3], {}, {"margin": 0.0}, [1], id="no gain is never enough"),
        pytest.param([0.6, 0.7], {1: False}, {}, [0], id="banned"),
        pytest.param([0.6, 0.4, 0.45], {1: True, 2: True}, {}, [2, 1, 0], id="pinned come first, best first"),
        pytest.param([None, 0.6], {0: True}, {}, [1], id="pinned without a score"),
        pytest.param([0.7, 0.7, 0.7], {}, {"parents": 2}, [0, 1], id="equal values in their order"),
    ],
)
def test_parents(
    values: list[float | None], marks: dict[int, bool], select: dict[str, object], expected: list[int]
) -> None:
    assert parents_of(values, marks, **select) == expected


@pytest.mark.parametrize(
    ("generation", "share"), [(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.6), (4, 0.6), (7, 0.8), (50, 0.8)]
)
def test_the_share_of_exploit_ideas(generation: int, share: float) -> None:
    archive, terms = archive_of(specs([0.9] * 4)), terms_of(config_of(ideate=IdeateConfig(candidates=10)))
    parents = terms.method.plan(archive, Room(10, generation, terms.method.select(archive)))
    assert parents.exploit_share == pytest.approx(share) and len(parents.draws) == round(10 * share)


def test_the_share_also_applies_to_one_idea_at_a_time() -> None:
    archive = archive_of(specs([0.9] * 4), selected=False)
    plans = [terms_of(config_of(seed=seed)).method.plan(archive, Room(1, 3, None)) for seed in range(200)]
    assert sum(len(one.draws) for one in plans) / len(plans) == pytest.approx(0.6, abs=0.1)


def test_in_steady_mode_parents_come_from_all_outcomes_so_far() -> None:
    archive = archive_of([*specs([0.9, 0.4]), Made()], selected=False)
    parents = terms_of(config_of()).method.plan(archive, Room(2, 1, None))
    assert parents.candidates == parents.draws == (name(0),) and parents.seen.outcomes == 2


def test_ideas_that_become_alike_lower_the_share_of_exploit_ideas() -> None:
    """Four generations of four: the first two have no word in common, the last two all words, so the rise is 1."""
    archive = archive_of(specs([0.9] * 16))
    texts = [f"first{letter}" for letter in "abcdefgh"] + ["the same words"] * 8
    ideas = zip(archive.candidates, texts, strict=True)
    made = [replace(one, idea=replace(one.idea, title=text, text="")) for one, text in ideas]
    parts = [tuple(made[start : start + 4]) for start in range(0, 16, 4)]
    generations = [replace(one, candidates=part) for one, part in zip(archive.generations, parts, strict=True)]
    archive = replace(archive, generations=tuple(generations))
    for widen, exploits in ((0.0, 24), (0.5, 12), (1.0, 0)):
        ideate = IdeateConfig(candidates=4, widen=widen)
        method = terms_of(config_of(ideate=ideate)).method
        drawn = replace(method.select(archive), draws=(name(0),) * 40)
        assert len(method.plan(archive, Room(40, 4, drawn)).draws) == pytest.approx(exploits, abs=1)


@pytest.mark.parametrize(("method", "outcomes"), [("independent", 0), ("tpe", 4)])
def test_without_feedback_no_idea_has_a_parent(method: str, outcomes: int) -> None:
    """Their ideas are known, but only with `tpe` are their outcomes."""
    archive, terms = archive_of(specs([0.9] * 4)), terms_of(config_of(), METHODS[method])
    parents = terms.method.plan(archive, Room(4, 1, terms.method.select(archive)))
    assert (parents.candidates, parents.exploit_share) == ((), 0.0)
    assert parents.seen.outcomes == outcomes and parents.seen.generations == 1
