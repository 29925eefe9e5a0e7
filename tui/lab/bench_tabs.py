"""The names of the Lab's benches, to choose from with the mouse."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class BenchTabs(Widget):
    """The names of the benches; the visible one is highlighted, and a click posts `Chosen`."""

    @dataclass
    class Chosen(Message):
        """Another bench was clicked."""

        name: str

    DEFAULT_CSS = """
    BenchTabs { height: 1; width: auto; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, titles: dict[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self.active = next(iter(titles))

    def set_active(self, name: str) -> None:
        """Highlight a bench."""
        self.active = name
        self.refresh()

    def render(self) -> Content:
        parts = []
        for name, title in self._titles.items():
            parts.append(
                (f" {title} ", "bold $foreground on $primary 30%" if name == self.active else "$foreground 60%")
            )
            parts.append((" ", ""))
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        at = self.gutter.left
        for name, title in self._titles.items():
            if at <= event.x < at + len(title) + 2:
                self.post_message(self.Chosen(name))
            at += len(title) + 3
