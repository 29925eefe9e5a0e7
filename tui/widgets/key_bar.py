"""The footer: as many keys of the focused widget and screen as fit, and always those of the app."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual import events
from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

GAP = 2  # cells between entries


@dataclass(frozen=True)
class Entry:
    """A key, or a group of keys, with its label."""

    key: str  # pressed when the entry is clicked
    display: str
    label: str

    @property
    def content(self) -> Content:
        """The key and its label."""
        key, label = "$footer-key-foreground bold", "$footer-description-foreground"
        return Content.assemble((self.display, key), (f" {self.label}", label))


class KeyBar(Widget):
    """Displays the active bindings of its screen; a click on an entry simulates its key. Posts no messages."""

    DEFAULT_CSS = """
    KeyBar { height: 1; width: 1fr; dock: bottom; background: $footer-background; text-wrap: nowrap; padding: 0 1; }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _: Screen[object]) -> None:
        self.refresh()

    def _entries(self) -> tuple[list[Entry], list[Entry]]:
        """Return the entries of the focused widget and screen, and those of the app."""
        local: dict[str, list[ActiveBinding]] = {}
        app_wide: dict[str, list[ActiveBinding]] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.enabled and active.binding.description:
                group = active.binding.group
                groups = app_wide if active.node is self.app else local
                groups.setdefault(group.description if group else active.binding.description, []).append(active)
        return list(self._merge(local)), list(self._merge(app_wide))

    def _merge(self, groups: dict[str, list[ActiveBinding]]) -> Iterator[Entry]:
        """Yield one entry per label, with the shortest key of each action."""
        for label, actives in groups.items():
            shortest: dict[str, tuple[str, str]] = {}  # by action: displayed key and key
            for active in actives:
                display = self.app.get_key_display(active.binding)
                current = shortest.get(active.binding.action)
                if current is None or len(display) < len(current[0]):
                    shortest[active.binding.action] = display, active.binding.key
            keys = list(shortest.values())
            yield Entry(keys[0][1], "".join(display for display, _ in keys), label)

    def _visible_entries(self) -> list[tuple[int, Entry]]:
        """Return the entries that fit, with their first columns."""
        local, app_wide = self._entries()
        width = self.content_size.width - sum(entry.content.cell_length for entry in app_wide)
        width -= GAP * max(0, len(app_wide) - 1)
        placed, column = [], 0
        for entry in local:
            end = column + entry.content.cell_length
            if end + GAP > width:
                break
            placed.append((column, entry))
            column = end + GAP
        for entry in app_wide:
            placed.append((column, entry))
            column += entry.content.cell_length + GAP
        return placed

    def render(self) -> Content:
        """Render the line."""
        parts = [entry.content for _, entry in self._visible_entries()]
        return Content(" " * GAP).join(parts)

    def on_click(self, event: events.Click) -> None:
        for column, entry in self._visible_entries():
            if column <= event.x - self.gutter.left < column + entry.content.cell_length:
                self.app.simulate_key(entry.key)
