"""The screen of `asynccore top`: keys, a table that fits, one channel's details; by `textual`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Input, Static

from . import top_rows
from .top_rows import Look, Row

# How many classes of handlers are shown: the slowest.
_CLASSES = 3


class Screen(App[None]):
    """Shows what `look()` returns, every `interval` seconds, until q or the program's end."""

    CSS = """
    Static { height: auto; }
    #head { text-style: bold; }
    #more { color: $text-muted; }
    #details { display: none; border: round $primary; }
    #filter { display: none; height: 1; border: none; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort"),
        ("slash", "filter", "Filter"),
        ("p", "pause", "Pause"),
        ("escape", "close", "Back"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, look: Callable[[], list[Look]], interval: float) -> None:
        super().__init__()
        self._look = look
        self._interval = interval
        self._looks: list[Look] = []
        self._before: dict[int, Look] = {}
        self._then = time.monotonic()
        self._rows: list[Row] = []
        self._columns: tuple[str, ...] = ()
        self._sorted_by = "in/s"
        self._filter = ""
        self._chosen: str | None = None  # the channel whose details are shown
        self._seconds = 0.0
        self.paused = False

    def compose(self) -> ComposeResult:
        """Give the parts, from top to bottom."""
        yield Static(id="head", markup=False)
        yield Static(id="classes")
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Static(id="details")
        yield Static(id="more", markup=False)
        yield Input(id="filter", placeholder="a part of class, state or address")
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(DataTable).focus()
        self.refresh_look()
        self.set_interval(self._interval, self.refresh_look)

    def refresh_look(self) -> None:
        """Look anew, on a thread, for a program may take its time to answer."""
        if not self.paused:
            self.run_worker(self._ask, thread=True, exclusive=True)

    def _ask(self) -> None:
        looks = self._look()
        self.call_from_thread(self._take, looks)

    def _take(self, looks: list[Look]) -> None:
        if not looks:
            self.exit()  # the program has ended, which is the normal end of watching it
            return
        now = time.monotonic()
        self._before = {look["pid"]: look for look in self._looks}
        self._seconds, self._then = now - self._then, now
        self._looks = looks
        self._rows = top_rows.rows(looks, self._before, self._seconds)
        self.show()

    def on_resize(self) -> None:
        """Show what fits now."""
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Draw all of it from the last look."""
        if not self._looks:
            return
        head = Text()
        for look in self._looks:
            who = f"worker {look['worker']}, " if look.get("worker") is not None else ""
            program = " ".join(look["program"])
            head.append(f"{who}process {look['pid']}: {program}\n"[: self.size.width])
            before = self._before.get(look["pid"])
            head.append(f"{top_rows.summary(look, before, self._seconds)}\n", style="not bold")
            for map in look["maps"]:
                if "stuck" in map:
                    head.append("the loop does not answer; it is at\n", style="red")
                    head.append("".join(f"  {where}\n" for where in map["stuck"][:3]))
                elif "error" in map:
                    head.append(f"no statistics: {map['error']}\n", style="red")
        head.rstrip()
        self.query_one("#head", Static).update(head)
        self._show_classes()
        self._show_table()
        self._show_details()

    def _show_classes(self) -> None:
        found = Text()
        for name, count, mean, longest in top_rows.classes(self._looks)[:_CLASSES]:
            line = f"{name}: {count} calls, {top_rows.duration(mean)} each, longest "
            found.append(line)
            slow = "bold red" if longest >= top_rows.SLOW else ""
            found.append(f"{top_rows.duration(longest)}\n", style=slow)
        found.rstrip()
        self.query_one("#classes", Static).update(found)

    def _show_table(self) -> None:
        table = self.query_one(DataTable)
        workers = len(self._looks) > 1
        columns = top_rows.columns(self.size.width, workers)
        if columns != self._columns:
            self._columns = columns
            table.clear(columns=True)
            for name in columns:
                table.add_column(name, key=name)
        at = table.cursor_row
        table.clear()
        shown = top_rows.order(self._rows, self._sorted_by, self._filter)
        for row in shown:
            cells = [
                Text(row.cell(name), justify="left" if name in top_rows.WORDS else "right")
                for name in columns
            ]
            table.add_row(*cells, key=row.key)
        table.move_cursor(row=min(at, max(0, len(shown) - 1)))
        # How many rows there is room for is known when the parts have their places.
        self.call_after_refresh(self._show_more, len(shown))

    def _show_more(self, rows: int) -> None:
        words = [f"sorted by {self._sorted_by}"]
        if self._filter:
            words.append(f"with {self._filter!r}")
        if self.paused:
            words.append("paused")
        room = max(0, self.query_one(DataTable).size.height - 1)
        if rows > room:
            words.insert(0, f"{rows - room} more")
        self.query_one("#more", Static).update(" · ".join(words))

    def _show_details(self) -> None:
        panel = self.query_one("#details", Static)
        row = next((row for row in self._rows if row.key == self._chosen), None)
        panel.display = row is not None
        if row is not None:
            panel.update(Text("\n".join(f"{n:14} {text}" for n, text in top_rows.details(row))))

    # -- keys -----------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """Sort by the next column."""
        at = self._columns.index(self._sorted_by) if self._sorted_by in self._columns else -1
        self._sorted_by = self._columns[(at + 1) % len(self._columns)]
        self.show()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self.show()

    def action_filter(self) -> None:
        """Ask for a text that the channels must have."""
        field = self.query_one(Input)
        field.display = True
        field.focus()

    def action_close(self) -> None:
        """Close what is open."""
        self._chosen = None
        self.query_one(Input).display = False
        self.query_one(DataTable).focus()
        self.show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        self._filter = event.value
        self.show()

    def on_input_submitted(self) -> None:
        """Go back to the table."""
        self.action_close()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show the channel's details."""
        self._chosen = event.row_key.value
        self.show()
