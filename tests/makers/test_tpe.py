"""Tuning that learns: good values are drawn more often, in either direction of the metric."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.makers.tpe import TpeIdeator
from pipeline.metric import Direction, Metric
from pipeline.records import Change, Failure, FailureKind, Idea, Knowledge, Parents, Stage
from pipeline.setup.build import check_parts
from pipeline.setup.compose import compose_config
from pipeline.store.paths import RunPaths
from tests.makers.world import archive_of, brief_of, candidate, generation, tools_of

PATHS = RunPaths(Path("runs/r"))
COUNT = 24


def rates(direction: Direction, outcomes: int, failures: bool = False) -> list[float]:
    """The learning rates proposed after a generation in which a larger rate had a larger value."""
    done = []
    for number in range(COUNT):
        rate = 0.004 * 1.1**number
        idea = Idea(f"settings {number}", "Set it.", "tune", change=Change(settings={"learning_rate": rate}))
        end = Failure(Stage.TRAIN, FailureKind.NAN, "NaN", order=number + 1) if failures else rate
        done.append(candidate(PATHS, f"generation_000/candidate_{number:03d}", idea, end, number + 1))
    opened = Parents(ideas=8, seen=Knowledge(outcomes, 1))
    archive = archive_of(PATHS, generation(PATHS, 0, done), generation(PATHS, 1, parents=opened))
    tools = replace(tools_of(), metric=Metric("quality", direction))
    ideas: dict[int, Idea] = {}
    for number in range(8):
        ideas[number] = TpeIdeator(tools).propose(brief_of(archive, number, ideas=dict(ideas)))
    changes = [idea.change.settings for idea in ideas.values() if idea.change is not None]
    return [float(one.get("learning_rate", 0.01)) for one in changes]


def test_good_values_are_drawn_more_often_in_both_directions() -> None:
    up, down = (sum(rates(direction, COUNT)) / 8 for direction in (Direction.maximize, Direction.minimize))
    assert up > 1.5 * down


def test_outcomes_that_may_not_be_used_and_failures_have_no_effect() -> None:
    assert rates(Direction.maximize, 0) == rates(Direction.minimize, 0)
    assert rates(Direction.maximize, COUNT, failures=True) == rates(Direction.minimize, COUNT, failures=True)


def test_without_ranges_there_is_nothing_to_tune(tmp_path: Path) -> None:
    archive = archive_of(PATHS, generation(PATHS, 0, parents=Parents(ideas=1)))
    with pytest.raises(BadInput, match="nothing to tune"):
        TpeIdeator(tools_of(ideas=tmp_path)).propose(brief_of(archive, 0))


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (["select=independent"], True),
        (["select=independent", "select.method.tells=true"], False),
        (["select=tpe"], False),
        (["select=thompson"], False),
    ],
)
def test_a_method_that_shows_no_outcomes_is_refused(settings: list[str], refused: bool) -> None:
    config = compose_config(["baseline=grpo", "scale=tiny", "ideate=tpe", *settings])
    with pytest.raises(BadInput, match="select=tpe") if refused else contextlib.nullcontext():
        check_parts(config)
