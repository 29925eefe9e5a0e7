"""Curves of one run or several, to be zoomed, panned, smoothed and read off; plotext draws them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.align import Align
from rich.text import Text
from textual import events
from textual.app import ComposeResult, RenderResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual_plotext import PlotextPlot

from core.runs.history import RunHistory
from tui.actions import bindings
from tui.themes import theme_color
from tui.widgets.axes import Axes, Line, plotted
from tui.widgets.curves import (
    Curve,
    Series,
    View,
    curves_of,
    label,
    loss_ticks,
    overlaid,
    round_ticks,
    steps_a_unit,
    thinned,
)

MARGIN = 10  # columns that the y labels and the frame take
STEP = 0.01  # share of the span that the cursor moves by
# One colour a run; entries of the 256-colour table, told apart on dark and light alike.
RUN_COLORS = ("plot-average", "plot-validation", "plot-run-3", "plot-run-4", "plot-run-5", "plot-run-6")


class CurvePlot(PlotextPlot, can_focus=True):
    """Draws what `show` or `overlay` was given, as `view` says; drawn anew only when something changed."""

    @dataclass
    class Viewed(Message):
        """The plot is looked at otherwise now."""

        plot: CurvePlot

    BINDINGS: ClassVar[list[BindingType]] = bindings("plot")
    DEFAULT_CSS = """
    CurvePlot { width: 1fr; height: 1fr; min-height: 4; color: $text-muted; }
    CurvePlot:focus { background: $surface; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.view = View()
        self._histories: Mapping[str, RunHistory] = {}
        self._series: dict[str, Series] = {}  # by run
        self._waiting = ""
        self._curves: list[Curve] | None = None  # None: to be made anew
        self.cost = 0.0  # seconds that the last drawing took

    def show(self, history: RunHistory, waiting: str = "") -> None:
        """Draw one run; while it holds no point, show the text `waiting`."""
        self._histories, self._waiting = {"": history}, waiting
        self._change(self.view)

    def overlay(self, histories: Mapping[str, RunHistory]) -> None:
        """Draw several runs, a curve each, by their names."""
        self._histories, self._waiting = dict(histories), "these runs have no such curve"
        self._change(self.view)

    @property
    def curves(self) -> list[Curve]:
        """What is drawn, all of it."""
        if self._curves is None:
            if len(self._histories) == 1:
                ((name, history),) = self._histories.items()
                self._curves = curves_of(history, self.view, self._series[name])
            else:
                self._curves = overlaid(self._histories, self.view, RUN_COLORS, self._series)
        return self._curves

    @property
    def extent(self) -> tuple[float, float]:
        """From 0 to the last point."""
        ends = [self._end(history) for history in self._histories.values()]
        return 0.0, max(ends, default=0.0) or 1.0

    def _end(self, history: RunHistory) -> float:
        steps = [events[-1].step for events in (history.progress, history.epochs) if events]
        return max(steps, default=0) / steps_a_unit(history, self.view)

    def _change(self, view: View) -> None:
        self.view = view
        self._series = {name: self._series.get(name) or Series() for name in self._histories}
        self._curves = None
        self.refresh()
        self.post_message(self.Viewed(self))

    def _look(self, view: View) -> None:
        """Look at the same curves otherwise."""
        self._curves = self._curves if view.span == self.view.span else None
        self.view = view
        self.refresh()
        self.post_message(self.Viewed(self))

    # What a person asks

    def action_zoom(self, by: int) -> None:
        """Look closer, or from farther away."""
        self._look(self.view.zoomed(self.extent, by))

    def action_pan(self, by: int) -> None:
        """Look further to the right, or to the left."""
        self._look(self.view.panned(self.extent, by))

    def action_cursor(self, by: int) -> None:
        """Move the cursor whose values the legend tells."""
        self._look(self.view.moved(self.extent, by * STEP))

    def action_all(self) -> None:
        """Everything again, without a cursor."""
        self._look(replace(self.view, span=None, cursor=None))

    def action_log(self) -> None:
        """A logarithmic axis, or a linear one."""
        self._look(replace(self.view, log=not self.view.log))

    def action_by_step(self) -> None:
        """Against steps, or against epochs."""
        self._change(replace(self.view, by_step=not self.view.by_step, span=None, cursor=None))

    def action_smooth(self, by: int) -> None:
        """Smoother, or less so."""
        self._change(self.view.smoother(by))

    def action_quantity(self) -> None:
        """The next quantity."""
        self._change(self.view.next_quantity())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """From farther away."""
        event.stop()
        self.action_zoom(-1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Closer, around the pointer."""
        event.stop()
        self._point(event.x)
        self.action_zoom(1)

    def on_click(self, event: events.Click) -> None:
        """The cursor goes to the pointer."""
        self._point(event.x)

    def _point(self, column: int) -> None:
        left, right = self.view.span or self.extent
        width = max(1, self.size.width - MARGIN)
        share = min(1.0, max(0.0, (column - MARGIN + 2) / width))
        self._look(replace(self.view, cursor=left + share * (right - left)))

    # How it is drawn

    def series(self, columns: int) -> dict[str, tuple[list[float], list[float]]]:
        """The curves by name, as they are drawn in so many columns; logarithms where the axis is logarithmic."""
        span = self.view.span or self.extent
        return {curve.name: thinned(curve, span, columns, log=self._is_log) for curve in self.curves}

    @property
    def _in_steps(self) -> bool:
        return self.view.by_step or all(history.dataset is None for history in self._histories.values())

    @property
    def _is_log(self) -> bool:
        return self.view.log and self.view.quantity in ("loss", "distance")

    def render(self) -> RenderResult:
        began = time.perf_counter()
        try:
            return self._rendered()
        finally:
            self.cost = time.perf_counter() - began

    def _rendered(self) -> RenderResult:
        width, height = self.size
        drawn = self.series(max(1, width - MARGIN))
        heights = [y for _, ys in drawn.values() for y in ys]
        if not heights or width < MARGIN + 6 or height < 4:
            said = Text(self._reason(), justify="center")
            return Align.center(said, vertical="middle", height=height)
        lines = [
            Line(*drawn[curve.name], self.color(curve.color), dots=curve.dots, coarse=curve.lows is not None)
            for curve in self.curves
        ]
        return plotted(self, lines, self._axes(heights), self.color("plot-axes"))

    def _reason(self) -> str:
        """Why there is no curve."""
        if any(curve.xs for curve in self.curves):
            if self.view.span is not None:
                return "nothing here; 0 shows everything"
            if self._is_log and any(math.isfinite(y) for curve in self.curves for y in curve.ys):
                return f"the {self.view.quantity} is 0 or less\ny draws a linear axis"
            return f"the {self.view.quantity} is not a number"
        if self.view.quantity == "distance" and any(history.progress for history in self._histories.values()):
            return "no distance was measured\n--eval-every measures while training"
        return self._waiting

    def _axes(self, heights: Sequence[float]) -> Axes:
        """The axes, with room around a flat or single value."""
        width, height = self.size
        low, high = min(heights), max(heights)
        room = 0.05 if self._is_log else 0.05 * abs(high) or 1.0
        if high - low < 0.4 * room:
            low, high = low - room, high + room
        left, right = self.view.span or self.extent
        count = max(2, height // 3)
        if self._is_log:
            ticks = loss_ticks(10**low, 10**high, count)
            places = [math.log10(tick) for tick in ticks]
        else:
            places = ticks = round_ticks(low, high, count)
        across = round_ticks(left, right, max(2, width // 12))
        names = [f"{tick:,.0f}" if tick == int(tick) else f"{tick:.3g}" for tick in across]
        return Axes(
            (left, right),
            (low, high),
            dict(zip(across, [f"{'step' if self._in_steps else 'epoch'} {names[0]}", *names[1:]], strict=True)),
            dict(zip(places, map(label, ticks), strict=True)),
            self.view.cursor,
        )

    def color(self, name: str) -> tuple[int, int, int]:
        """A colour of the theme."""
        return theme_color(self.app.theme_variables, name).rgb

    def legend(self) -> Text:
        """The curves' names in their colours with the newest values, or those at the cursor, for a line above."""
        line = Text(no_wrap=True, overflow="ellipsis")
        if self.view.cursor is not None:
            unit = "step" if self._in_steps else "epoch"
            line.append(f"{unit} {self.view.cursor:,.4g}  ", style="bold")
        for curve in self.curves:
            value = curve.at(self.view.cursor)
            style = "rgb({},{},{})".format(*self.color(curve.color))
            line.append(f"{'•' if curve.dots else '━'} {curve.name}", style=style)
            line.append("  " if value is None else f" {_value(value)}  ")
        line.append(self._how())
        line.rstrip()
        return line

    def _how(self) -> str:
        """In what way the curves are looked at, where that is not the usual one."""
        said = []
        if self.view.smoothing != View.smoothing:
            said.append(f"smoothed {self.view.smoothing:g}")
        if not self.view.log and self.view.quantity in ("loss", "distance"):
            said.append("linear")
        if self.view.span is not None:
            said.append("zoomed")
        return " · ".join(said)


class CurvePanel(Vertical):
    """A plot with its legend above."""

    DEFAULT_CSS = """
    CurvePanel { width: 1fr; height: 1fr; & #legend { height: 1; width: 1fr; text-wrap: nowrap; } }
    """

    def compose(self) -> ComposeResult:
        """The legend, then the plot."""
        yield Static(id="legend")
        yield CurvePlot()

    @property
    def plot(self) -> CurvePlot:
        """The plot."""
        return self.query_one(CurvePlot)

    def on_mount(self) -> None:
        """Follow changes of theme."""
        self.watch(self.app, "theme", self._wear, init=False)

    def _wear(self) -> None:
        self.call_after_refresh(self._tell)

    def on_curve_plot_viewed(self, message: CurvePlot.Viewed) -> None:
        """Say what the plot shows now."""
        message.stop()
        self._tell()

    def _tell(self) -> None:
        known = any(curve.xs for curve in self.plot.curves)
        self.query_one("#legend", Static).update(self.plot.legend() if known else "", layout=False)


def _value(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else label(value)
