"""Covers every screen while the terminal is too small."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.geometry import Size
from textual.widgets import Static

from tui.widgets.modal import Modal

MINIMUM = Size(60, 20)  # columns and rows


def is_small(size: Size) -> bool:
    """Return whether a terminal of this size is too small for the app."""
    return size.width < MINIMUM.width or size.height < MINIMUM.height


class TooSmallScreen(Modal[None]):
    """Shows the required and the current size; closes itself once the terminal is large enough."""

    DEFAULT_CSS = """
    TooSmallScreen Static {
        width: 100%; height: 100%; background: $background; content-align: center middle; text-align: center;
    }
    """

    def compose(self) -> ComposeResult:
        yield Static()

    def on_resize(self) -> None:
        """Show the current size, or close."""
        size = self.app.size
        if not is_small(size):
            self.dismiss()
            return
        sizes = f"minidiff needs {MINIMUM.width}x{MINIMUM.height} cells, this terminal has {size.width}x{size.height}."
        self.query_one(Static).update(f"{sizes} Enlarge the window or use a smaller font.")
