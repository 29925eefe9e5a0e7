"""The help overlay: the description of a screen and its keys."""

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

TEXTUAL_ACTIONS = ("app.focus_next", "app.focus_previous", "screen.copy_text")  # Textual binds them on every screen
SCOPE_TITLES = {"plot": "In the plot", "table": "In the table", "app": "Everywhere"}


class HelpScreen(TextPage):
    """Shows the HELP text of screen `shown` and its active keys, those of the focused widget first."""

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
        self._sections = list(_sections(shown))
        self._global_keys = [*_keys(shown, shown.app), ("tab", "Next field")]

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            if self._help:
                yield Static(self._help, markup=False)
            with Horizontal():
                yield Static(Content("\n\n").join([_table(title, keys) for title, keys in self._sections]), id="here")
                yield Static(_table(SCOPE_TITLES["app"], self._global_keys), id="everywhere")


def _sections(shown: Screen[object]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles and keys of the focused widget, its ancestors, and the screen, in this order."""
    nodes = [*(shown.focused.ancestors_with_self if shown.focused else ()), shown]
    for node in dict.fromkeys(nodes):
        if node is not shown.app and (keys := _keys(shown, node)):
            scopes = {active.binding.id.partition(".")[0] for active in _active(shown, node) if active.binding.id}
            default = "On this screen" if node is shown else "Here"
            yield next((SCOPE_TITLES[scope] for scope in sorted(scopes) if scope in SCOPE_TITLES), default), keys


def _active(shown: Screen[object], node: DOMNode) -> list[ActiveBinding]:
    """The active bindings of `node` that have a description."""
    active = [binding for binding in shown.active_bindings.values() if binding.node is node]
    return [one for one in active if one.binding.description and one.binding.action not in TEXTUAL_ACTIONS]


def _keys(shown: Screen[object], node: DOMNode) -> list[tuple[str, str]]:
    """Keys and descriptions of the active bindings of `node`."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in _active(shown, node):
        binding = active.binding
        keys.setdefault((binding.action, binding.description), []).append(shown.app.get_key_display(binding))
    return [(" ".join(dict.fromkeys(names)), text[0].upper() + text[1:]) for (_, text), names in keys.items()]


def _table(title: str, keys: list[tuple[str, str]]) -> Content:
    width = max((cell_len(key) for key, _ in keys), default=0)
    rows = [Content.assemble(" " * (width - cell_len(key)), (key, "bold $primary"), "  ", text) for key, text in keys]
    return Content("\n").join([Content.styled(title, "$foreground 50%"), *rows])
