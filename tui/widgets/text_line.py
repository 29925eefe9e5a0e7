"""Text that fits a line, and text that is redrawn only if it changed."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.widgets import Static


def update_text(widget: Static, text: Content | str, *, layout: bool = True) -> None:
    """Set the text of a widget, without markup, if it changed; `layout=False` if its size does not depend on it."""
    new, current = Content(text) if isinstance(text, str) else text, widget.content
    if not isinstance(current, Content) or not current.is_same(new):
        widget.update(new, layout=layout)


def shortened(text: str, width: int, end: str = "") -> str:
    """`text` and `end`, such as a number, in at most `width` columns.

    An ellipsis replaces what does not fit: of the text, or of the end if not even that fits.
    """
    if cell_len(text) + cell_len(end) <= width:
        return text + end
    room = width - cell_len(end)
    if end and room < 2:  # no letter beside the ellipsis
        return shortened(end.strip(), width)
    return set_cell_size(text, max(0, room - 1)).rstrip() + "…"[:room] + end


def centered(text: str, width: int, end: str = "") -> str:
    """`text` and `end`, shortened if necessary, in the middle of `width` columns."""
    text = shortened(text, width, end)
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)
