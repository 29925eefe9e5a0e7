"""The bottom line: the keys of the place that has the focus, as many as fit, and always help and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual import events
from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

BETWEEN = 2  # cells from one entry to the next


@dataclass(frozen=True)
class Entry:
    """What the line says of one key, or of a group of keys."""

    key: str  # pressed where the entry is clicked
    shown: str
    label: str

    @property
    def content(self) -> Content:
        """The key, then what it does."""
        key, label = "$footer-key-foreground bold", "$footer-description-foreground"
        return Content.assemble((self.shown, key), (f" {self.label}", label))


class KeyBar(Widget):
    """Follows the bindings of its screen; a click on an entry is a press of its key."""

    DEFAULT_CSS = """
    KeyBar { height: 1; width: 1fr; dock: bottom; background: $footer-background; text-wrap: nowrap; padding: 0 1; }
    """

    def on_mount(self) -> None:
        """Follow the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _: Screen[object]) -> None:
        self.refresh()

    def _entries(self) -> tuple[list[Entry], list[Entry]]:
        """Those of the place, and those of the app, which hold everywhere."""
        here: dict[str, list[ActiveBinding]] = {}
        everywhere: dict[str, list[ActiveBinding]] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.enabled and active.binding.description:
                group = active.binding.group
                place = everywhere if active.node is self.app else here
                place.setdefault(group.description if group else active.binding.description, []).append(active)
        return list(self._named(here)), list(self._named(everywhere))

    def _named(self, groups: dict[str, list[ActiveBinding]]) -> Iterator[Entry]:
        for label, actives in groups.items():
            shortest: dict[str, tuple[str, str]] = {}  # by action: how its key is shown, and the key
            for active in actives:
                shown = self.app.get_key_display(active.binding)
                known = shortest.get(active.binding.action)
                if known is None or len(shown) < len(known[0]):
                    shortest[active.binding.action] = shown, active.binding.key
            keys = list(shortest.values())
            yield Entry(keys[0][1], "".join(shown for shown, _ in keys), label)

    def _fitting(self) -> list[tuple[int, Entry]]:
        """The entries that there is room for, with the columns they begin at."""
        here, everywhere = self._entries()
        room = self.content_size.width - sum(entry.content.cell_length for entry in everywhere)
        room -= BETWEEN * max(0, len(everywhere) - 1)
        placed, at = [], 0
        for entry in here:
            end = at + entry.content.cell_length
            if end + BETWEEN > room:
                break
            placed.append((at, entry))
            at = end + BETWEEN
        for entry in everywhere:
            placed.append((at, entry))
            at += entry.content.cell_length + BETWEEN
        return placed

    def render(self) -> Content:
        """The line."""
        parts = [entry.content for _, entry in self._fitting()]
        return Content(" " * BETWEEN).join(parts)

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        for at, entry in self._fitting():
            if at <= event.x - self.gutter.left < at + entry.content.cell_length:
                self.app.simulate_key(entry.key)
