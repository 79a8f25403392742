"""When a training is stopped because of its own metrics, and whether a variant can influence that."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import BaselineConfig, CurveConfig, TrainConfig
from pipeline.job.early_stop import EarlyStop, curve_of, is_hopeless
from pipeline.metric import Direction
from tests.archives import config_of

DOWN: list[list[tuple[float, float]]] = [
    [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)],
    [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)],
    [(1, 4.5), (2, 3.5), (3, 2.5)],
]


@pytest.mark.parametrize(
    ("own", "stopped"),
    [
        pytest.param([], False, id="nothing logged"),
        pytest.param([(4, 2.0)], False, id="from 3 to 4 the baseline's means are 1.5, 2.5 and 2.5"),
        pytest.param([(4, 2.5)], False, id="equal to the worst is not worse"),
        pytest.param([(4, 2.6)], True, id="worse than each"),
        pytest.param([(3, 2.4), (4, 2.8)], True, id="the mean counts, 2.6"),
        pytest.param([(1, 99.0), (4, 2.4)], False, id="only the last quarter counts"),
        pytest.param([(0.5, 99.0)], False, id="before the baseline's first point"),
        pytest.param([(100, 99.0)], False, id="after the baseline's last point"),
        pytest.param([(-4, 99.0)], False, id="a place that does not exist"),
    ],
)
def test_the_rule_in_both_directions(own: list[tuple[float, float]], stopped: bool) -> None:
    assert bool(is_hopeless(own, DOWN, Direction.minimize)) is stopped
    curves: list[list[tuple[float, float]]] = [own, *DOWN]
    up = [[(at, -value) for at, value in curve] for curve in curves]
    assert bool(is_hopeless(up[0], up[1:], Direction.maximize)) is stopped


def test_without_a_baseline_nothing_is_stopped() -> None:
    assert not is_hopeless([(1, 99.0)], [], Direction.minimize) and not is_hopeless(
        [(1, 9.0)], [[]], Direction.minimize
    )


@given(st.lists(st.floats(0, 9), min_size=1), st.lists(st.floats(0, 9), min_size=1), st.floats(0, 9))
def test_a_better_value_never_causes_a_stop(own: list[float], baseline: list[float], better: float) -> None:
    curve, reference = list(enumerate(own)), list(enumerate(baseline))
    if not is_hopeless(curve, [reference], Direction.minimize):
        curve[0] = (0, min(own[0], better))
        assert not is_hopeless(curve, [reference], Direction.minimize)


def test_values_that_are_not_numbers_are_left_out() -> None:
    lines = [
        '{"step": 1, "loss": 2.5}', "", "{", "[1]", "null", '{"step": 2}', '{"step": 3, "loss": NaN}', "[" * 100_000,
        '{"step": 4, "loss": "1"}', f'{{"step": 5, "loss": {"9" * 400}}}', f'{{"step": 5, "loss": {"9" * 5000}}}',
        '{"step": 6, "loss": 1, "more": {}}',
    ]  # fmt: skip
    assert list(curve_of(lines, "loss", "step")) == [(1.0, 2.5), (6.0, 1.0)]


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EarlyStop:
    monkeypatch.setattr("pipeline.job.early_stop._LONGEST_LOOK_S", 0.0)
    config = config_of(train=TrainConfig(budget_steps=100, early_stop=0.5))
    baseline = BaselineConfig(metric=config.baseline.metric, curve=CurveConfig("loss", Direction.minimize))
    config.baseline = baseline
    return EarlyStop(tmp_path / "metrics.jsonl", lambda: [[(step, 1.0) for step in range(101)]], config)


def log(follow: EarlyStop, *rows: object) -> bool:
    with follow.metrics.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return follow.hopeless()


def test_it_follows_a_file_and_waits_for_its_share_of_the_budget(follow: EarlyStop) -> None:
    assert not follow.hopeless()  # no file yet
    assert not log(follow, {"step": 10, "loss": 2.0}, {"step": 49, "loss": 2.0})
    assert log(follow, {"step": 50, "loss": 2.0})
    assert follow.reason == "had a mean of 2 from 37.5 to 50, where the worst training of the baseline had 1"


def test_a_half_written_line_is_read_once_complete(follow: EarlyStop) -> None:
    follow.metrics.write_text('{"step": 60, "lo')
    assert not follow.hopeless()
    with follow.metrics.open("a") as file:
        file.write('ss": 2.0}\n')
    assert follow.hopeless()


def test_a_resumed_training_is_read_again_from_the_start(follow: EarlyStop) -> None:
    assert not log(follow, *({"step": step, "loss": 2.0} for step in range(50)))
    follow.metrics.write_text('{"step": 1, "loss": 0.5}\n')
    assert not follow.hopeless()
    assert not log(follow, {"step": 50, "loss": 0.5})  # with the earlier lines, the mean would be worse


def test_a_link_or_a_pipe_in_its_place_is_not_followed(follow: EarlyStop, tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"step": 60, "loss": 2.0}\n')
    follow.metrics.symlink_to(tmp_path / "other")
    assert not follow.hopeless()
