"""What stands over every screen while the terminal is too small: how much room is needed, and how much there is."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.geometry import Size
from textual.widgets import Static

from tui.widgets.modal import Modal

LEAST = Size(60, 20)


def is_small(size: Size) -> bool:
    """Whether a terminal of this size shows too little of a screen."""
    return size.width < LEAST.width or size.height < LEAST.height


class TooSmallScreen(Modal[None]):
    """Goes by itself as soon as there is room."""

    DEFAULT_CSS = """
    TooSmallScreen Static {
        width: 100%; height: 100%; background: $background; content-align: center middle; text-align: center;
    }
    """

    def compose(self) -> ComposeResult:
        """One sentence."""
        yield Static()

    def on_resize(self) -> None:
        """Tell the size, or go."""
        size = self.app.size
        if not is_small(size):
            self.dismiss()
            return
        needed = f"minidiff needs {LEAST.width}x{LEAST.height} cells and has {size.width}x{size.height}"
        self.query_one(Static).update(f"{needed}: make the window larger, or its letters smaller")
