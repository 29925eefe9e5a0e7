"""The table of runs: one row a run, kept in place while its values change."""

from __future__ import annotations

import math
import operator
from typing import ClassVar, Self

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.widgets import DataTable

from core.runs.status import RunSummary, Status
from tui.actions import bindings
from tui.themes import STATUS_COLORS, theme_style
from tui.widgets.curves import label
from tui.widgets.run_monitor import ago

ORDERS = ("recent", "name", "status", "loss")
ROOMY = 100  # columns from which on every column has room, and
MARK = "◆ "
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

    _writing_cell = False

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, header_height=1)
        self.marked: dict[str, None] = {}  # paths of the runs marked, in the order of their marking
        self.filter = ""
        self.order = ORDERS[0]
        self._all: list[RunSummary] = []
        self._places: dict[str, int] = {}  # by path; kept while values change, so that no row moves by itself
        self._runs: dict[str, RunSummary] = {}  # those shown
        self._texts: dict[str, tuple[str, ...]] = {}  # what their rows say
        self._widths: dict[str, int] = {}  # of the columns shown
        self._theme = ""  # whose colours the cells have

    @property
    def highlighted(self) -> RunSummary | None:
        """The run under the cursor, None in an empty table."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return self._runs.get(key or "")

    def show(self, runs: list[RunSummary]) -> None:
        """Make the rows those of `runs` that the filter fits; only cells that changed are written.

        Rows keep their places while values change; they are sorted when a run is new or gone, and when asked for.
        """
        same = len(runs) == len(self._all) and all(map(operator.is_, runs, self._all))
        self._all = runs
        if same and self._places:
            self._refresh_ages()
            return
        paths = {run.path for run in runs}
        self.marked = {path: None for path in self.marked if path in paths}
        if self._places.keys() != paths:
            self.sort_again()
        self._arrange()

    def narrow(self, text: str) -> None:
        """Show only runs whose name, status, recipe or data hold each word of `text`."""
        self.filter = text
        self._arrange()

    def sort_next(self) -> str:
        """Take the next of `ORDERS`, and return it."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.sort_again()
        self._arrange()
        return self.order

    def sort_again(self) -> None:
        """Sort by the values there are now when rows are next shown."""
        self._places = {}

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

    def _sorted(self) -> list[RunSummary]:
        """All runs in the order of their places, which are given out again where there are none."""
        if not self._places:
            runs = self._all if self.order == "recent" else sorted(self._all, key=lambda run: _rank(run, self.order))
            self._places = {run.path: place for place, run in enumerate(runs)}
        return sorted(self._all, key=lambda run: self._places[run.path])

    def _arrange(self) -> None:
        words = self.filter.lower().split()
        runs = [run for run in self._sorted() if not words or all(word in _searched(run) for word in words)]
        shown = {run.path: run for run in runs}
        columns = _columns(self.app.size.width)
        texts = {run.path: self._text(run, columns) for run in runs}
        widths = {
            column: max(map(cell_len, (column, *(text[index] for text in texts.values()))))
            for index, column in enumerate(columns)
        }
        if list(shown) == list(self._runs) and self._has_room(widths):
            for path, text in texts.items():
                for column, old, new in zip(columns, self._texts[path], text, strict=True):
                    if old != new:
                        self._write_cell(path, column, self._cell(shown[path], column, new))
            self._runs, self._texts = shown, texts
            return
        before, at = self.highlighted, self.cursor_row
        self._runs, self._texts, self._widths, self._theme = shown, texts, widths, self.app.theme
        self.clear(columns=True)
        for column in columns:
            self.add_column(column, key=column, width=widths[column])
        for run in runs:
            cells = map(self._cell, (run,) * len(columns), columns, texts[run.path])
            self.add_row(*cells, key=run.path)
        if before is not None and before.path in shown:
            at = list(shown).index(before.path)
        self.move_cursor(row=min(at, max(0, len(runs) - 1)))

    def _has_room(self, widths: dict[str, int]) -> bool:
        """Whether the columns there are have room for others as wide as these."""
        same_columns = widths.keys() == self._widths.keys()
        return same_columns and all(width <= self._widths[column] for column, width in widths.items())

    def _text(self, run: RunSummary, columns: tuple[str, ...]) -> tuple[str, ...]:
        roomy = self.app.size.width >= ROOMY
        mark = "" if not self.marked else MARK if run.path in self.marked else " " * len(MARK)
        name, *rest = (_text(run, column, roomy=roomy) for column in columns)
        return (mark + name, *rest)

    def _refresh_ages(self) -> None:
        """Write how long ago the runs in sight changed."""
        roomy, column = self.app.size.width >= ROOMY, len(self._widths) - 1
        paths = list(self._runs)
        first = max(0, self.scroll_offset.y)
        for path in paths[first : first + self.size.height]:
            text = self._texts[path]
            age = _text(self._runs[path], "when", roomy=roomy)
            if age != text[column] and len(age) <= self._widths["when"]:
                self._texts[path] = (*text[:column], age)
                self._write_cell(path, "when", self._cell(self._runs[path], "when", age))
            elif age != text[column]:
                self._arrange()  # the column has to grow
                return

    def _write_cell(self, path: str, column: str, cell: Text) -> None:
        """Change one cell and redraw it alone: `update_cell` redraws the whole table."""
        self._writing_cell = True
        self.update_cell(path, column, cell)
        self._writing_cell = False
        self.refresh_coordinate(self.get_cell_coordinate(path, column))

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Redraw the table, or only these regions of it."""
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
            case "epoch" | "loss" | "validation":
                return Text(text, justify="right")
            case _:
                return Text(text)

    def on_resize(self) -> None:
        """Take away or add the columns that the new width asks for."""
        if _columns(self.app.size.width) != tuple(self._widths):
            self._arrange()

    def notify_style_update(self) -> None:
        """Follow a change of theme; styles are also updated when the focus moves, which changes no cell."""
        super().notify_style_update()
        if self.is_mounted and self._widths and self._theme != self.app.theme:
            self._widths = {}  # so that every cell is written
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
            return math.inf if run.loss is None or math.isnan(run.loss) else run.loss, run.name
        case _:
            return 0.0, run.name


def _columns(width: int) -> tuple[str, ...]:
    """The columns that a screen `width` cells wide has room for."""
    if width >= ROOMY:
        return ("name", "status", "recipe", "data", "epoch", "loss", "validation", "when")
    if width >= NARROW:
        return ("name", "status", "data", "epoch", "loss", "validation", "when")
    return ("name", "status", "epoch", "loss", "when")


def _text(run: RunSummary, column: str, *, roomy: bool) -> str:
    """What the table says of `run` in `column`; shorter where there is little room, as the details say it in full."""
    match column:
        case "name":
            return _cut(run.name, 32 if roomy else 16)
        case "status":
            status = f"on {run.host}" if run.status is Status.ELSEWHERE else str(run.status)
            return f"● {status}"[: 30 if roomy else 13]
        case "recipe":
            return _cut(run.preset or "", 24)
        case "data":
            return _cut(run.dataset or "", 24)
        case "epoch":
            return f"{run.epoch or 0}/{run.epochs}" if run.epochs else ""
        case "loss":
            return _loss(run.loss)
        case "validation":
            return _loss(run.validation_loss)
        case _:
            return "" if run.updated is None else _when(run.updated, roomy=roomy)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _loss(loss: float | None) -> str:
    if loss is None:
        return ""
    return f"{loss:.4f}".removeprefix("0") if abs(loss) < 1000 else label(loss)


def _when(moment: float, *, roomy: bool) -> str:
    return ago(moment) if roomy else ago(moment).removesuffix(" ago")
