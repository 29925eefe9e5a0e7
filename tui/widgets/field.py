"""A text field that shows its value from the first character while it does not have the focus."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.widgets import Input

from tui.actions import bindings


class Field(Input):
    """An `Input` that scrolls back to the start of its value when the focus leaves it or the value is replaced."""

    def on_blur(self) -> None:
        """Show the start of the value."""
        self._show_start()

    def watch_value(self) -> None:
        """Show the start of a value that was not typed."""
        if not self.has_focus:
            self._show_start()

    def _show_start(self) -> None:
        self.scroll_to(x=0, animate=False, force=True, immediate=True)


class SampleField(Field):
    """A field whose enter key generates samples."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("field")
