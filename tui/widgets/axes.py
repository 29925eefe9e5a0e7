"""Line plots: axes and ticks by plotext, curves by `tui.terminal.raster`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual_plotext import PlotextPlot

from tui.terminal.internals import set_plot_size
from tui.terminal.raster import RGB, Raster, ansi_to_text


@dataclass(frozen=True)
class Line:
    """A curve, with points in ascending x."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: RGB
    dots: bool = False  # drawn as separate points, not as a line
    coarse: bool = False  # drawn in quarter cells, which fill a range


@dataclass(frozen=True)
class Axes:
    """Ranges and tick labels of both axes; ticks map positions to labels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: Mapping[float, str]
    y_ticks: Mapping[float, str]
    cursor: float | None = None  # x of a vertical line


def draw_plot(widget: PlotextPlot, lines: Sequence[Line], axes: Axes, color: RGB) -> Text:
    """Draw lines at the size of `widget`, later ones on top; axes, ticks and cursor in `color`."""
    width, height = widget.size
    background_color = widget.background_colors[1]
    background = background_color.rgb if background_color.ansi is None else "default"  # the terminal's default
    plot = widget.plt
    plot.clear_data()
    set_plot_size(plot, width, height)
    plot.canvas_color(background)
    plot.axes_color(background)
    plot.ticks_color(color)
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.ylim(*axes.y_range)
    plot.xlim(*axes.x_range)
    plot.xticks(list(axes.x_ticks), list(axes.x_ticks.values()))
    plot.yticks(list(axes.y_ticks), list(axes.y_ticks.values()))
    # The area inside the axes and their labels.
    label_width = max(map(len, axes.y_ticks.values()))
    raster = Raster(width - label_width - 1, height - 2, axes.x_range, axes.y_range)
    for line in lines:
        if not line.dots and len(line.xs) > 1:
            raster.draw(line.xs, line.ys, line.color, coarse=line.coarse)
    if cells := list(raster.cells()):
        positions = map(raster.position, cells)
        texts, colors = [cell.text for cell in cells], [cell.color for cell in cells]
        plot.scatter(*zip(*positions, strict=True), marker=texts, color=colors)  # type: ignore[arg-type] # lists too
    for line in lines:
        if line.dots or len(line.xs) == 1:
            plot.scatter(line.xs, line.ys, color=line.color, marker="•" if line.dots else "●")
    if axes.cursor is not None and axes.x_range[0] <= axes.cursor <= axes.x_range[1]:
        plot.vline(axes.cursor, color)
    return ansi_to_text(plot.build())
