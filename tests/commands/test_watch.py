"""The interactive terminal: rows, sorting, the log of the chosen candidate, by keyboard and mouse."""

import asyncio
from pathlib import Path

from textual.widgets import DataTable, Static

from pipeline.commands.watch import Line, Watch
from tests.toy import program

ROWS = [
    Line("g0/c0", 0.5, 0.1, ("g0/c0", "scored", "0.5", "+0.1", "Momentum")),
    Line("g0/c1", None, None, ("g0/c1", "nan", "", "", "[red]not mark-up[/red]")),
    Line("g0/c2", 0.7, 0.3, ("g0/c2", "scored", "0.7", "+0.3", "Clip")),
]


def test_it_sorts_follows_and_shows_the_log() -> None:
    found = list(ROWS)

    async def use() -> None:
        app = Watch(lambda: ("a run, [b]going on[/b]", found), lambda name: f"log of {name}")
        async with app.run_test() as pilot:
            table = app.query_one("#table", DataTable)

            def names() -> list[str]:
                return [str(table.get_row_at(row)[0]) for row in range(table.row_count)]

            def detail() -> str:
                return str(app.query_one("#detail", Static).render())

            assert names() == ["g0/c0", "g0/c1", "g0/c2"] and detail() == "log of g0/c0"
            assert "[b]going on[/b]" in str(app.query_one("#head", Static).render())
            await pilot.press("down")
            assert detail() == "log of g0/c1"
            assert table.get_row_at(1)[4].plain == "[red]not mark-up[/red]"
            await pilot.press("s", "s", "r")  # by value, the largest first; those without a value last
            assert names() == ["g0/c2", "g0/c0", "g0/c1"] and detail() == "log of g0/c1"
            await pilot.press("r")
            assert names() == ["g0/c0", "g0/c2", "g0/c1"]
            found.append(Line("g0/c3", 0.6, 0.2, ("g0/c3", "scored", "0.6", "+0.2", "New")))
            app.refresh_run()
            assert names() == ["g0/c0", "g0/c3", "g0/c2", "g0/c1"] and detail() == "log of g0/c1"
            found.clear()
            app.refresh_run()
            assert names() == [] and detail() == ""

    asyncio.run(use())


def test_it_is_plain_without_a_terminal() -> None:
    recorded = Path(__file__).resolve().parents[1] / "analysis/recorded"
    assert program("status", str(recorded), "--watch").ok().out == program("status", str(recorded)).ok().out
