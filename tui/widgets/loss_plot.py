"""Training and validation loss over the training step, with both axes logarithmic and a cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.align import Align
from rich.text import Text
from textual.app import RenderResult
from textual_plotext import PlotextPlot

from core.runs.history import RunHistory
from tui.themes import theme_color
from tui.widgets.axes import Axes, Band, Line, draw_plot
from tui.widgets.curves import loss_ticks, tick_label

MARGIN = 8  # columns for the y labels and the axis
MIN_SIZE = 24, 4  # columns and rows


class LossPlot(PlotextPlot):
    """Displays the losses of a run; posts no messages. The x axis begins with step 0 and is logarithmic from there."""

    DEFAULT_CSS = """
    LossPlot { width: 1fr; height: 1fr; color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._windows: list[tuple[int, float]] = []  # step and training loss
        self._epochs: list[tuple[int, float]] = []  # step and validation loss
        self._measured: list[tuple[int, float]] = []  # likewise; if there are any, they replace those of the epochs
        self._steps = 1  # the end of the x axis
        self._cursor: int | None = None
        self._binned: tuple[int, list[tuple[float, list[float]]]] | None = None  # for this number of columns

    def set_history(self, history: RunHistory, steps: int) -> None:
        """Plot a run up to step number `steps`."""
        self._windows = [(window.step, window.loss) for window in history.progress if _drawable(window.loss)]
        self._epochs = [(e.step, e.validation_loss) for e in history.epochs if _drawable(e.validation_loss)]
        self._steps, self._binned = max(1, steps), None
        self.refresh()

    def set_measured(self, losses: Sequence[tuple[int, float]]) -> None:
        """Plot these steps and validation losses instead of those of the history; empty: those of the history."""
        measured = [(step, loss) for step, loss in losses if _drawable(loss)]
        if measured != self._measured:
            self._measured = measured
            self.refresh()

    def set_cursor(self, step: int | None) -> None:
        """Draw a vertical line at a step; None: nowhere."""
        if step != self._cursor:
            self._cursor = step
            self.refresh()

    def render(self) -> RenderResult:
        width, height = self.size
        columns = max(1, width - MARGIN)
        groups = self._groups(columns)
        validation = self._measured or self._epochs
        losses = [math.log10(loss) for _, members in groups for loss in members]
        losses += [math.log10(loss) for _, loss in validation]
        if not losses or width < MIN_SIZE[0] or height < MIN_SIZE[1]:
            text = "no losses logged" if not losses else ""
            return Align.center(Text(text, justify="center"), vertical="middle", height=height)
        xs = [x for x, _ in groups]
        lows = [math.log10(min(members)) for _, members in groups]
        highs = [math.log10(max(members)) for _, members in groups]
        means = [math.log10(sum(members) / len(members)) for _, members in groups]
        bands = [Band(xs, lows, highs, self._band_color)] if len(groups) > 1 else []
        lines = [Line(xs, means, self._color("plot-smoothed"))] if groups else []
        if validation:
            points = [(_position(step), math.log10(loss)) for step, loss in validation]
            color = self._color("plot-validation")
            lines.append(Line([x for x, _ in points], [y for _, y in points], color, marked=True))
            # A single point is drawn as a mark: the snapshot at the cursor.
            current = [point for point, (step, _) in zip(points, validation, strict=True) if step == self._cursor]
            lines += [Line([x], [y], color) for x, y in current]
        return draw_plot(self, lines, self._axes(losses), self._color("plot-axes"), bands)

    def _groups(self, columns: int) -> list[tuple[float, list[float]]]:
        """Losses by column of the plot, each with the mean position of its windows."""
        if self._binned is None or self._binned[0] != columns:
            scale = columns / _position(self._steps)
            groups: dict[int, list[tuple[float, float]]] = {}
            for step, loss in self._windows:
                groups.setdefault(int(_position(step) * scale), []).append((_position(step), loss))
            binned = [
                (sum(x for x, _ in members) / len(members), [loss for _, loss in members])
                for _, members in sorted(groups.items())
            ]
            self._binned = columns, binned
        return self._binned[1]

    def _axes(self, losses: Sequence[float]) -> Axes:
        low, high = min(losses), max(losses)
        if high - low < 0.02:
            low, high = low - 0.05, high + 0.05
        y_ticks = loss_ticks(10**low, 10**high, max(2, self.size.height // 3))
        decades = [0, *(10**power for power in range(int(math.log10(self._steps)) + 1))]
        return Axes(
            (0.0, _position(self._steps)),
            (low, high),
            {_position(step): f"{step:,}" for step in decades},
            {math.log10(tick): tick_label(tick) for tick in y_ticks},
            "training step",
            None if self._cursor is None else _position(self._cursor),
        )

    def _color(self, name: str) -> tuple[int, int, int]:
        return theme_color(self.app.theme_variables, name).rgb

    @property
    def _band_color(self) -> tuple[int, int, int]:
        """A shade between background and `plot-window`; the terminal's own background has none."""
        window, background = theme_color(self.app.theme_variables, "plot-window"), self.background_colors[1]
        return window.rgb if background.ansi is not None else background.blend(window, 0.5).rgb


def _position(step: int) -> float:
    """Place of a step on the x axis."""
    return math.log10(1 + step)


def _drawable(loss: float) -> bool:
    return 0 < loss < math.inf  # false for NaN
