"""The description of a run before it starts, or why it cannot start."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from tui.widgets.text_line import shortened

if TYPE_CHECKING:
    from core.runs.description import RunDescription

GAP = 2  # columns between the button and the last row


class DescriptionView(Widget):
    """Shows as many lines of a description as fit, the most important first, or a text instead."""

    DEFAULT_CSS = """
    DescriptionView { height: 1fr; color: $foreground 80%; }
    DescriptionView.-wrong { color: $text-error; }
    """

    def __init__(self, button: Widget) -> None:
        super().__init__()
        self._shown: RunDescription | str = ""
        self._button = button  # covers the beginning of the last row on a narrow terminal

    def show(self, shown: RunDescription | str, *, is_error: bool = False) -> None:
        """Show a description or a text."""
        self._shown = shown
        self.set_class(is_error, "-wrong")
        self.refresh()

    def render(self) -> Content:
        """Render what fits."""
        width, rows = self.content_size
        covered = self._button.region.overlaps(self.region)
        indent = self._button.region.right + GAP - self.region.x if covered else 0
        indents = [0] * (rows - 1) + [indent]
        if isinstance(self._shown, str):
            blank = " " * indent
            first = "" if rows > 1 else blank
            lines = textwrap.wrap(self._shown, max(width, 20), initial_indent=first, subsequent_indent=blank)
            return Content("\n".join(shortened(line, width) for line in lines[:rows]))
        lines = [
            " " * before + _fitting(versions, width - before)
            for before, versions in zip(indents, self._shown.lines, strict=False)
        ]
        return Content("\n").join(
            [Content.styled(line, "$foreground 60%" if number == 2 else "") for number, line in enumerate(lines)]
        )


def _fitting(versions: list[str], width: int) -> str:
    """The first version that fits, else the beginning of the last one."""
    return next((text for text in versions if cell_len(text) <= width), shortened(versions[-1], width))
