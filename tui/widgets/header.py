"""The header: the app name and a tab per screen."""

from __future__ import annotations

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
TITLE = " minidiff "
WIDE = 100  # columns; below, the tabs have no gaps, to leave space for the note


class Header(Widget):
    """One line with a tab per screen and a note on the right; a click on a tab switches to its mode.

    The app's `shared_status`, if it has one, stands before the note.

    Attributes:
        mode: The highlighted mode.
    """

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
        """Text on the right; hidden if it does not fit."""
        return self._note

    @note.setter
    def note(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self.refresh()

    def on_mount(self) -> None:
        if hasattr(self.app, "shared_status"):
            self.watch(self.app, "shared_status", self._status_changed, init=False)

    def _status_changed(self) -> None:
        self.refresh()

    @property
    def _gap(self) -> str:
        """Space between tabs, and twice before the first."""
        return " " if self.size.width >= WIDE else ""

    def render(self) -> Content:
        """Render the line."""
        parts: list[Content | tuple[str, str]] = [(TITLE, "bold $primary"), (2 * self._gap, "")]
        for mode, key, title in TABS:
            active = mode == self.mode
            parts.append((f" {key} ", "bold $foreground on $primary 30%" if active else "$foreground 40%"))
            parts.append((f"{title} ", "bold $foreground on $primary 30%" if active else "$foreground 75%"))
            parts.append((self._gap, ""))
        line = Content.assemble(*parts)
        note = Content.styled(self._note, "$foreground 60%")
        status = Content.styled(str(getattr(self.app, "shared_status", "")), "$accent")
        for right in (Content("  ").join([text for text in (status, note) if text]), status or note):
            padding = self.size.width - line.cell_length - right.cell_length - 1
            if right and padding >= 1:
                return Content.assemble(line, " " * padding, right, " ")
        if status:  # in a narrow terminal its first word replaces the title
            word = f" {status.plain.partition(' ')[0]}"[: len(TITLE)]
            return Content.assemble((word.ljust(len(TITLE)), "bold $accent"), line[len(TITLE) :])
        return line

    def on_click(self, event: events.Click) -> None:
        start = len(TITLE) + 2 * len(self._gap)
        for mode, key, title in TABS:
            end = start + len(key) + 2 + len(title) + 1
            if start <= event.x < end and mode != self.mode:
                self.app.switch_mode(mode)
            start = end + len(self._gap)
