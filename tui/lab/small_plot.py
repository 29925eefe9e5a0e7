"""A small plot of a few curves over the noise level, with a cursor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import RenderResult
from textual_plotext import PlotextPlot

from tui.themes import theme_color
from tui.widgets.axes import Axes, Band, Line, band_color, draw_plot
from tui.widgets.curves import round_ticks, tick_label

MIN_SIZE = (16, 4)  # columns and rows; smaller plots stay empty
# Ticks of the x axis, by the number of columns below which they are used.
X_TICKS = {46: (0.0, 1.0), 90: (0.0, 0.5, 1.0), math.inf: (0.0, 0.25, 0.5, 0.75, 1.0)}

# By name: the theme's color, x in ascending order, y.
Curves = Mapping[str, tuple[str, Sequence[float], Sequence[float]]]
# x in ascending order, lower and upper bounds.
Range = tuple[Sequence[float], Sequence[float], Sequence[float]]


class SmallPlot(PlotextPlot):
    """Draws curves over [0, 1], or over the range of other ticks of the x axis."""

    X_TITLE: ClassVar[str] = "noise level t"
    DEFAULT_CSS = """
    SmallPlot { width: 1fr; height: 1fr; color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._curves: Curves = {}
        self._band: Range | None = None
        self._cursor: float | None = None
        self._high: float | None = None

    def show(
        self, curves: Curves, cursor: float | None, *, band: Range | None = None, high: float | None = None
    ) -> None:
        """Draw curves and the cursor, with a band behind them.

        Args:
            curves: Those of a single point are drawn as marks; without any, the plot is empty.
            cursor: Its x; None: no cursor.
            band: Within the range of the y axis.
            high: Upper end of the y axis; None: the largest y of the curves.
        """
        self._curves, self._cursor, self._band, self._high = curves, cursor, band, high
        self.refresh()

    @property
    def curves(self) -> Curves:
        """The curves on display."""
        return self._curves

    @property
    def cursor(self) -> float | None:
        """The cursor's x, if there is one."""
        return self._cursor

    def x_ticks(self, width: int) -> Mapping[float, str]:
        """Positions and labels of the ticks of the x axis, in a plot of `width` columns; the title is between two."""
        return {x: f"{x:g}" for x in next(xs for columns, xs in X_TICKS.items() if width < columns)}

    def render(self) -> RenderResult:
        width, height = self.size
        if not self._curves or width < MIN_SIZE[0] or height < MIN_SIZE[1]:
            return Text("")
        high = self._high or max((y for _, _, ys in self._curves.values() for y in ys), default=1.0) or 1.0
        y_ticks = round_ticks(0.0, high, max(2, height // 3))
        x_ticks = self.x_ticks(width)
        variables = self.app.theme_variables
        lines = [Line(xs, ys, theme_color(variables, color).rgb) for color, xs, ys in self._curves.values() if xs]
        bands = [] if self._band is None else [Band(*self._band, band_color(self))]
        axes = Axes(
            (min(x_ticks), max(x_ticks)),
            (0.0, high),
            x_ticks,
            {tick: tick_label(tick) if tick else "0" for tick in y_ticks},
            self.X_TITLE,
            self._cursor,
        )
        return draw_plot(self, lines, axes, theme_color(variables, "plot-axes").rgb, bands)
