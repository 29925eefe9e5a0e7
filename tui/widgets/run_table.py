"""The table of runs."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import ClassVar, Self

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.widgets import DataTable

from core.runs.status import RunSummary, Status
from tui.actions import bindings
from tui.themes import STATUS_COLORS, theme_style
from tui.widgets.run_columns import COLUMNS, fitting_columns

ORDERS = ("start", "last update", "name", "status", "loss")
WIDE = 100  # screen width from which texts are not shortened
MARK = "◆ "


class RunTable(DataTable[Text]):
    """Displays the runs that match a filter, in an order; posts the messages of `DataTable`.

    Rows keep their positions while values change, and the cursor stays on its run when runs are added or removed.

    Attributes:
        marked: Paths of the marked runs, in the order they were marked.
        filter: Words that a run must contain in its name, status, preset or dataset.
        order: One of `ORDERS`.
    """

    DEFAULT_CSS = """
    RunTable { background: $background; scrollbar-size-vertical: 1; scrollbar-background: $background; }
    RunTable:focus { background-tint: $foreground 0%; }
    RunTable > .datatable--header { background: $background; color: $foreground 50%; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
        *bindings("table"),
    ]

    _writing_cell = False

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, header_height=1)
        self.marked: dict[str, None] = {}  # an ordered set
        self.filter = ""
        self.order = ORDERS[0]
        self._all: list[RunSummary] = []
        self._positions: dict[str, int] = {}  # by path; empty if rows are to be sorted
        self._runs: dict[str, RunSummary] = {}  # those shown, by path
        self._texts: dict[str, tuple[str, ...]] = {}  # texts of their cells, by path
        self._cached: dict[str, tuple[RunSummary, bool, list[str]]] = {}  # texts of all columns except the last
        self._widths: dict[str, int] = {}  # of the shown columns
        self._arranged_for = (0, False)  # available width, and whether texts are not shortened
        self._theme = ""  # the theme the cells were styled with

    @property
    def highlighted(self) -> RunSummary | None:
        """The run under the cursor; None in an empty table."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return self._runs.get(key or "")

    def highlight(self, name: str) -> bool:
        """Move the cursor to the run named `name`; returns whether it is shown."""
        row = next((row for row, run in enumerate(self._runs.values()) if run.name == name), None)
        if row is not None:
            self.move_cursor(row=row)
        return row is not None

    def update_runs(self, runs: list[RunSummary]) -> None:
        """Show the runs that match the filter; only cells that changed are updated.

        Rows are sorted if runs were added or removed, or after `reset_order`.
        """
        same = len(runs) == len(self._all) and all(map(operator.is_, runs, self._all))
        self._all = runs
        self._cached = {run.path: self._cached[run.path] for run in runs if run.path in self._cached}
        if same and self._positions:
            self._refresh_ages()
            return
        paths = {run.path for run in runs}
        self.marked = {path: None for path in self.marked if path in paths}
        if self._positions.keys() != paths:
            self.reset_order()
        self._arrange()

    def set_status(self, path: str, status: Status) -> None:
        """Change the status of the run at `path`, until the next update."""
        self._all = [dataclasses.replace(run, status=status) if run.path == path else run for run in self._all]
        self._arrange()

    def set_filter(self, text: str) -> None:
        """Show only runs whose name, status, preset or dataset contain each word of `text`."""
        self.filter = text
        self._arrange()

    def cycle_order(self) -> str:
        """Switch to the next of `ORDERS` and return it."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.reset_order()
        self._arrange()
        return self.order

    def reset_order(self) -> None:
        """Sort the rows by their current values on the next update."""
        self._positions = {}

    def toggle_mark(self) -> None:
        """Mark or unmark the run under the cursor, and move to the next."""
        run = self.highlighted
        if run is not None:
            if run.path in self.marked:
                del self.marked[run.path]
            else:
                self.marked[run.path] = None
            self._arrange()
            self.action_cursor_down()

    def mark(self, names: Sequence[str]) -> list[str]:
        """Mark the runs of these names, in this order, and no others. Returns the names that are not in the list."""
        paths = {run.name: run.path for run in self._all}
        marked = [paths[name] for name in names if name in paths]
        if marked != list(self.marked):
            self.marked = dict.fromkeys(marked)
            self._arrange()
        return [name for name in names if name not in paths]

    def _sorted(self) -> list[RunSummary]:
        """Return all runs by position; assigns positions if there are none."""
        if not self._positions:
            runs = sorted(self._all, key=lambda run: _rank(run, self.order))
            self._positions = {run.path: position for position, run in enumerate(runs)}
        return sorted(self._all, key=lambda run: self._positions[run.path])

    def _arrange(self) -> None:
        self._arranged_for = self._available, self.app.size.width >= WIDE
        words = self.filter.lower().split()
        runs = [run for run in self._sorted() if all(word in _search_text(run) for word in words)]
        shown = {run.path: run for run in runs}
        rows = {run.path: self._text(run) for run in runs}
        columns, widths = self._choose_columns(list(rows.values()))
        indices = [index for index, column in enumerate(COLUMNS) if column in columns]
        texts = {path: tuple(row[index] for index in indices) for path, row in rows.items()}
        if list(shown) == list(self._runs) and self._fits(widths):
            for path, text in texts.items():
                for column, old, new in zip(columns, self._texts[path], text, strict=True):
                    if old != new:
                        self._write_cell(path, column, self._cell(shown[path], column, new))
            self._runs, self._texts = shown, texts
            return
        highlighted, row = self.highlighted, self.cursor_row
        self._runs, self._texts, self._widths, self._theme = shown, texts, widths, self.app.theme
        self.clear(columns=True)
        for column in columns:
            self.add_column(column, key=column, width=widths[column])
        for run in runs:
            cells = map(self._cell, (run,) * len(columns), columns, texts[run.path])
            self.add_row(*cells, key=run.path)
        if highlighted is not None and highlighted.path in shown:
            row = list(shown).index(highlighted.path)
        self.move_cursor(row=min(row, max(0, len(runs) - 1)))

    def _fits(self, widths: dict[str, int]) -> bool:
        """Whether columns of these widths fit into the current ones."""
        same_columns = widths.keys() == self._widths.keys()
        return same_columns and all(width <= self._widths[column] for column, width in widths.items())

    def _choose_columns(self, rows: list[list[str]]) -> tuple[tuple[str, ...], dict[str, int]]:
        """The columns that fit, and their widths."""
        lengths = {
            column: max((cell_len(row[index]) for row in rows), default=0) for index, column in enumerate(COLUMNS)
        }
        widths = {column: max(length, cell_len(column)) if length else 0 for column, length in lengths.items()}
        columns = fitting_columns(widths, self._available, 2 * self.cell_padding)
        return columns, {column: widths[column] or cell_len(column) for column in columns}

    @property
    def _available(self) -> int:
        """Cells of a row, without a scrollbar; estimated before the first layout."""
        width = self.app.size.width
        return (self.container_size.width or (width * 3 // 5 if self.screen.has_class("-beside") else width)) - 1

    def _text(self, run: RunSummary) -> list[str]:
        """The texts of all columns."""
        wide = self.app.size.width >= WIDE
        cached = self._cached.get(run.path)
        if cached is None or cached[0] is not run or cached[1] != wide:
            texts = [column.text(run, wide) for name, column in COLUMNS.items() if name != "when"]
            cached = self._cached[run.path] = run, wide, texts
        name, *rest = cached[2]
        mark = "" if not self.marked else MARK if run.path in self.marked else " " * len(MARK)
        return [mark + name, *rest, COLUMNS["when"].text(run, wide)]

    def _refresh_ages(self) -> None:
        """Update the ages of the visible runs."""
        if "when" not in self._widths:
            return
        wide, column = self.app.size.width >= WIDE, len(self._widths) - 1
        paths = list(self._runs)
        first = max(0, self.scroll_offset.y)
        for path in paths[first : first + self.size.height]:
            text = self._texts[path]
            age = COLUMNS["when"].text(self._runs[path], wide)
            if age != text[column] and len(age) <= self._widths["when"]:
                self._texts[path] = (*text[:column], age)
                self._write_cell(path, "when", self._cell(self._runs[path], "when", age))
            elif age != text[column]:
                self._arrange()  # makes the column wider
                return

    def _write_cell(self, path: str, column: str, cell: Text) -> None:
        """Update one cell and refresh only its region; `update_cell` refreshes the whole table."""
        self._writing_cell = True
        self.update_cell(path, column, cell)
        self._writing_cell = False
        self.refresh_coordinate(self.get_cell_coordinate(path, column))

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Refresh the table or regions of it, unless a single cell is being written."""
        if self._writing_cell:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _cell(self, run: RunSummary, column: str, text: str) -> Text:
        variables = self.app.theme_variables
        match column:
            case "name":
                cell = Text(text, style="bold")
                if self.marked:
                    cell.stylize(theme_style(variables, "accent"), 0, len(MARK))
                return cell
            case "status":
                return Text(text, style=theme_style(variables, STATUS_COLORS[run.status]))
            case "when":
                return Text(text, style=theme_style(variables, "muted"))
            case _:
                return Text(text, justify="right" if COLUMNS[column].is_number else "left")

    def on_resize(self) -> None:
        if self._arranged_for != (self._available, self.app.size.width >= WIDE):
            self._arrange()

    def notify_style_update(self) -> None:
        """Restyle the cells if the theme changed; focus changes also update styles but affect no cell."""
        super().notify_style_update()
        if self.is_mounted and self._widths and self._theme != self.app.theme:
            self._widths = {}  # forces all cells to be rewritten
            self._arrange()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable `select_cursor` in an empty table."""
        return self.row_count > 0 if action == "select_cursor" else super().check_action(action, parameters)


def _search_text(run: RunSummary) -> str:
    return " ".join(map(str, (run.name, run.status, run.preset or "", run.dataset or ""))).lower()


def _rank(run: RunSummary, order: str) -> tuple[float, str]:
    match order:
        case "status":
            return list(Status).index(run.status), run.name
        case "loss":
            return math.inf if run.loss is None or math.isnan(run.loss) else run.loss, run.name
        case "name":
            return 0.0, run.name
        case _:  # newest first
            moment = run.created if order == "start" else run.updated
            return -(moment or 0.0), run.name
