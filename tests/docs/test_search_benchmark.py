"""The tables of the search benchmark in the documentation, against the recorded results and the code of today."""

import itertools
from dataclasses import replace

import pytest

from tests.benchmarks.search import CONDITIONS, RESULTS, SEEDS, Row, Search, methods_for, rows_of, tables
from tests.benchmarks.spaces import SPACES
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/reference/benchmarks.md"
SHORTEST = min(CONDITIONS, key=lambda one: one.executions)
CHECKED = 100
"""Executions of a search that are run again."""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(RESULTS)


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_page_shows_the_recorded_results() -> None:
    section = PAGE.read_text().partition("\n## Search\n")[2]
    made = table_lines("\n".join(tables(RESULTS)))
    assert table_lines(section)[-len(made) :] == made


def test_all_searches_were_run(rows: list[Row]) -> None:
    wanted = {
        (setting, method, seed)
        for condition, space, seed in itertools.product(CONDITIONS, SPACES, SEEDS)
        for setting in (replace(condition, space=space),)
        for method in methods_for(setting)
    }
    assert {(row.setting, row.method, row.seed) for row in rows} == wanted and len(rows) == len(wanted)


@pytest.mark.parametrize("space", SPACES)
def test_the_methods_of_today_give_the_recorded_results(space: str, rows: list[Row]) -> None:
    setting = replace(SHORTEST, space=space)
    recorded = {row.method: row.curve for row in rows if (row.setting, row.seed) == (setting, SEEDS[0])}
    for method in [one for one in methods_for(setting) if one != "tpe"]:  # it depends on the version of Optuna
        curve = itertools.takewhile(lambda point: point[0] <= CHECKED, Search(method, setting, SEEDS[0]).run())
        expected = {at: gain for at, gain in recorded[method].items() if at <= CHECKED}
        assert dict(curve) == pytest.approx(expected, abs=0.01), method
