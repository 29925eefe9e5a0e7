"""Interactive plots of one or several runs: zoom, pan, smoothing and a cursor."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.align import Align
from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.binding import BindingType
from textual.message import Message
from textual_plotext import PlotextPlot

from core.runs.history import RunHistory
from tui.actions import bindings
from tui.themes import theme_color
from tui.widgets.axes import MARK, Axes, Band, Line, band_color, draw_plot
from tui.widgets.curves import (
    BY_LEVEL,
    Curve,
    SeriesCache,
    View,
    build_curves,
    downsample,
    envelope,
    loss_ticks,
    overlay_curves,
    round_ticks,
    steps_per_unit,
    tick_label,
)

MISSING = "–"  # the value of a curve that has none yet
MARGIN = 10  # columns for the y labels and the axis
STEP = 0.01  # fraction of the span per cursor step
DECADES = 1.0  # of a logarithmic axis, below the lowest curve, that show a reference
# One color per run, from the 256-color table; distinct on dark and light backgrounds.
RUN_COLORS = ("plot-average", "plot-validation", "plot-run-3", "plot-run-4", "plot-run-5", "plot-run-6")


class CurvePlot(PlotextPlot, can_focus=True):
    """Plots the history of one run or of several; posts `ViewChanged`.

    Attributes:
        view: Quantity, axes, smoothing, span and cursor.
        render_seconds: Duration of the last render, in seconds.
    """

    @dataclass
    class ViewChanged(Message):
        """Posted when the curves or the view changed."""

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
        self._series: dict[str, SeriesCache] = {}  # by run
        self._placeholder = self._note = ""
        self._curves: list[Curve] | None = None  # None: to be rebuilt
        self.render_seconds = 0.0

    def set_history(self, history: RunHistory, placeholder: str = "") -> None:
        """Plot one run; show `placeholder` while it has no points."""
        self._histories, self._placeholder = {"": history}, placeholder
        self._note = ""
        self._rebuild(self.view)

    def set_histories(self, histories: Mapping[str, RunHistory], note: str = "") -> None:
        """Plot several runs by name, one curve each; `note` is a warning about comparing their losses."""
        self._histories, self._placeholder = dict(histories), "no such curve in these runs"
        self._note = note
        self._rebuild(self.view)

    @property
    def curves(self) -> list[Curve]:
        """All curves, not limited to the visible span."""
        if self._curves is None:
            if len(self._histories) == 1:
                ((name, history),) = self._histories.items()
                self._curves = build_curves(history, self.view, self._series[name])
            else:
                self._curves = overlay_curves(self._histories, self.view, RUN_COLORS, self._series)
        return self._curves

    @property
    def note(self) -> str:
        """A warning about comparing the curves; empty for none."""
        return self._note if self.view.quantity in ("loss", BY_LEVEL) else ""

    @property
    def extent(self) -> tuple[float, float]:
        """Range of the x axis, from 0 to the last point."""
        if self.view.quantity == BY_LEVEL:
            return 0.0, 1.0
        ends = [self._end(history) for history in self._histories.values()]
        return 0.0, max(ends, default=0.0) or 1.0

    def _end(self, history: RunHistory) -> float:
        steps = [events[-1].step for events in (history.progress, history.epochs) if events]
        return max(steps, default=0) / steps_per_unit(history, self.view)

    def _rebuild(self, view: View) -> None:
        self.view = view
        self._series = {name: self._series.get(name) or SeriesCache() for name in self._histories}
        self._curves = None
        self.refresh()
        self.post_message(self.ViewChanged(self))

    def _set_view(self, view: View) -> None:
        """Change the view, reusing the curves if the span is the same."""
        self._curves = self._curves if view.span == self.view.span else None
        self.view = view
        self.refresh()
        self.post_message(self.ViewChanged(self))

    # Actions

    def action_zoom(self, by: int) -> None:
        """Zoom in, or out if `by` is negative."""
        self._set_view(self.view.zoomed(self.extent, by))

    def action_pan(self, by: int) -> None:
        """Pan right, or left if `by` is negative."""
        self._set_view(self.view.panned(self.extent, by))

    def action_cursor(self, by: int) -> None:
        """Move the cursor; the legend shows the values there."""
        self._set_view(self.view.moved(self.extent, by * STEP))

    def action_all(self) -> None:
        """Reset the zoom and remove the cursor."""
        self._set_view(replace(self.view, span=None, cursor=None))

    def action_log(self) -> None:
        """Switch the y axis between logarithmic and linear."""
        self._set_view(replace(self.view, log=not self.view.log))

    def action_by_step(self) -> None:
        """Switch the x axis between steps and epochs."""
        self._rebuild(replace(self.view, by_step=not self.view.by_step, span=None, cursor=None))

    def action_smooth(self, by: int) -> None:
        """Increase the smoothing, or decrease it if `by` is negative."""
        self._rebuild(self.view.smoother(by))

    def action_quantity(self) -> None:
        """Show the next quantity."""
        self._rebuild(self.view.next_quantity())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_zoom(-1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._move_cursor_to(event.x)
        self.action_zoom(1)

    def on_click(self, event: events.Click) -> None:
        self._move_cursor_to(event.x)

    def _move_cursor_to(self, column: int) -> None:
        left, right = self.view.span or self.extent
        width = max(1, self.size.width - MARGIN)
        fraction = min(1.0, max(0.0, (column - MARGIN + 2) / width))
        self._set_view(replace(self.view, cursor=left + fraction * (right - left)))

    # Rendering

    def series(self, columns: int) -> dict[str, tuple[list[float], list[float]]]:
        """Return visible xs and ys by curve name, downsampled to `columns`; log10 of y on a logarithmic axis."""
        span = self.view.span or self.extent
        return {curve.name: downsample(curve, span, columns, log=self._is_log) for curve in self.curves}

    @property
    def _unit(self) -> str:
        """The unit of the x axis."""
        if self.view.quantity == BY_LEVEL:
            return "t"
        in_steps = self.view.by_step or all(history.dataset is None for history in self._histories.values())
        return "step" if in_steps else "epoch"

    @property
    def _has_log_axis(self) -> bool:
        """Whether the y axis of the quantity can be logarithmic."""
        return self.view.quantity in ("loss", "distance", BY_LEVEL)

    @property
    def _is_log(self) -> bool:
        return self.view.log and self._has_log_axis

    def render(self) -> RenderResult:
        start = time.perf_counter()
        try:
            return self._render_plot()
        finally:
            self.render_seconds = time.perf_counter() - start

    def _render_plot(self) -> RenderResult:
        width, height = self.size
        columns, span = max(1, width - MARGIN), self.view.span or self.extent
        drawn = self.series(columns)
        envelopes = {
            curve.name: envelope(curve, span, columns, log=self._is_log)
            for curve in self.curves
            if curve.lows is not None
        }
        heights = self._heights(drawn, envelopes)
        if not heights or width < MARGIN + 6 or height < 4:
            message = Text(self._empty_message(), justify="center")
            return Align.center(message, vertical="middle", height=height)
        axes = self._axes(heights)
        bands = [
            Band(xs, [max(low, axes.y_range[0]) for low in lows], highs, band_color(self))
            for xs, lows, highs in envelopes.values()
        ]
        lines = [
            Line(*drawn[curve.name], self.color(curve.color), marked=curve.marked)
            for curve in reversed(self.curves)  # the first on top
            if curve.lows is None or not self.view.smoothing
        ]
        return draw_plot(self, lines, axes, self.color("plot-axes"), bands)

    def _heights(
        self,
        drawn: Mapping[str, tuple[list[float], list[float]]],
        envelopes: Mapping[str, tuple[list[float], list[float], list[float]]],
    ) -> list[float]:
        """The ys that the axis shows: all but those of references that are far below."""
        shown = [curve.name for curve in self.curves if not curve.reference]
        heights = [y for name in shown for y in drawn[name][1]]
        heights += [y for name in shown if name in envelopes for ys in envelopes[name][1:] for y in ys]
        lowest = min(heights, default=math.inf) - DECADES if self._is_log else -math.inf
        references = [y for curve in self.curves if curve.reference for y in drawn[curve.name][1]]
        return heights + [y for y in references if y >= lowest] if heights else []

    def _empty_message(self) -> str:
        """The reason why no curve is visible."""
        if any(curve.xs for curve in self.curves):
            if self.view.span is not None:
                return "no points in this range; 0 resets the zoom"
            if self._is_log and any(math.isfinite(y) for curve in self.curves for y in curve.ys):
                return f"{self.view.quantity} is 0 or negative\ny switches to a linear axis"
            return f"{self.view.quantity} is NaN or infinite"
        if any(history.progress for history in self._histories.values()):
            if self.view.quantity == "distance":
                return "no distance measured\n--eval-every enables it during training"
            if self.view.quantity == BY_LEVEL:
                return "no loss by noise level in this log\nit needs the path flow or vp"
        return self._placeholder

    def _axes(self, heights: Sequence[float]) -> Axes:
        """The axes; a flat or single value gets a margin."""
        width, height = self.size
        low, high = min(heights), max(heights)
        margin = 0.05 if self._is_log else 0.05 * abs(high) or 1.0
        if high - low < 0.4 * margin:
            low, high = low - margin, high + margin
        left, right = self.view.span or self.extent
        count = max(2, height // 3)
        if self._is_log:
            ticks = loss_ticks(10**low, 10**high, count)
            positions = [math.log10(tick) for tick in ticks]
        else:
            positions = ticks = round_ticks(low, high, count)
        x_ticks = round_ticks(left, right, max(2, width // (24 if self._unit == "t" else 12)))
        names = [f"{tick:,.0f}" if tick == int(tick) else f"{tick:.3g}" for tick in x_ticks]
        return Axes(
            (left, right),
            (low, high),
            dict(zip(x_ticks, names, strict=True)),
            dict(zip(positions, map(tick_label, ticks), strict=True)),
            "noise level t" if self._unit == "t" else self._unit,
            self.view.cursor,
        )

    def color(self, name: str) -> tuple[int, int, int]:
        """RGB value of a theme variable."""
        return theme_color(self.app.theme_variables, name).rgb

    @property
    def title(self) -> str:
        """The quantity of the y axis."""
        return f"{self.view.quantity} (log)" if self._is_log else self.view.quantity

    def legend(self, width: int) -> Text:
        """The legend line: title, then curve names in their colors, with the values at the cursor or the newest ones.

        Entries that do not fit into `width` columns are left out whole: the loss of single steps, then the mean of the
        epochs, the changed settings, the title, the cursor's unit, and the last curves.
        """
        cursor = self.view.cursor
        unit = self._unit
        position = [] if cursor is None else [Text(f"{unit} {cursor:,.4g}", style="bold")]
        entries = {curve.name: self._legend_entry(curve) for curve in self.curves}
        title = [Text(self.title, style="bold")] if self.title not in entries else []  # else a curve's name is enough
        flags = [Text(view)] if (view := self._view_flags()) else []
        hidden = [name for name in ("loss", "epoch") if name in entries and len(self._histories) == 1]
        hidden = [name for name in hidden if len(entries) > 1 and self.view.quantity == "loss"]
        dropped = 0
        while True:
            more = [Text(f"+{dropped}")] if dropped and len(self._histories) > 1 else []
            line = Text("  ").join([*title, *position, *entries.values(), *more, *flags])
            if line.cell_len <= width:
                break
            if hidden:
                del entries[hidden.pop(0)]
            elif flags:
                flags.pop()
            elif title and title[0].plain != self.view.quantity:
                title = [Text(self.view.quantity, style="bold")]
            elif title:
                title = []
            elif position and position[0].plain.startswith(unit):
                position = [Text(position[0].plain.removeprefix(f"{unit} "), style="bold")]
            elif len(entries) > 1:
                entries.popitem()
                dropped += 1
            else:
                break
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _legend_entry(self, curve: Curve) -> Text:
        """Sign, name and value of a curve; at the cursor, a marked one has the last value up to it."""
        is_band = curve.lows is not None and self.view.smoothing > 0
        color = self.color("plot-axes" if is_band else curve.color)
        value = curve.at(self.view.cursor)
        entry = Text()
        if is_band:
            entry.append("█", style="rgb({},{},{})".format(*band_color(self)))
            entry.append(f" {curve.name}", style="rgb({},{},{})".format(*color))
        else:
            entry.append(f"{MARK if curve.marked else '━'} {curve.name}", style="rgb({},{},{})".format(*color))
        entry.append(f" {MISSING if value is None else _value(value)}")
        return entry

    def _view_flags(self) -> str:
        """View settings that differ from the defaults."""
        flags = []
        if self.view.smoothing != View.smoothing:
            flags.append(f"smoothed {self.view.smoothing:g}")
        if not self.view.log and self._has_log_axis:
            flags.append("linear")
        if self.view.span is not None:
            flags.append("zoomed")
        return " · ".join(flags)


def _value(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else tick_label(value)
