"""Line plots: axes and ticks by plotext, curves by `tui.terminal.raster`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.color import Color
from rich.style import Style
from rich.text import Span, Text
from textual_plotext import PlotextPlot

from tui.terminal.internals import set_plot_size
from tui.terminal.raster import RGB, Raster, StyledCell
from tui.themes import theme_color

MARK = "●"
MAX_MARKED = 0.25  # of the columns: more points than these are drawn without marks
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Line:
    """A curve, with points in ascending x; a single point is drawn as a mark."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: RGB
    marked: bool = False  # each point has a mark, if there are few


@dataclass(frozen=True)
class Band:
    """The range between two curves, with points in ascending x."""

    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    color: RGB


@dataclass(frozen=True)
class Axes:
    """Ranges and tick labels of both axes; ticks map positions to labels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: Mapping[float, str]
    y_ticks: Mapping[float, str]
    x_title: str  # drawn between two tick labels
    cursor: float | None = None  # x of a vertical line


def draw_plot(widget: PlotextPlot, lines: Sequence[Line], axes: Axes, color: RGB, bands: Sequence[Band] = ()) -> Text:
    """Draw bands and lines at the size of `widget`, later ones on top; axes, ticks and cursor in `color`."""
    width, height = widget.size
    label_width = max(map(len, axes.y_ticks.values()))
    columns, rows = width - label_width - 1, height - 2  # the area inside the axes and their labels
    raster = Raster(columns, rows, axes.x_range, axes.y_range)
    for band in bands:
        raster.fill(band.xs, band.lows, band.highs, band.color)
    for line in lines:
        raster.draw(line.xs, line.ys, line.color)
    for line in lines:
        if len(line.xs) == 1 or (line.marked and len(line.xs) <= MAX_MARKED * columns):
            raster.mark(line.xs, line.ys, MARK, line.color)
    if axes.cursor is not None and axes.x_range[0] <= axes.cursor <= axes.x_range[1]:
        raster.rule(axes.cursor, color)
    frame = _frame(widget, axes)
    frame[-1] = _with_title(frame[-1], axes.x_title)
    return _merge(frame, raster, label_width + 1, color)


def band_color(widget: PlotextPlot) -> RGB:
    """A shade between background and `plot-window`; the terminal's own background has none."""
    window, background = theme_color(widget.app.theme_variables, "plot-window"), widget.background_colors[1]
    return window.rgb if background.ansi is not None else background.blend(window, 0.5).rgb


def _frame(widget: PlotextPlot, axes: Axes) -> list[str]:
    """Return the rows of a plot that has axes, ticks and tick labels only."""
    width, height = widget.size
    plot = widget.plt
    plot.clear_data()
    set_plot_size(plot, width, height)
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.ylim(*axes.y_range)
    plot.xlim(*axes.x_range)
    plot.xticks(list(axes.x_ticks), list(axes.x_ticks.values()))
    plot.yticks(list(axes.y_ticks), list(axes.y_ticks.values()))
    plot.scatter([axes.x_range[0]], [axes.y_range[0]], marker=" ")  # without data there are no axes
    return [row.ljust(width) for row in ESCAPES.sub("", plot.build()).rstrip("\n").split("\n")]


def _with_title(row: str, title: str) -> str:
    """Write the title of the x axis between the last two tick labels that leave room for it."""
    for gap in reversed(list(re.finditer(r"(?<=\S) +(?=\S)| +$", row))):
        room = len(gap.group())
        if room >= len(title) + 2:
            at = gap.start() + (room - len(title)) // 2
            return row[:at] + title + row[at + len(title) :]
    return row


def _merge(frame: Sequence[str], raster: Raster, left: int, color: RGB) -> Text:
    """Write the cells of `raster` into the frame, from column `left` of its first row on."""
    by_row: dict[int, list[StyledCell]] = {}
    bottom = len(frame) - 3  # the last two rows are the x axis and its labels
    for cell in sorted(raster.cells()):
        by_row.setdefault(bottom - cell.line, []).append(cell)
    rows: list[str] = []
    spans: list[Span] = []
    start = 0
    for number, row in enumerate(frame):
        characters = list(row)
        cells = by_row.get(number, [])
        spans.append(Span(start + len(row) - len(row.lstrip()), start + len(row), _style(color, None)))
        for cell in cells:
            characters[left + cell.column] = cell.text
        # Neighbors of the same style share a span.
        for (_, style), run in groupby(enumerate(cells), lambda at: (at[1].column - at[0], _style(*at[1][3:]))):
            columns = [start + left + cell.column for _, cell in run]
            spans.append(Span(columns[0], columns[-1] + 1, style))
        rows.append("".join(characters))
        start += len(row) + 1
    return Text("\n".join(rows), spans=spans)


@functools.lru_cache(1 << 8)
def _style(color: RGB, background: RGB | None) -> Style:
    return Style(color=Color.from_rgb(*color), bgcolor=None if background is None else Color.from_rgb(*background))
