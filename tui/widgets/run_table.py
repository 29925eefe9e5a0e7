"""The table of runs: one row a run, kept in place while its values change."""

from __future__ import annotations

import math
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from core.runs import RunSummary, Status
from tui.actions import bindings
from tui.themes import STATUS_COLORS, theme_style
from tui.widgets.run_monitor import ago

ORDERS = ("recent", "name", "status", "loss")
ROOMY = 100  # columns from which on every column has room, and
NARROW = 80  # below which only the most telling have


class RunTable(DataTable[Text]):
    """Shows summaries, those that `filter` fits, in an order; the cursor stays on its run when others come and go."""

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

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, header_height=1)
        self.marked: dict[str, None] = {}  # paths of the runs marked, in the order of their marking
        self.filter = ""
        self.order = ORDERS[0]
        self._all: list[RunSummary] = []
        self._runs: dict[str, RunSummary] = {}  # those shown
        self._columns_shown: tuple[str, ...] = ()

    @property
    def highlighted(self) -> RunSummary | None:
        """The run under the cursor, None in an empty table."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return self._runs.get(key or "")

    def show(self, runs: list[RunSummary]) -> None:
        """Make the rows those of `runs` that the filter fits; only cells that changed are written."""
        self._all = runs
        there = {run.path for run in runs}
        self.marked = {path: None for path in self.marked if path in there}
        self._arrange()

    def narrow(self, text: str) -> None:
        """Show only runs whose name, status, recipe or data hold each word of `text`."""
        self.filter = text
        self._arrange()

    def sort_next(self) -> str:
        """Take the next of `ORDERS`, and return it."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._arrange()
        return self.order

    def mark(self) -> None:
        """Mark the run under the cursor, or take its mark away, and go to the next."""
        run = self.highlighted
        if run is not None:
            if run.path in self.marked:
                del self.marked[run.path]
            else:
                self.marked[run.path] = None
            self._arrange()
            self.action_cursor_down()

    def _arrange(self) -> None:
        words = self.filter.lower().split()
        runs = [run for run in self._all if all(word in _searched(run) for word in words)]
        if self.order != "recent":
            runs.sort(key=lambda run: _rank(run, self.order))
        shown = {run.path: run for run in runs}
        roomy = self.app.size.width >= ROOMY
        columns = _columns(self.app.size.width)
        same = list(shown) == list(self._runs) and columns == self._columns_shown
        before, at = self.highlighted, self.cursor_row
        self._runs = shown
        if same:
            for run in runs:
                for column in columns:
                    cell = self._cell(run, column, roomy=roomy)
                    if self.get_cell(run.path, column) != cell:
                        self.update_cell(run.path, column, cell, update_width=True)
            return
        self.clear(columns=True)
        self._columns_shown = columns
        for column in columns:
            self.add_column(column, key=column)
        for run in runs:
            self.add_row(*(self._cell(run, column, roomy=roomy) for column in columns), key=run.path)
        if before is not None and before.path in shown:
            at = list(shown).index(before.path)
        self.move_cursor(row=min(at, max(0, len(runs) - 1)))

    def _cell(self, run: RunSummary, column: str, *, roomy: bool) -> Text:
        variables = self.app.theme_variables
        cell = _cell(run, column, roomy=roomy)
        if column == "status":
            cell.stylize(theme_style(variables, STATUS_COLORS[run.status]))
        elif column == "when":
            cell.stylize(theme_style(variables, "muted"))
        elif column == "name" and self.marked:
            mark = "◆ " if run.path in self.marked else "  "
            cell = Text.assemble((mark, theme_style(variables, "accent")), cell)
        return cell

    def on_resize(self) -> None:
        """Take away or add the columns that the new width asks for."""
        if _columns(self.app.size.width) != self._columns_shown:
            self._arrange()

    def notify_style_update(self) -> None:
        """Follow a change of theme."""
        super().notify_style_update()
        if self.is_mounted and self._columns_shown:
            self._arrange()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An empty table has nothing to watch."""
        return self.row_count > 0 if action == "select_cursor" else super().check_action(action, parameters)


def _searched(run: RunSummary) -> str:
    return " ".join(map(str, (run.name, run.status, run.preset or "", run.dataset or ""))).lower()


def _rank(run: RunSummary, order: str) -> tuple[float, str]:
    match order:
        case "status":
            return list(Status).index(run.status), run.name
        case "loss":
            return math.inf if run.loss is None else run.loss, run.name
        case _:
            return 0.0, run.name


def _columns(width: int) -> tuple[str, ...]:
    """The columns that a screen `width` cells wide has room for."""
    if width >= ROOMY:
        return ("name", "status", "recipe", "data", "epoch", "loss", "held out", "when")
    if width >= NARROW:
        return ("name", "status", "data", "epoch", "loss", "held out", "when")
    return ("name", "status", "epoch", "loss", "when")


def _cell(run: RunSummary, column: str, *, roomy: bool) -> Text:
    """What the table says of `run` in `column`; shorter where there is little room, as the details say it in full."""
    match column:
        case "name":
            longest = 32 if roomy else 16
            return Text(run.name if len(run.name) <= longest else run.name[: longest - 1] + "…", style="bold")
        case "status":
            said = f"on {run.host}" if run.status is Status.ELSEWHERE else str(run.status)
            return Text(f"● {said}"[: 30 if roomy else 13])
        case "recipe":
            return Text(run.preset or "")
        case "data":
            return Text(run.dataset or "")
        case "epoch":
            return Text(f"{run.epoch or 0}/{run.epochs}" if run.epochs else "", justify="right")
        case "loss":
            return _loss(run.loss)
        case "held out":
            return _loss(run.held_out)
        case _:
            return Text("" if run.updated is None else _when(run.updated, roomy=roomy))


def _loss(loss: float | None) -> Text:
    return Text("" if loss is None else f"{loss:.4f}".removeprefix("0"), justify="right")


def _when(moment: float, *, roomy: bool) -> str:
    return ago(moment) if roomy else " ".join(ago(moment).removesuffix(" ago").split(" ")[:2])
