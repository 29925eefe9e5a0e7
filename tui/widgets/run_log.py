"""The log of a run as text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping

from rich.text import Text
from textual.events import Resize
from textual.widgets import RichLog

from core.runs.events import Checkpoint, Epoch, Event, Failed, Warned
from core.runs.history import in_words
from tui.themes import theme_style

MAX_EVENTS = 500  # shown; events.jsonl has all of them
CLOCK_WIDTH = 60  # minimum width in columns for timestamps


class RunLog(RichLog):
    """Displays the events of a run except checkpoints, wrapped to the width; posts no messages."""

    DEFAULT_CSS = """
    RunLog {
        border-top: solid $border-blurred; background: $background; overflow-x: hidden;
        scrollbar-size-vertical: 1; scrollbar-background: $background; scrollbar-gutter: stable;
        &:focus { border-top: solid $primary; background-tint: $foreground 0%; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, wrap=True, min_width=0, max_lines=MAX_EVENTS, auto_scroll=True)
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._wrap_width = 0

    def on_mount(self) -> None:
        self.watch(self.app, "theme", self._theme_changed, init=False)

    def _theme_changed(self) -> None:
        self.call_after_refresh(self._rewrite)

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._wrap_width:
            self._wrap_width = event.size.width
            self._rewrite()
        self.call_after_refresh(self.scroll_end, animate=False)

    def reset(self) -> None:
        """Remove all events."""
        self._events.clear()
        self.clear()

    def write_events(self, events: Iterable[Event]) -> None:
        """Append events to the log."""
        shown = [event for event in events if not isinstance(event, Checkpoint)]  # too frequent
        self._events.extend(shown)
        self._write_lines(shown[-MAX_EVENTS:])

    def _rewrite(self) -> None:
        self.clear()
        self._write_lines(self._events)

    def _write_lines(self, events: Iterable[Event]) -> None:
        if self._wrap_width:
            timestamps = self._wrap_width >= CLOCK_WIDTH
            for event in events:
                self.write(_line(event, self.app.theme_variables, timestamps=timestamps))


def _line(event: Event, variables: Mapping[str, str], *, timestamps: bool) -> Text:
    color = "error" if isinstance(event, Failed) else "warning" if isinstance(event, Warned) else "foreground"
    if not timestamps and isinstance(event, Epoch):  # the full text would wrap
        return Text(
            f"epoch {event.epoch}: {event.loss:.4f}, validation {event.validation_loss:.4f}, {event.seconds:.0f} s"
        )
    timestamp = time.strftime("%H:%M:%S ", time.localtime(event.time)) if timestamps else ""
    message = in_words(event), theme_style(variables, color)
    return Text.assemble((timestamp, theme_style(variables, "muted")), message)
