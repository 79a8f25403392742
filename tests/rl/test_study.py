"""The study of objectives still runs: one arm for one seed and a few steps, and the table of its results."""

import json

import pytest

from pipeline.rl.tiny import make_policy, supervise
from tests.benchmarks.rl.study import ARMS, EARLY, GROUP, result, run, table_lines
from tests.benchmarks.rl.world import Table

NAME = "max_at_k + penalty"


def test_an_arm_runs_and_has_a_row() -> None:
    table = Table.read()
    policy = make_policy(table.words(), 0, width=32, layers=1)
    supervise(policy, table.words(), steps=100, seed=0, batch=32)
    steps = run(ARMS[NAME], 0, EARLY + 1, policy, table)
    assert all(0 <= one["mean"] <= one["best"] <= one["found"] < 1 and 1 <= one["distinct"] <= GROUP for one in steps)
    assert steps[-1]["found"] == max(one["best"] for one in steps) > 0
    found = result(NAME, 0, steps)
    assert json.loads(json.dumps(found)) == found
    head, _, row = table_lines([found])
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:2] == [NAME, "1"] and len(cells) == len(head.split("|")) - 2
    assert cells[4] == cells[5] == f"{steps[-1]['found']:.3f}"  # by the early step, which is the last one here
    assert cells[8:] == ["–", "–"]  # no other arm to compare with


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        pytest.param((0.25,), "25 %", id="one seed"),
        pytest.param((0.2, 0.3), "25 ± 64 %", id="two"),
        pytest.param((0.2, 0.25, 0.3), "25 ± 12 %", id="three"),
    ],
)
def test_distinct_and_commonest_have_intervals(shares: tuple[float, ...], wanted: str) -> None:
    end = {"mean": 0.5, "best": 0.6, "distinct": 64.0, "found": 0.7}
    curves = {"found": [0.5, 0.6]}
    lines = [{"arm": NAME, "seed": n, "end": {**end, "share": one}, "curves": curves} for n, one in enumerate(shares)]
    row = [*table_lines(lines)][-1].split("|")
    assert row[8].strip() == wanted
    assert row[7].strip() == ("64" if len(shares) == 1 else "64 ± 0")
