"""Bordered panels of the Lab: pictures under a title, and plots with their legend."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.lab.number_text import decimals
from tui.lab.small_plot import Curves, Range, SmallPlot

CORNERS = 6  # columns of the border and of spaces beside a title


class PicturePanel(Container):
    """A border with a title above and a note below; in small terminals only a line with the title."""

    SCOPED_CSS = False  # the rule for narrow terminals uses the screen's classes
    DEFAULT_CSS = """
    PicturePanel {
        width: 1fr; height: 1fr; border: round $border-blurred;
        border-title-color: $primary; border-subtitle-color: $foreground 60%; border-subtitle-align: right;
    }
    .-narrow PicturePanel { border: none; border-top: solid $border-blurred; }
    """

    def __init__(self, *children: Widget, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(*children, id=id, classes=classes)
        self._titles: Sequence[str] = ("",)
        self._notes: Sequence[str] = ("",)
        self._key = ""
        self.shown_title = self.shown_note = ""
        """What the border says."""

    def set_titles(self, *titles: str, notes: Sequence[str] = ("",), key: str = "") -> None:
        """Set the title and the note: of each, the first that fits is shown.

        Args:
            titles: Longest first; if none fits, there is no title.
            notes: Likewise.
            key: A key that changes what the panel shows, in front of the title.
        """
        self._titles, self._notes, self._key = titles, notes, key
        self._show_titles()

    def on_resize(self) -> None:
        self._show_titles()

    def _show_titles(self) -> None:
        room = self.outer_size.width - CORNERS
        key = f"{self._key} " if self._key else ""
        title = next((text for text in self._titles if len(key) + len(text) <= room), "")
        note = next((text for text in self._notes if len(text) <= room), "")
        if self.shown_title != key + title:
            self.shown_title = key + title
            self.border_title = Content.assemble((key, "bold $accent"), title) if key else Content(title)
        if self.shown_note != note:
            self.shown_note = note
            self.border_subtitle = Content(note)


class PlotPanel(PicturePanel):
    """A plot over noise levels; its title is that of the y axis, and the legend is above the plot.

    Args:
        titles: Title of the y axis, with its unit; longest first.
    """

    DEFAULT_CSS = """
    PlotPanel .legend { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *titles: str, id: str) -> None:
        super().__init__(id=id)
        self._names = titles

    def compose(self) -> ComposeResult:
        yield Static(classes="legend")
        yield SmallPlot()

    def show(
        self, curves: Curves, cursor: float, *, key: str = "", band: Range | None = None, high: float | None = None
    ) -> None:
        """Draw curves and the cursor; the legend has the value of each at the cursor if there is room.

        Args:
            curves: As for `SmallPlot`; those without a name of their own are left out of the legend.
            cursor: A noise level.
            key: As for `set_titles`.
            band, high: As for `SmallPlot`.
        """
        self.set_titles(*self._names, key=key)
        self.query_one(SmallPlot).show(curves, cursor, band=band, high=high)
        values = [f" {_value(curve, cursor)}".rstrip() for curve in curves.values()]
        for texts in (values, [""] * len(values)):
            entries = [
                Content.styled(f"━ {name}{text}", f"${curve[0]}")
                for (name, curve), text in zip(curves.items(), texts, strict=True)
                if not name.startswith(UNNAMED)
            ]
            legend = Content("  ").join(entries)
            if legend.cell_length <= self.content_size.width:
                break
        self.query_one(".legend", Static).update(legend, layout=False)


UNNAMED = "_"  # prefix of a curve that has no entry in the legend


def _value(curve: tuple[str, Sequence[float], Sequence[float]], at: float) -> str:
    """The value of a curve at one of its points; empty if it has none there."""
    value = next((y for x, y in zip(curve[1], curve[2], strict=True) if abs(x - at) < 1e-6), None)
    return "" if value is None else decimals(value, 3)
