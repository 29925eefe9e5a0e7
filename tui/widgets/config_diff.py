"""A table of the options in which several runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tui.widgets.curve_plot import RUN_COLORS
from tui.widgets.text_line import shortened

GAP = 2  # cells between columns
MAX_WIDTH = 24  # of a column, in cells


class ConfigDiff(Widget):
    """One row per option and one column per run, as many as fit; the runs have the colors of their curves."""

    DEFAULT_CSS = """
    ConfigDiff { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[str] = []
        self._rows: list[list[str]] = []  # option and value per run

    def show(self, runs: Sequence[str], differences: Mapping[str, Sequence[str]]) -> None:
        """Show the values by option, one per run in the order of `runs`."""
        self._runs = list(runs)
        self._rows = [[option, *values] for option, values in differences.items()]
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line per option below the names of the runs."""
        return 1 + max(1, len(self._rows))

    def render(self) -> Content:
        """Render what fits, and count what does not."""
        width, height = self.content_size
        table = [["option", *self._runs], *self._rows]
        widths = [min(MAX_WIDTH, max(map(cell_len, column))) for column in zip(*table, strict=True)]
        shown = 1
        while shown < len(widths) and sum(widths[: shown + 1]) + GAP * shown <= width:
            shown += 1
        rows = self._rows if len(self._rows) < height else self._rows[: max(0, height - 2)]
        muted = "$foreground 60%"
        colors = [muted, *(f"${RUN_COLORS[index % len(RUN_COLORS)]}" for index in range(len(self._runs)))]
        lines = [_line(table[0][:shown], widths, colors)]
        if shown < len(widths):
            lines[0] += Content.styled(
                shortened(f"  {len(widths) - shown} more", max(0, width - lines[0].cell_length)), muted
            )
        lines += [_line(row[:shown], widths, [muted] + [""] * len(self._runs)) for row in rows]
        if not self._rows:
            lines.append(Content.styled("the same options", muted))
        elif len(rows) < len(self._rows):
            names = ", ".join(row[0] for row in self._rows[len(rows) :])
            lines.append(Content.styled(shortened(f"and {names}", width), muted))
        return Content("\n").join(lines)


def _line(texts: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> Content:
    cells = []
    for text, width, style in zip(texts, widths, styles, strict=False):
        short = shortened(text, width)
        cells.append(Content.styled(short + " " * (width - cell_len(short)), style))
    return Content(" " * GAP).join(cells)
