"""The top line: the project's name and the screens as tabs."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.widget import Widget

TABS = (
    ("sample", "1", "Sample"),
    ("train", "2", "Train"),
    ("runs", "3", "Runs"),
    ("devices", "4", "Devices"),
    ("lab", "5", "Lab"),
)
ROOMY = 100  # columns; with fewer the tabs stand close together, so that the note has room


class Header(Widget):
    """One line; the tab of `mode` is lit, and a click on another goes there. `note` stands at the right."""

    DEFAULT_CSS = """
    Header {
        height: 1; text-wrap: nowrap; text-overflow: ellipsis;
        width: 1fr; background: $surface; color: $foreground 60%;
    }
    """

    def __init__(self, mode: str, note: str = "") -> None:
        super().__init__()
        self.mode = mode
        self._note = note

    @property
    def note(self) -> str:
        """What stands at the right; left out where there is no room."""
        return self._note

    @note.setter
    def note(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self.refresh()

    @property
    def _gap(self) -> str:
        """What stands between two tabs, and twice before the first."""
        return " " if self.size.width >= ROOMY else ""

    def render(self) -> Content:
        """The line at the present width."""
        parts: list[Content | tuple[str, str]] = [(" minidiff ", "bold $primary"), (2 * self._gap, "")]
        for mode, key, title in TABS:
            lit = mode == self.mode
            parts.append((f" {key} ", "bold $foreground on $primary 30%" if lit else "$foreground 40%"))
            parts.append((f"{title} ", "bold $foreground on $primary 30%" if lit else "$foreground 75%"))
            parts.append((self._gap, ""))
        line = Content.assemble(*parts)
        room = self.size.width - line.cell_length - cell_len(self._note) - 1
        if self._note and room >= 1:
            line = Content.assemble(line, " " * room, (self._note, "$foreground 60%"), " ")
        return line

    def on_click(self, event: events.Click) -> None:
        """Go to the tab under the pointer."""
        start = len(" minidiff ") + 2 * len(self._gap)
        for mode, key, title in TABS:
            end = start + len(key) + 2 + len(title) + 1
            if start <= event.x < end and mode != self.mode:
                self.app.switch_mode(mode)
            start = end + len(self._gap)
