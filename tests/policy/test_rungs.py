"""Successive halving on archives in memory: which candidate is trained next with which budget, and which is stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pipeline.config import Config, IdeateConfig, Mode, SearchConfig, TrainConfig
from pipeline.errors import BadInput
from pipeline.metric import Direction
from pipeline.policy.rungs import rung_budgets, stopped_early
from pipeline.records import FailureKind, Parents, Purpose
from pipeline.setup.compose import compose_config
from pipeline.store.archive import Archive
from pipeline.store.views import State
from tests.archives import Made, archive_of, config_of, name, terms_of


def halving(*rungs: float, mode: Mode = Mode.generational, keep: float = 0.5, down: bool = False) -> Config:
    direction = Direction.minimize if down else Direction.maximize
    search = SearchConfig(mode=mode, rungs=list(rungs), keep=keep)
    return config_of(direction, search=search, train=TrainConfig(budget_steps=100), ideate=IdeateConfig(candidates=4))


def rung(value: float, budget: float = 25.0, **more: object) -> Made:
    return Made(rungs={budget: value}, **more)  # type: ignore[arg-type]


def next_of(config: Config, archive: Archive) -> Mapping[int, tuple[Purpose, float | None]]:
    """Number of each candidate to train now, with the purpose and budget of the training."""
    found = {}
    for wanted in terms_of(config).method.wanted_trials(archive):
        place = wanted.holder.paths.folder.parent
        found[4 * int(place.parent.name[-3:]) + int(place.name[-3:])] = (wanted.purpose, wanted.budget)
    return found


def stopped_of(config: Config, archive: Archive) -> list[int]:
    metric = config.baseline.metric.metric
    failures = [stopped_early(config, metric, archive, archive.candidate(name(k))) for k in range(archive.count)]
    assert {one.kind for one in failures if one is not None} <= {FailureKind.STOPPED_EARLY}
    return [number for number, one in enumerate(failures) if one is not None]


SEARCH, FIRST, SECOND = (Purpose.SEARCH, None), (Purpose.RUNG, 25.0), (Purpose.RUNG, 50.0)


@pytest.mark.parametrize(
    ("rungs", "specs", "wanted", "stopped"),
    [
        pytest.param([], [Made(), Made()], {0: SEARCH, 1: SEARCH}, [], id="without rungs the whole budget at once"),
        pytest.param([0.25], [Made(), Made()], {0: FIRST, 1: FIRST}, [], id="first a part of it"),
        pytest.param([0.25], [rung(0.6), Made()], {1: FIRST}, [], id="waits for the others of its generation"),
        pytest.param([0.25], [rung(0.6), rung(0.5), rung(0.7), rung(0.4)], {0: SEARCH, 2: SEARCH}, [1, 3], id="half"),
        pytest.param([0.25], [rung(0.6), rung(0.5), rung(0.7)], {0: SEARCH, 2: SEARCH}, [1], id="half, rounded up"),
        pytest.param([0.25], [rung(0.6)] * 4, dict.fromkeys(range(4), SEARCH), [], id="equal ones pass together"),
        pytest.param(
            [0.25], [rung(0.6), rung(0.5), Made(kind=FailureKind.NAN)], {0: SEARCH}, [1], id="failures are not scores"
        ),
        pytest.param(
            [0.25],
            [rung(0.2, tries=[None]), rung(0.5)],
            {0: SEARCH, 1: SEARCH},
            [],
            id="a training that has begun continues",
        ),
        pytest.param(
            [0.25, 0.5],
            [
                Made(rungs={25.0: 0.6, 50.0: 0.6}),
                Made(rungs={25.0: 0.7, 50.0: 0.65}),
                Made(kind=FailureKind.STOPPED_EARLY, rungs={25.0: 0.1}),
            ],
            {1: SEARCH},
            [0],
            id="two rungs",
        ),
        pytest.param([0.25, 0.5], [rung(0.6), rung(0.1)], {0: SECOND}, [1], id="the second after the first"),
    ],
)
def test_a_generation(
    rungs: Sequence[float], specs: Sequence[Made], wanted: Mapping[int, object], stopped: list[int]
) -> None:
    archive = archive_of(specs, selected=False)
    assert next_of(halving(*rungs), archive) == wanted
    assert stopped_of(halving(*rungs), archive) == stopped
    mirrored = [replace(one, rungs={budget: 1 - value for budget, value in one.rungs.items()}) for one in specs]
    down = archive_of(mirrored, selected=False)
    assert next_of(halving(*rungs, down=True), down) == wanted
    assert stopped_of(halving(*rungs, down=True), down) == stopped


def test_in_steady_mode_no_candidate_waits() -> None:
    config = halving(0.25, mode=Mode.steady)
    archive = archive_of([rung(0.6), Made(), Made()], selected=False)
    assert next_of(config, archive) == {0: SEARCH, 1: FIRST, 2: FIRST}
    archive = archive_of([Made(0.8, rungs={25.0: 0.6}), rung(0.55), rung(0.7), Made(), rung(0.65)], selected=False)
    assert next_of(config, archive) == {2: SEARCH, 3: FIRST, 4: SEARCH} and stopped_of(config, archive) == [1]


def test_a_generation_without_all_its_ideas_decides_nothing() -> None:
    archive = archive_of([rung(0.6), rung(0.5)], selected=False)
    (generation,) = archive.generations
    archive = replace(archive, generations=(replace(generation, parents=Parents(ideas=4)),))
    assert next_of(halving(0.25), archive) == {} and stopped_of(halving(0.25), archive) == []


def test_a_rung_is_not_a_score() -> None:
    archive = archive_of([rung(0.9), Made(0.5)], selected=False)
    first = archive.candidate(name(0))
    assert first.score is None and not first.closed and first.state is State.READY
    assert [one.id for one in archive.ranked(highest_first=True)] == [name(1)]
    assert archive.index.rungs == {25.0: [0.9]}


def test_the_reason_states_the_share_of_the_budget() -> None:
    archive = archive_of([rung(0.6), rung(0.5), rung(0.7), rung(0.4)], selected=False)
    config = halving(0.25)
    failure = stopped_early(config, config.baseline.metric.metric, archive, archive.candidate(name(3)))
    assert failure is not None
    assert failure.reason == "0.4000 after 25% of the budget, where 3 of 4 were better (search.rungs)"


def test_budgets_are_whole_steps() -> None:
    config = replace(halving(0.25, 0.5), train=TrainConfig(budget_steps=6))
    assert rung_budgets(config) == [2.0, 3.0]


@pytest.mark.parametrize(("given", "rungs"), [("[0.25,1.0]", [0.25]), ("[0.25,1]", [0.25]), ("[1]", [])])
def test_a_final_rung_of_the_whole_budget_is_dropped(given: str, rungs: list[float]) -> None:
    assert compose_config(["baseline=grpo", "scale=tiny", f"search.rungs={given}"]).search.rungs == rungs


@pytest.mark.parametrize("rungs", ["[0.5,0.25]", "[1.0,0.5]", "[1,1]", "[0]", "[0.25,0.25]", "[0.01,0.02]"])
def test_rungs_that_cannot_be_used(rungs: str) -> None:
    with pytest.raises(BadInput, match=r"search\.rungs=.* cannot be used; give rising shares"):
        compose_config(["baseline=grpo", "scale=tiny", f"search.rungs={rungs}"])
