"""The help overlay: what the screen is for, and its keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from tui.actions import bindings
from tui.widgets.modal import TextPage

TEXTUALS_OWN = ("app.focus_next", "app.focus_previous", "screen.copy_text")  # bound on every screen by Textual


PLACES = {"plot": "In the plot", "table": "In the table", "app": "Everywhere"}


class HelpScreen(TextPage):
    """Lists the keys that work on `shown`, those of the focused place first, below that screen's own HELP text."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("help")
    DEFAULT_CSS = """
    HelpScreen {
        & > VerticalScroll { width: 74; }
        & Horizontal { height: auto; margin-top: 1; }
        & #here { width: 3fr; }
        & #everywhere { width: 2fr; }
    }
    """

    def __init__(self, shown: Screen[object]) -> None:
        super().__init__()
        self._help = str(getattr(shown, "HELP", "") or "").strip()
        self._here = list(_sections(shown))
        self._everywhere = [*_keys(shown, shown.app), ("tab", "Next field")]

    def compose(self) -> ComposeResult:
        """The text, then the keys of the screen beside those that hold everywhere."""
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            if self._help:
                yield Static(self._help, markup=False)
            with Horizontal():
                yield Static(Content("\n\n").join([_table(title, keys) for title, keys in self._here]), id="here")
                yield Static(_table(PLACES["app"], self._everywhere), id="everywhere")


def _sections(shown: Screen[object]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The keys of the focused widget and what it lies in, from the inside out, and those of the screen."""
    nodes = [*(shown.focused.ancestors_with_self if shown.focused else ()), shown]
    for node in dict.fromkeys(nodes):
        if node is not shown.app and (keys := _keys(shown, node)):
            places = {active.binding.id.partition(".")[0] for active in _of(shown, node) if active.binding.id}
            here = "On this screen" if node is shown else "Here"
            yield next((PLACES[place] for place in sorted(places) if place in PLACES), here), keys


def _of(shown: Screen[object], node: DOMNode) -> list[ActiveBinding]:
    found = [active for active in shown.active_bindings.values() if active.node is node and active.binding.description]
    return [active for active in found if active.binding.action not in TEXTUALS_OWN]


def _keys(shown: Screen[object], node: DOMNode) -> list[tuple[str, str]]:
    """The keys that `node` gives a meaning, and that meaning."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in _of(shown, node):
        binding = active.binding
        keys.setdefault((binding.action, binding.description), []).append(shown.app.get_key_display(binding))
    return [(" ".join(dict.fromkeys(shows)), text[0].upper() + text[1:]) for (_, text), shows in keys.items()]


def _table(title: str, keys: list[tuple[str, str]]) -> Content:
    width = max((cell_len(key) for key, _ in keys), default=0)
    rows = [Content.assemble(" " * (width - cell_len(key)), (key, "bold $primary"), "  ", text) for key, text in keys]
    return Content("\n").join([Content.styled(title, "$foreground 50%"), *rows])
