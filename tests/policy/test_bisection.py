"""The time in which a code reaches a target: the next budget to try, and a whole measurement on the toy baseline."""

import json

import pytest

from pipeline.config import Clock, TrainConfig
from pipeline.policy.bisection import Look, next_budget
from pipeline.records import Purpose
from tests.toy import Bench, Done

STEPS = TrainConfig(clock=Clock.steps, budget_steps=60)
WALL = TrainConfig(clock=Clock.wall, budget_min=25)


@pytest.mark.parametrize(
    ("train", "seen", "most", "wanted"),
    [
        pytest.param(STEPS, {60: False}, 5, None, id="the whole budget misses the target"),
        pytest.param(STEPS, {60: True}, 5, 30, id="half of the whole"),
        pytest.param(STEPS, {60: True, 30: False}, 5, 45, id="between missed and reached"),
        pytest.param(STEPS, {60: True, 30: False, 45: True}, 5, 38, id="whole steps"),
        pytest.param(STEPS, {60: True, 30: True, 15: False, 22: True}, 5, 18, id="below the budget that reached it"),
        pytest.param(STEPS, {60: True, 30: False, 45: False, 15: True}, 5, 8, id="the smallest that reached it counts"),
        pytest.param(STEPS, {60: True, 59: False}, 5, None, id="no step lies between"),
        pytest.param(STEPS, {60: True, 1: True}, 5, None, id="a budget without a step is impossible"),
        pytest.param(STEPS, {60: True, 30: False, 45: True}, 2, None, id="after the maximal number of looks"),
        pytest.param(WALL, {25: True, 12.5: False}, 5, 18.75, id="minutes need not be whole"),
    ],
)
def test_the_next_budget(train: TrainConfig, seen: dict[float, bool], most: int, wanted: float | None) -> None:
    looks = [Look(budget, reached, 1.0) for budget, reached in seen.items()]
    assert next_budget(train, looks, most) == wanted


def measured(bench: Bench, *more: str) -> Done:
    given = (
        *("ideate.candidates=0", "select.elites=0", "measure.codes=scored", "measure.target=0.5"),
        *("select.baseline_seeds=1", "cluster.poll_s=0.1"),
    )
    return bench.run("times", *given, *more)


def test_a_candidate_and_the_baseline_are_timed(bench: Bench) -> None:
    few = ("select.baseline_seeds=1", "select.elites=1", "select.elite_seeds=1", "stop.generations=1")
    bench.run("r", *few, "ideate.candidates=3", "cluster.poll_s=0.1").ok()
    titles = {one.idea.title: one for one in bench.archive("r").candidates}
    seed = f"ideate.seeds=[{titles['Momentum'].paths.folder}]"
    shown = measured(bench, seed).ok().out
    assert "time to squared error 0.5000" in shown and "not reached" in shown and "Momentum" in shown
    assert "trained again" not in shown and "test split" not in shown
    archive = bench.archive("times")
    assert archive.report is not None
    ours, theirs = archive.report.times
    assert (ours.candidate, ours.budget, ours.short, ours.trainings) == ("baseline", None, 60, 1)
    (momentum,) = archive.candidates
    attempt = momentum.attempt
    assert attempt is not None and momentum.score is not None  # no comparison uses a look as a trial
    looks = attempt.of(Purpose.LOOK)
    assert len(attempt.trials) == 1 + len(looks)
    budgets = [look.tries[0].job.budget for look in looks]
    assert budgets[0] == 30 and len(set(budgets)) == 5 and theirs.trainings == 6
    steps = {}
    for look in looks:
        lines = look.tries[0].paths.metrics.read_text().splitlines()
        assert json.loads(lines[-1])["step"] == look.tries[0].job.budget  # this is the budget that the training got
        assert look.score is not None and not look.tries[0].paths.checkpoint.exists()  # it is not requested again
        steps[look.tries[0].job.budget] = look.score.value
    assert theirs.budget is not None and theirs.train_s is not None and theirs.train_s > 0
    assert steps[theirs.budget] <= 0.5 < steps[theirs.short] and theirs.budget - theirs.short <= 2
    before = archive.report
    measured(bench, seed).ok()
    assert bench.archive("times").report == before
    another = f"ideate.seeds=[{titles['Larger batch'].paths.folder}]"
    measured(bench, another).ok()  # added later, and timed like the others
    after = bench.archive("times").report
    assert after is not None and after.times[:2] == before.times and len(after.times) == 3


def test_the_baseline_alone(bench: Bench) -> None:
    measured(bench, "measure.target=1.5", "measure.trainings=2").ok()
    report = bench.archive("times").report
    assert report is not None and report.candidates == 0
    (ours,) = report.times
    assert ours.trainings == 3 and ours.budget is not None and ours.budget < 60
