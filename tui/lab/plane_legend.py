"""The legend of the 2-D bench: the color of each class."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui.lab.plane_canvas import class_style

DOT = "●"
COLUMNS = 30  # of a legend in one line


def class_legend(names: Sequence[str], lines: int) -> Content:
    """The color of each class, in columns of `lines` lines; in one line without the names if they do not fit."""
    entries = [Content.assemble((f"{DOT} ", class_style(label)), name) for label, name in enumerate(names)]
    if lines == 1:
        legend = Content("  ").join(entries)
        if legend.cell_length <= COLUMNS:
            return legend
        dots = [(DOT, class_style(label)) for label in range(len(names))]
        return Content.assemble(*dots, f" {len(names)} classes")
    columns = [entries[first : first + lines] for first in range(0, len(entries), lines)]
    widths = [max(entry.cell_length for entry in column) for column in columns]
    rows = (
        Content("  ").join(
            column[row].pad_right(width - column[row].cell_length)
            for column, width in zip(columns, widths, strict=True)
            if row < len(column)
        )
        for row in range(min(lines, len(entries)))
    )
    return Content("\n").join(rows)
