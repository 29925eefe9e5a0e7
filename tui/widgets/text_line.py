"""Changes the text of a widget only where it differs, so that a screen at rest writes nothing."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


def update_text(widget: Static, text: Content | str, *, layout: bool = True) -> None:
    """Show `text`, without markup; `layout` is False if the widget's size does not depend on it."""
    new, shown = Content(text) if isinstance(text, str) else text, widget.content
    if not isinstance(shown, Content) or not shown.is_same(new):
        widget.update(new, layout=layout)
