"""Area graph of a quantity over time, with its latest value, a scale and a time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region, Size
from textual.widget import Widget

from core.text import file_size
from tui.io.system_monitor import SECONDS

LEVELS = " ▁▂▃▄▅▆▇█"
AXIS_HEIGHT = 5  # height from which a graph has a time axis
MUTED = "$foreground 55%"
_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # of a scale, times a power of 10


@dataclass(frozen=True)
class Scale:
    """The vertical axis, from 0 to `top`."""

    top: float
    unit: str = "%"  # "B/s" is written with a prefix, such as "20 MB/s"

    def label(self, value: float) -> str:
        """Write a value on the axis."""
        if self.unit == "B/s":
            return f"{file_size(value)}/s" if value else "0"
        return f"{value:,.0f} {self.unit}" if self.unit != "%" else f"{value:.0f}%"


PERCENT = Scale(100)


def round_scale(values: Sequence[float | None], unit: str, minimum: float) -> Scale:
    """Return the scale up to the smallest round number that is at least `minimum` and all values."""
    highest = max([minimum, *(value for value in values if value is not None)])
    power = 10.0 ** math.floor(math.log10(highest))
    return Scale(next(factor * power for factor in _STEPS if factor * power >= highest * (1 - 1e-9)), unit)


class HistoryGraph(Widget):
    """A quantity over time, newest on the right. In one row, the graph is beside the value."""

    DEFAULT_CSS = """
    HistoryGraph { height: 1fr; width: 1fr; }
    """

    def __init__(self, title: str, short: str = "", *, classes: str | None = None) -> None:
        """Create the graph; `short` is its title where `title` does not fit."""
        super().__init__(classes=classes)
        self._titles = (title, short)
        self._values: Sequence[float | None] = ()
        self._texts: tuple[str, ...] = ("",)
        self._scale = PERCENT
        self._lines: list[Content] = []
        self._drawn_size = Size()  # of `_lines`

    def show(self, values: Sequence[float | None], texts: Sequence[str], scale: Scale = PERCENT) -> None:
        """Draw `values`, one per `SECONDS`, oldest first; None: unknown. The first of `texts` that fits is shown."""
        self._values, self._texts, self._scale = values, tuple(texts), scale
        old, self._lines = self._lines, self._draw()
        if len(old) != len(self._lines):
            self.refresh()
            return
        pairs = zip(old, self._lines, strict=True)
        changed = [y for y, (before, after) in enumerate(pairs) if not before.is_same(after)]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render(self) -> Content:
        """Draw the graph at the current size."""
        if self._drawn_size != self.size:
            self._lines = self._draw()
        return Content("\n").join(self._lines)

    def _draw(self) -> list[Content]:
        self._drawn_size = self.size
        width, height = self.size
        if width < 1 or height < 1:
            return []
        heading = self._heading(width)
        if height == 1:
            room = min(30, width - heading.cell_length - 2)
            if room < 4:
                return [heading]
            bars = area_rows(self._values, room, 1, self._scale.top)
            gap = " " * (width - room - heading.cell_length)
            return [Content.assemble(heading, gap, (bars[0], "$primary"))]
        rows = height - 1 - (height >= AXIS_HEIGHT)
        labels = self._labels(rows)
        margin = max(map(cell_len, labels)) + 1
        if width - margin < 12:  # no space for a scale
            labels, margin = [""] * rows, 0
        area = area_rows(self._values, width - margin, rows, self._scale.top)
        if not any(value is not None for value in self._values):
            area[rows // 2] = "N/A".center(width - margin)
        lines = [heading]
        for y, (label, row) in enumerate(zip(labels, area, strict=True)):
            shade = f"$primary {100 - 45 * y // max(1, rows - 1)}%"
            lines.append(Content.assemble((f"{label:>{margin - 1}} " if margin else "", MUTED), (row, shade)))
        if height >= AXIS_HEIGHT:
            lines.append(Content.styled(" " * margin + time_axis(width - margin), MUTED))
        return lines

    def _heading(self, width: int) -> Content:
        for text in self._texts:
            for title in self._titles:
                if cell_len(title) + bool(title) + cell_len(text) <= width:
                    return Content.assemble((f"{title} " if title else "", MUTED), (text, "bold"))
        return Content.styled(self._texts[-1][:width], "bold")

    def _labels(self, rows: int) -> list[str]:
        """Labels of the scale: the top in the first row, half of it in the middle, 0 in the last."""
        labels = [""] * rows
        if rows > 1:
            labels[-1] = self._scale.label(0)
        if rows >= 4:
            labels[rows // 2] = self._scale.label(self._scale.top / 2)
        labels[0] = self._scale.label(self._scale.top)
        return labels


def area_rows(values: Sequence[float | None], width: int, height: int, top: float) -> list[str]:
    """Rows of a bar chart from 0 to `top` with one value per column, the newest on the right.

    A known value is at least one eighth of a row high, and unknown ones are empty. In a chart that is wider than the
    history, old columns are empty.
    """
    newest = list(values)[-width:] if width > 0 else []
    eighths = [
        0 if value is None else max(1, min(8 * height, round(value / top * 8 * height)))
        for value in [None] * (width - len(newest)) + newest
    ]
    return ["".join(LEVELS[max(0, min(8, level - 8 * row))] for level in eighths) for row in reversed(range(height))]


def time_axis(width: int) -> str:
    """Label columns with their age, which is 0 in the last; one column is `SECONDS`."""
    step = next(step for step in (5, 10, 15, 30, 60) if width <= 3 * step or step == 60)
    axis = [" "] * width
    for column in range(0, width, step):
        age = round(column * SECONDS)
        label = "now" if not age else f"{age // 60} min" if age % 60 == 0 else f"{age} s"
        end = width - column
        if end >= len(label):
            axis[end - len(label) : end] = label
    return "".join(axis)
