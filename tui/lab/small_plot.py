"""A small plot of a few curves between fixed ends, with a cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import RenderResult
from textual_plotext import PlotextPlot

from tui.themes import theme_color
from tui.widgets.axes import Axes, Line, draw_plot
from tui.widgets.curves import round_ticks, tick_label

LEAST = (16, 4)  # columns and lines; in less nothing is drawn

Curves = Mapping[
    str, tuple[str, Sequence[float], Sequence[float]]
]  # by name: the theme's colour, xs in ascending order, ys


class SmallPlot(PlotextPlot):
    """Draws curves over 0 to 1; the values at the cursor stand in a line above, which `legend` gives."""

    DEFAULT_CSS = """
    SmallPlot { width: 1fr; height: 1fr; color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._curves: Curves = {}
        self._cursor = 0.0

    def show(self, curves: Curves, cursor: float) -> None:
        """Draw these curves, and the cursor."""
        self._curves, self._cursor = curves, cursor
        self.refresh()

    @property
    def curves(self) -> Curves:
        """What is drawn."""
        return self._curves

    @property
    def cursor(self) -> float:
        """Where the cursor stands."""
        return self._cursor

    def render(self) -> RenderResult:
        """The plot, or nothing where there is no room."""
        width, height = self.size
        heights = [y for _, _, ys in self._curves.values() for y in ys]
        if not heights or width < LEAST[0] or height < LEAST[1]:
            return Text("")
        high = max(heights) or 1.0
        ticks = round_ticks(0.0, high, max(2, height // 3))
        across = [0.0, 0.5, 1.0] if width < 40 else [0.0, 0.25, 0.5, 0.75, 1.0]
        variables = self.app.theme_variables
        lines = [
            Line(xs, ys, theme_color(variables, color).rgb, dots=len(xs) == 1)
            for color, xs, ys in self._curves.values()
            if xs
        ]
        axes = Axes(
            (0.0, 1.0),
            (0.0, high),
            {at: f"{at:g}" for at in across},
            {tick: tick_label(tick) if tick else "0" for tick in ticks},
            self._cursor,
        )
        return draw_plot(self, lines, axes, theme_color(variables, "plot-axes").rgb)
