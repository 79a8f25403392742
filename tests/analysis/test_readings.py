"""Derived values, with numbers worked by hand."""

import pandas as pd
import pytest

from analysis.columns import CANDIDATES, JOBS, table
from analysis.readings import (
    NodeJobs,
    completion,
    failures,
    funnel,
    lineage,
    narrowing,
    node_jobs,
    saturation,
    slots,
    steps,
    utilisation,
    yields,
)
from pipeline.metric import Direction, Metric

LOSS = Metric("loss", Direction.minimize)
ACCURACY = Metric("accuracy", Direction.maximize)


def candidates(*rows: dict[str, object]) -> pd.DataFrame:
    """Candidates with an id and an outcome, in the order of their rows."""
    made = []
    for number, row in enumerate(rows):
        state = "scored" if "value" in row else "failed" if "kind" in row else "queued"
        order = None if state == "queued" else number + 1
        plain = {"candidate": f"c{number}", "generation": 0, "order": order, "parents": [], "device_h": 1.0, "mark": ""}
        made.append({**plain, "search_h": 1.0, "title": "", "text": "", "state": state, **row})
    return table(made, CANDIDATES)


def test_the_best_so_far_in_either_direction() -> None:
    rows = [{"value": 3.0}, {"kind": "nan", "stage": "train"}, {"value": 2.0}, {"value": 2.5}, {"value": 1.0}]
    found = steps(candidates(*rows), LOSS)
    assert [(one.candidate, one.outcome, one.device_h) for one in found] == [("c0", 1, 1), ("c2", 3, 3), ("c4", 5, 5)]
    assert [one.candidate for one in steps(candidates(*rows), ACCURACY)] == ["c0"]


def test_a_banned_candidate_is_never_the_best() -> None:
    rows = candidates({"value": 3.0}, {"value": 1.0, "mark": "banned"}, {"value": 2.0})
    assert [one.candidate for one in steps(rows, LOSS)] == ["c0", "c2"]


@pytest.mark.parametrize(
    ("values", "last", "rising"),
    [((1, 2, 3), 3, True), ((3, 2, 1), 1, False), ((1, 2, 2), 2, False), ((), None, False)],
)
def test_saturation(values: tuple[float, ...], last: int | None, rising: bool) -> None:
    found = saturation(candidates(*({"value": float(value)} for value in values)), ACCURACY)
    assert (found.candidates, found.last, found.rising) == (len(values), last, rising)


def test_jobs_by_node_leave_out_those_that_have_not_ended() -> None:
    ended = [("n2", "scored"), ("n1", "nan"), ("n2", "node"), ("n2", "scored"), ("n1", None), (None, "lost")]
    jobs = table([{"host": host, "ended": how} for host, how in ended], JOBS)
    assert node_jobs(jobs) == [NodeJobs("n1", 0, 1), NodeJobs("n2", 2, 1)]
    assert node_jobs(jobs[:0]) == []


def test_the_funnel_counts_all_candidates_that_reached_a_stage() -> None:
    table_ = candidates(
        {"kind": "refused", "stage": "implement"},
        {"kind": "smoke", "stage": "implement"},
        {"kind": "nan", "stage": "train"},
        {"kind": "bad_checkpoint", "stage": "evaluate"},
        {"value": 1.0, "gain": 0.1, "gain_error": 0.2},
        {"value": 1.0, "gain": 0.5, "gain_error": 0.2, "generation": 1},
        {"generation": 1},
    )
    assert funnel(table_, "generation").to_numpy().tolist() == [[5, 4, 3, 2, 1, 0], [2, 2, 2, 1, 1, 1]]
    assert completion(table_) == (2, 6)
    assert set(zip(failures(table_)["kind"], failures(table_)["count"], strict=True)) == {
        *(("refused", 1), ("smoke", 1), ("nan", 1), ("bad_checkpoint", 1)),
    }


def test_yields() -> None:
    table_ = candidates(
        {"origin": "explore", "value": 0.5, "gain": 0.1, "gain_error": 0.01},
        {"origin": "explore", "kind": "nan", "stage": "train"},
        {"origin": "exploit", "value": 0.4, "gain": -0.2, "gain_error": 0.01, "parents": ["c0"], "device_h": 0.5},
        {"origin": "exploit", "value": 0.7, "gain": 0.4, "gain_error": 0.3, "parents": ["c0"], "usd": 0.25},
    )
    exploit, explore = yields(table_, table_["origin"], ACCURACY)
    assert (exploit.proposed, exploit.scored, exploit.better, exploit.best, exploit.best_gain) == (2, 2, 0, "c3", 0.4)
    assert exploit.median_gain == pytest.approx(0.1)
    assert (exploit.parents, exploit.usd, exploit.device_h) == (0, 0.25, 1.5)
    assert (explore.proposed, explore.scored, explore.better, explore.best) == (2, 1, 1, "c0")
    assert (explore.parents, explore.usd) == (1, None)


def test_narrowing() -> None:
    """Words: {raise, learning, rate} twice and {clip, the, slope}; pairs share 1, 0 and 0 of their words."""
    table_ = candidates(
        {"title": "Raise learning rate", "syntax": "x"},
        {"title": "raise learning-rate", "syntax": "x"},
        {"title": "Clip the slope", "syntax": "y"},
    )
    (found,) = narrowing(table_)
    assert (found.ideas, found.distinct_code, found.commonest) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.similarity == pytest.approx(1 / 3)


def test_slots() -> None:
    """Two jobs, running from 0 to 10 and from 5 to 10: 15 of 20 slot seconds."""
    jobs = table([{"started_at": 0.0, "ended_at": 10.0}, {"started_at": 5.0, "ended_at": 10.0}, {"job_id": "1"}], JOBS)
    assert slots(jobs).to_numpy().tolist() == [[0, 1], [5, 2], [10, 0]]
    assert utilisation(jobs, 2) == pytest.approx(0.75)
    assert utilisation(jobs.head(0), 2) is None


def test_lineage_ends_at_the_baseline_once() -> None:
    table_ = candidates({}, {"parents": ["c0"]}, {"parents": ["c1", "c0"]})
    assert lineage(table_, ["c2"]) == [("c2", "c1"), ("c2", "c0"), ("c1", "c0"), ("c0", "baseline")]


def test_an_empty_run() -> None:
    empty = candidates()
    assert (completion(empty), steps(empty, LOSS), narrowing(empty), len(failures(empty))) == ((0, 0), [], [], 0)
    assert funnel(empty, "generation").empty and yields(empty, [], LOSS) == []
