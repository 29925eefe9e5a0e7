"""Updates of static text that skip unchanged content, so an idle screen writes no output."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


def update_text(widget: Static, text: Content | str, *, layout: bool = True) -> None:
    """Set the text of a widget, without markup, if it changed; `layout=False` if its size does not depend on it."""
    new, current = Content(text) if isinstance(text, str) else text, widget.content
    if not isinstance(current, Content) or not current.is_same(new):
        widget.update(new, layout=layout)
