"""The table of runs: one row a run, kept in place while its values change."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from core.runs import RunSummary, Status
from tui.widgets.run_monitor import ago

# What a 256-colour terminal shows exactly; rich styles, as a table's cells are rich text.
STYLES = {
    Status.RUNNING: "#87d787",
    Status.STARTING: "#5fafff",
    Status.PAUSED: "#ffd75f",
    Status.FINISHED: "",
    Status.STOPPED: "grey62",
    Status.INTERRUPTED: "#ffd75f",
    Status.FAILED: "#ff5f5f",
    Status.ELSEWHERE: "#5fafff",
}
ROOMY = 100  # columns from which on every column has room, and
NARROW = 80  # below which only the most telling have


class RunTable(DataTable[Text]):
    """Shows summaries; the cursor stays on its run when others come and go."""

    DEFAULT_CSS = """
    RunTable { height: 1fr; background: $background; scrollbar-size-vertical: 1; scrollbar-background: $background; }
    RunTable:focus { background-tint: $foreground 0%; }
    RunTable > .datatable--header { background: $background; color: $foreground 50%; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
        Binding("enter", "select_cursor", "Watch"),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, header_height=1)
        self._runs: dict[str, RunSummary] = {}
        self._columns_shown: tuple[str, ...] = ()

    @property
    def highlighted(self) -> RunSummary | None:
        """The run under the cursor, None in an empty table."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return self._runs.get(key or "")

    def show(self, runs: list[RunSummary]) -> None:
        """Make the rows those of `runs`, in their order; only cells that changed are written."""
        shown = {run.path: run for run in runs}
        roomy = self.app.size.width >= ROOMY
        columns = _columns(self.app.size.width)
        same = list(shown) == list(self._runs) and columns == self._columns_shown
        before, at = self.highlighted, self.cursor_row
        self._runs = shown
        if same:
            for run in runs:
                for column in columns:
                    cell = _cell(run, column, roomy=roomy)
                    if self.get_cell(run.path, column) != cell:
                        self.update_cell(run.path, column, cell, update_width=True)
            return
        self.clear(columns=True)
        self._columns_shown = columns
        for column in columns:
            self.add_column(column, key=column)
        for run in runs:
            self.add_row(*(_cell(run, column, roomy=roomy) for column in columns), key=run.path)
        if before is not None and before.path in shown:
            at = list(shown).index(before.path)
        self.move_cursor(row=min(at, max(0, len(runs) - 1)))

    def on_resize(self) -> None:
        """Take away or add the columns that the new width asks for."""
        if _columns(self.app.size.width) != self._columns_shown:
            self.show(list(self._runs.values()))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An empty table has nothing to watch."""
        return self.row_count > 0 if action == "select_cursor" else super().check_action(action, parameters)


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
            return Text(f"● {said}"[: 30 if roomy else 13], style=STYLES[run.status])
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
            return Text("" if run.updated is None else _when(run.updated, roomy=roomy), style="grey62")


def _loss(loss: float | None) -> Text:
    return Text("" if loss is None else f"{loss:.4f}".removeprefix("0"), justify="right")


def _when(moment: float, *, roomy: bool) -> str:
    return ago(moment) if roomy else " ".join(ago(moment).removesuffix(" ago").split(" ")[:2])
