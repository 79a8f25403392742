"""The promises of `pipeline/methods/base.py`, kept by every search method. A new one joins `METHODS`."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import SelectConfig
from pipeline.methods.base import Room
from pipeline.methods.evolution import Evolution
from pipeline.methods.independent import Independent
from pipeline.metric import Direction
from pipeline.records import FailureKind, Purpose
from tests.archives import Made, archive_of, config_of, name, terms_of

METHODS = [Evolution, Independent]
VALUES = st.lists(st.one_of(st.none(), st.integers(0, 40).map(lambda n: n / 40)), min_size=1, max_size=20)
"""None is a failure."""


def specs(values: Sequence[float | None]) -> list[Made]:
    return [Made(value) if value is not None else Made(kind=FailureKind.NAN) for value in values]


def mirrored(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else 1 - value for value in values]


@pytest.mark.parametrize("method", METHODS)
@given(values=VALUES, bans=st.sets(st.integers(0, 19)))
@settings(max_examples=60, deadline=None)
def test_a_plan_and_a_selection(method: type, values: list[float | None], bans: set[int]) -> None:
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
    for candidate in parents.candidates:
        assert archive.candidate(candidate).score is not None and not archive.is_banned(candidate)


@pytest.mark.parametrize("method", METHODS)
@given(values=VALUES)
@settings(max_examples=60, deadline=None)
def test_both_directions_are_alike(method: type, values: list[float | None]) -> None:
    up = archive_of(specs(values), baseline=(0.25, 0.3))
    down = archive_of(specs(mirrored(values)), baseline=(0.75, 0.7))
    maximize, minimize = (terms_of(config_of(way), method) for way in (Direction.maximize, Direction.minimize))
    assert maximize.method.select(up).parents == minimize.method.select(down).parents


@pytest.mark.parametrize("method", METHODS)
@given(values=VALUES, number=st.integers(0, 19), more=st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_a_better_score_never_ranks_lower(method: type, values: list[float | None], number: int, more: int) -> None:
    number %= len(values)
    value = values[number]
    if value is None:
        return
    method_of = terms_of(config_of(), method).method
    before = method_of.select(archive_of(specs(values))).parents
    better = [*values[:number], value + more / 40, *values[number + 1 :]]
    after = method_of.select(archive_of(specs(better))).parents
    if name(number) in before:
        assert name(number) in after and after.index(name(number)) <= before.index(name(number))


@pytest.mark.parametrize("method", METHODS)
def test_wanted_trials_are_those_of_candidates_that_can_be_trained(method: type) -> None:
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


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_known_at_first(method: type) -> None:
    archive = archive_of(baseline=())
    parents = terms_of(config_of(), method).method.plan(archive, Room(3, 0, None))
    assert (parents.candidates, parents.ideas, parents.seen.outcomes, parents.seen.baseline) == ((), 3, 0, None)


# ---- evolution


def parents_of(values: Sequence[float | None], marks: dict[int, bool] | None = None, **select: object) -> list[int]:
    config = config_of(select=SelectConfig(**select))  # type: ignore[arg-type]
    archive = archive_of(specs(values), marks=marks, baseline=(0.5, 0.5, 0.5))
    chosen = terms_of(config).method.select(archive).parents
    return [int(one[11:14]) * 4 + int(one[-3:]) for one in chosen]


@pytest.mark.parametrize(
    ("values", "marks", "select", "expected"),
    [
        pytest.param([0.6, 0.7, 0.4, 0.8], {}, {}, [3, 1, 0], id="best first, and only what beats the baseline"),
        pytest.param([0.6, 0.7, 0.4, 0.8], {}, {"parents": 2}, [3, 1], id="as many as there is room for"),
        # The errors: of one score 0.01, of the baseline 0.01; that of the difference is 0.0141.
        pytest.param([0.514, 0.515], {}, {}, [1], id="a gain of one standard error"),
        pytest.param([0.514, 0.515], {}, {"margin": 0.5}, [1, 0], id="a smaller margin"),
        pytest.param([0.5, 0.501], {}, {"margin": 0.0}, [1], id="no gain is never enough"),
        pytest.param([0.6, 0.7], {1: False}, {}, [0], id="banned"),
        pytest.param([0.6, 0.4, 0.45], {1: True, 2: True}, {}, [2, 1, 0], id="pinned come first, best first"),
        pytest.param([0.6, 0.7], {0: True}, {"parents": 1}, [0], id="pinned take the room of others"),
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
    archive, terms = archive_of(specs([0.9] * 4)), terms_of(config_of())
    parents = terms.method.plan(archive, Room(4, generation, terms.method.select(archive)))
    assert parents.exploit_share == pytest.approx(share)


def test_in_steady_mode_parents_come_from_all_outcomes_so_far() -> None:
    archive = archive_of([*specs([0.9, 0.4]), Made()], selected=False)
    parents = terms_of(config_of()).method.plan(archive, Room(2, 1, None))
    assert parents.candidates == (name(0),) and parents.seen.outcomes == 2


def test_independent_builds_on_nothing() -> None:
    archive, terms = archive_of(specs([0.9] * 4)), terms_of(config_of(), Independent)
    parents = terms.method.plan(archive, Room(4, 1, terms.method.select(archive)))
    assert (parents.candidates, parents.exploit_share) == ((), 0.0)
    assert parents.seen.outcomes == 0 and parents.seen.generations == 1  # its ideas are known, their outcomes not
