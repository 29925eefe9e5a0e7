"""The welcome page of the first start: what the app does, and its main keys."""

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

KEYS = (
    ("1", "Sample", "watch a model denoise, step by step"),
    ("2", "Train", "train your own model"),
    ("3", "Runs", "manage and compare your runs"),
    ("4", "Devices", "GPU and CPU status"),
    ("5", "Lab", "see how diffusion models work"),
    ("?", "Help", "the keys of the current screen"),
    ("f2", "Settings", "theme, images, frame rate"),
    ("q", "Quit", "quit; a run that is training continues"),
)
TEXT = (
    "Behind this page, a small diffusion model generates digits: the noisy state, and the model's "
    "prediction of the clean digits. Space pauses, the arrow keys step."
)


class WelcomeScreen(TextPage):
    """Shown once. Global keys close it and then run their action."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("welcome")
    DEFAULT_CSS = """
    WelcomeScreen {
        & > VerticalScroll { width: 64; }
        & #keys { margin-top: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Welcome to minidiff"
            box.border_subtitle = "enter starts"
            yield Static(TEXT)
            yield Static(Content("\n").join(Content.assemble(*row) for row in _rows()), id="keys")

    def on_key(self, event: events.Key) -> None:
        """Close on a global key and pass it to the screen below."""
        global_keys = {key for action in ACTIONS if action.scope == "app" for key in action.keys.split(",")}
        if event.key in global_keys:
            event.stop()
            self.dismiss()
            self.app.simulate_key(event.key)


def _rows() -> Iterator[tuple[tuple[str, str], ...]]:
    for key, name, text in KEYS:
        yield (f" {key:<4}", "bold $primary"), (f"{name:<9}", "bold"), (text, "$foreground 70%")
