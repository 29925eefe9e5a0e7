"""The welcome that a first start lays over the screen: what this is, and the few keys that lead everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.actions import ACTIONS, bindings
from tui.widgets.modal import TextPage

PLACES = (
    ("1", "Sample", "digits come out of noise, step by step"),
    ("2", "Train", "a model of your own"),
    ("3", "Runs", "what was trained here, side by side"),
    ("4", "Devices", "what the machine is doing"),
    ("5", "Lab", "convolution, noise and the net, taken apart"),
    ("?", "Help", "the keys of the place where you are"),
    ("q", "Quit", "leave; training goes on"),
)
TEXT = (
    "A small diffusion model is drawing digits behind this: on the left the noise that it is given, on the right the "
    "clean digits that it sees in it. Space stops it, arrows go step by step."
)


class WelcomeScreen(TextPage):
    """Shown once; a key that works everywhere closes it too, and does what it says there."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("welcome")
    DEFAULT_CSS = """
    WelcomeScreen {
        & > VerticalScroll { width: 64; }
        & #places { margin-top: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """A paragraph and the keys."""
        with VerticalScroll() as box:
            box.border_title = "Welcome to minidiff"
            box.border_subtitle = "enter begins"
            yield Static(TEXT)
            yield Static(Content("\n").join(Content.assemble(*row) for row in _rows()), id="places")

    def on_key(self, event: events.Key) -> None:
        """Let the screen below have what works everywhere."""
        everywhere = {key for action in ACTIONS if action.place == "app" for key in action.keys.split(",")}
        if event.key in everywhere:
            event.stop()
            self.dismiss()
            self.app.simulate_key(event.key)


def _rows() -> Iterator[tuple[tuple[str, str], ...]]:
    for key, name, text in PLACES:
        yield (f" {key}  ", "bold $primary"), (f"{name:<9}", "bold"), (text, "$foreground 70%")
