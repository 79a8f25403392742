"""`status --watch`: a live view of a run that can be scrolled and sorted, with the newest log of the selected candidate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Static

COLUMNS = ("candidate", "state", "value", "gain", "idea")
_EVERY_S = 2.0


@dataclass(frozen=True)
class Line:
    """One candidate."""

    name: str
    """For example `g0/c3`."""
    value: float | None
    """Larger is better; none without a score."""
    gain: float | None
    cells: tuple[str, ...]
    """Shown texts, in the order of `COLUMNS`."""


class Watch(App[None]):
    """The view, refreshed every two seconds. Texts of models are shown literally, never interpreted as mark-up."""

    CSS = """#head { height: auto; padding: 0 1; } DataTable { height: 2fr; }
    #detail { height: 1fr; border-top: solid gray; padding: 0 1; overflow-y: auto; }"""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort by the next column"),
        ("r", "reverse", "Reverse"),
    ]

    def __init__(self, read: Callable[[], tuple[str, Sequence[Line]]], detail: Callable[[str], str]) -> None:
        """`read` returns the head and the candidates, `detail` the text about a candidate by its name."""
        super().__init__()
        self._read, self._detail = read, detail
        self._by, self._down = 0, False
        self._table: DataTable[Text] = DataTable(id="table", cursor_type="row", zebra_stripes=True)
        self._shown = Static(id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """Head, table, detail."""
        yield Static(id="head", markup=False)
        yield self._table
        yield self._shown
        yield Footer()

    def on_mount(self) -> None:
        """Fill the table, and refresh it periodically."""
        self.table.add_columns(*COLUMNS)
        self.table.focus()
        self.refresh_run()
        self.set_interval(_EVERY_S, self.refresh_run)

    @property
    def table(self) -> "DataTable[Text]":
        """The table of candidates."""
        return self._table

    def refresh_run(self) -> None:
        """Read the run again; the cursor stays on its candidate."""
        head, found = self._read()
        self.query_one("#head", Static).update(head)
        chosen = self._chosen
        self.table.clear()
        for line in sorted(found, key=self._key, reverse=self._down):
            self.table.add_row(*map(Text, line.cells), key=line.name)
        if chosen is not None and chosen in self.table.rows:
            self.table.move_cursor(row=self.table.get_row_index(chosen))
        self._show_detail()

    @property
    def _chosen(self) -> str | None:
        if not self.table.row_count:
            return None
        return self.table.coordinate_to_cell_key(self.table.cursor_coordinate).row_key.value

    def _show_detail(self) -> None:
        chosen = self._chosen
        self._shown.update(self._detail(chosen) if chosen is not None else "")

    def _key(self, line: Line) -> tuple[bool, float, str]:
        """Sort key; lines without a number come last in either direction."""
        number = {2: line.value, 3: line.gain}.get(self._by, 0.0)
        missing = number is None
        text = "" if self._by in (2, 3) else line.cells[self._by]
        return missing is not self._down, number if number is not None else 0.0, text

    def on_data_table_row_highlighted(self) -> None:
        """Show the candidate under the moved cursor."""
        self._show_detail()

    def on_data_table_header_selected(self, event: "DataTable.HeaderSelected") -> None:
        """Sort by the clicked column; a second click reverses the order."""
        self._by, self._down = event.column_index, event.column_index == self._by and not self._down
        self.refresh_run()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._by, self._down = (self._by + 1) % len(COLUMNS), False
        self.refresh_run()

    def action_reverse(self) -> None:
        """Reverse the order."""
        self._down = not self._down
        self.refresh_run()
