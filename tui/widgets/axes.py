"""Lines on axes: plotext's frame and ticks around the dots of `tui.terminal.raster`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual_plotext import PlotextPlot

from tui.terminal.raster import RGB, Raster, styled


@dataclass(frozen=True)
class Line:
    """Points in ascending x."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: RGB
    dots: bool = False  # drawn as points; else as a line
    coarse: bool = False  # in quarter cells, which make a field of a range


@dataclass(frozen=True)
class Axes:
    """What the axes span, and the names of their ticks by place."""

    across: tuple[float, float]
    upwards: tuple[float, float]
    names_across: Mapping[float, str]
    names_upwards: Mapping[float, str]
    cursor: float | None = None  # an upright line


def plotted(widget: PlotextPlot, lines: Sequence[Line], axes: Axes, color: RGB) -> Text:
    """The lines, the later over the earlier, in the room that `widget` has; axes, ticks and cursor in `color`."""
    width, height = widget.size
    behind = widget.background_colors[1]
    background = behind.rgb if behind.ansi is None else "default"  # the terminal's own
    plot = widget.plt
    plot.clear_data()
    plot.plotsize(width, height)
    plot._set_size(width, height)  # plotsize alone does not shrink a plot that was larger before
    plot.canvas_color(background)
    plot.axes_color(background)
    plot.ticks_color(color)
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.ylim(*axes.upwards)
    plot.xlim(*axes.across)
    plot.xticks(list(axes.names_across), list(axes.names_across.values()))
    plot.yticks(list(axes.names_upwards), list(axes.names_upwards.values()))
    # What the y labels, the two axes and the x labels leave.
    labels = max(map(len, axes.names_upwards.values()))
    raster = Raster(width - labels - 1, height - 2, axes.across, axes.upwards)
    for line in lines:
        if not line.dots and len(line.xs) > 1:
            raster.draw(line.xs, line.ys, line.color, coarse=line.coarse)
    if spots := list(raster.spots()):
        places = map(raster.place, spots)
        texts, colors = [spot.text for spot in spots], [spot.color for spot in spots]
        plot.scatter(*zip(*places, strict=True), marker=texts, color=colors)  # type: ignore[arg-type] # lists too
    for line in lines:
        if line.dots or len(line.xs) == 1:
            plot.scatter(line.xs, line.ys, color=line.color, marker="•" if line.dots else "●")
    if axes.cursor is not None and axes.across[0] <= axes.cursor <= axes.across[1]:
        plot.vline(axes.cursor, color)
    return styled(plot.build())
