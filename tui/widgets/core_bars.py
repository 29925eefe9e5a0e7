"""The load of each core: a bar, with a history if there are few cores, or one character each if there are many."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from tui.widgets.devices import EIGHTHS
from tui.widgets.history_graph import LEVELS, MUTED, area_rows

MIN_BAR = 4  # columns of a core's bar


class CoreBars(Widget):
    """Shows the load of each core."""

    DEFAULT_CSS = """
    CoreBars { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._loads: Sequence[float] = ()
        self._histories: Sequence[Sequence[float | None]] = ()

    def show(self, loads: Sequence[float], histories: Sequence[Sequence[float | None]] = ()) -> None:
        """Show loads in percent; `histories` has those of the first cores, oldest first."""
        if self._loads != loads or self._histories != histories:
            self._loads, self._histories = loads, histories
            self.refresh()

    def render(self) -> Content:
        """Draw the bars in columns, from top to bottom."""
        width, height = self.size
        loads = self._loads
        if not loads or width < 1 or height < 1:
            return Content("")
        rows = height // len(loads)  # of each core
        if rows >= 2 and len(self._histories) == len(loads):
            return self._with_histories(width, rows)
        digits = len(str(len(loads) - 1))
        columns = -(-len(loads) // height)
        room = (width - 2 * (columns - 1)) // columns - digits - 6  # of a bar: after the number, before the percentage
        if room < MIN_BAR:
            return self._compact(width, height)
        lines = []
        for y in range(min(height, len(loads))):
            cores = range(y, len(loads), height)
            lines.append(Content("  ").join([_bar(core, loads[core], digits, room) for core in cores]))
        return Content("\n").join(lines)

    def _with_histories(self, width: int, rows: int) -> Content:
        digits = len(str(len(self._loads) - 1))
        lines = []
        for core, (load, history) in enumerate(zip(self._loads, self._histories, strict=True)):
            room = width - digits - 6
            lines.append(_bar(core, load, digits, room))
            area = area_rows(history, room, rows - 1, 100)
            lines += [Content.assemble(" " * (digits + 1), (row, "$primary 55%")) for row in area]
        return Content("\n").join(lines)

    def _compact(self, width: int, height: int) -> Content:
        """A column per core, or one character per core or per group of cores with their mean."""
        loads = self._loads
        rows = max(1, height - 1)
        heading = f"{len(loads)} cores"
        if len(loads) <= width:
            lines = area_rows(loads, len(loads), rows, 100)
        else:
            group = -(-len(loads) // (width * rows))
            groups = [loads[start : start + group] for start in range(0, len(loads), group)]
            levels = "".join(LEVELS[max(1, round(sum(part) / len(part) / 100 * 8))] for part in groups)
            lines = [levels[start : start + width] for start in range(0, len(levels), width)]
            heading += f", mean of each {group}" if group > 1 else ""
        return Content.assemble((heading[:width] + "\n" if height > 1 else "", MUTED), ("\n".join(lines), "$primary"))


def _bar(core: int, load: float, digits: int, room: int) -> Content:
    eighths = round(min(100.0, load) / 100 * max(0, room) * 8)
    bar = "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
    return Content.assemble(
        (f"{core:>{digits}} ", MUTED),
        (bar, "$primary on $panel"),
        (" " * (room - len(bar)), "on $panel"),
        f" {load:3.0f}%",
    )
