"""A small plot of a few curves over [0, 1], with a cursor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import RenderResult
from textual_plotext import PlotextPlot

from tui.themes import theme_color
from tui.widgets.axes import Axes, Band, Line, band_color, draw_plot
from tui.widgets.curves import round_ticks, tick_label

MIN_SIZE = (16, 4)  # columns and rows; smaller plots stay empty
# Ticks of the x axis, by the number of columns below which they are used.
ACROSS = {46: (0.0, 1.0), 90: (0.0, 0.5, 1.0), math.inf: (0.0, 0.25, 0.5, 0.75, 1.0)}

# By name: the theme's color, x in ascending order, y.
Curves = Mapping[str, tuple[str, Sequence[float], Sequence[float]]]
# x in ascending order, lower and upper bounds.
Range = tuple[Sequence[float], Sequence[float], Sequence[float]]


class SmallPlot(PlotextPlot):
    """Draws curves over [0, 1]."""

    DEFAULT_CSS = """
    SmallPlot { width: 1fr; height: 1fr; color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._curves: Curves = {}
        self._band: Range | None = None
        self._cursor = 0.0
        self._high: float | None = None

    def show(self, curves: Curves, cursor: float, *, band: Range | None = None, high: float | None = None) -> None:
        """Draw curves and the cursor, with a band behind them.

        Args:
            curves: Those of a single point are drawn as marks.
            cursor: Its x.
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
    def cursor(self) -> float:
        """The cursor's x."""
        return self._cursor

    def render(self) -> RenderResult:
        width, height = self.size
        heights = [y for _, _, ys in self._curves.values() for y in ys]
        if not heights or width < MIN_SIZE[0] or height < MIN_SIZE[1]:
            return Text("")
        high = self._high or max(heights) or 1.0
        ticks = round_ticks(0.0, high, max(2, height // 3))
        # The title of the axis is between two labels.
        across = next(ticks for columns, ticks in ACROSS.items() if width < columns)
        variables = self.app.theme_variables
        lines = [Line(xs, ys, theme_color(variables, color).rgb) for color, xs, ys in self._curves.values() if xs]
        bands = [] if self._band is None else [Band(*self._band, band_color(self))]
        axes = Axes(
            (0.0, 1.0),
            (0.0, high),
            {at: f"{at:g}" for at in across},
            {tick: tick_label(tick) if tick else "0" for tick in ticks},
            "noise level t",
            self._cursor,
        )
        return draw_plot(self, lines, axes, theme_color(variables, "plot-axes").rgb, bands)
