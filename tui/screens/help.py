"""The help overlay: what the screen is for, and its keys."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from tui.modal import Modal

TEXTUALS_OWN = ("app.focus_next", "app.focus_previous", "screen.copy_text")  # bound on every screen by Textual


class HelpScreen(Modal[None]):
    """Lists the keys that work on `shown`, below that screen's own HELP text."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & > VerticalScroll {
            width: 74; max-width: 100%; height: auto; max-height: 100%; scrollbar-size-vertical: 1;
            background: $surface; border: round $primary; padding: 1 2;
            border-title-color: $primary; border-subtitle-color: $foreground 50%;
        }
        & Static { height: auto; }
        & Horizontal { height: auto; margin-top: 1; }
        & #here { width: 3fr; }
        & #everywhere { width: 2fr; }
    }
    """

    def __init__(self, shown: Screen[object]) -> None:
        super().__init__()
        self._help = str(getattr(shown, "HELP", "") or "").strip()
        self._here = _keys(shown, shown)
        self._everywhere = [*_keys(shown, shown.app), ("tab", "Next field")]

    def compose(self) -> ComposeResult:
        """The text, then the keys of the screen beside those that hold everywhere."""
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            if self._help:
                yield Static(self._help, markup=False)
            with Horizontal():
                yield Static(_table("On this screen", self._here), id="here")
                yield Static(_table("Everywhere", self._everywhere), id="everywhere")


def _keys(shown: Screen[object], node: DOMNode) -> list[tuple[str, str]]:
    """The keys that `node`, the screen shown or the app, gives a meaning, and that meaning."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in shown.active_bindings.values():
        binding = active.binding
        if active.node is node and binding.description and binding.action not in TEXTUALS_OWN:
            keys.setdefault((binding.action, binding.description), []).append(shown.app.get_key_display(binding))
    return [(" ".join(displays), text[0].upper() + text[1:]) for (_, text), displays in keys.items()]


def _table(title: str, keys: list[tuple[str, str]]) -> Content:
    width = max((cell_len(key) for key, _ in keys), default=0)
    rows = [Content.assemble(" " * (width - cell_len(key)), (key, "bold $primary"), "  ", text) for key, text in keys]
    return Content("\n").join([Content.styled(title, "$foreground 50%"), *rows])
