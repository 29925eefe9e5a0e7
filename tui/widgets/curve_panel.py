"""A plot of curves under its legend."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from tui.widgets.curve_plot import CurvePlot


class CurvePanel(Vertical):
    """A `CurvePlot` with its legend above, and a note if there is one."""

    DEFAULT_CSS = """
    CurvePanel {
        width: 1fr; height: 1fr;
        & #legend, & #note { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        & #note { color: $text-warning; display: none; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="legend")
        yield Static(id="note", markup=False)
        yield CurvePlot()

    @property
    def plot(self) -> CurvePlot:
        """The plot in this panel."""
        return self.query_one(CurvePlot)

    def on_mount(self) -> None:
        self.watch(self.app, "theme", self._theme_changed, init=False)

    def _theme_changed(self) -> None:
        self.call_after_refresh(self._update_legend)

    def on_curve_plot_view_changed(self, message: CurvePlot.ViewChanged) -> None:
        message.stop()
        self._update_legend()

    def on_resize(self) -> None:
        self._update_legend()

    def _update_legend(self) -> None:
        plot, note = self.plot, self.query_one("#note", Static)
        has_points = any(curve.xs for curve in plot.curves)
        self.query_one("#legend", Static).update(plot.legend(self.size.width) if has_points else "", layout=False)
        note.update(plot.note, layout=False)
        note.display = bool(plot.note)
