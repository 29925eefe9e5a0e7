"""The log of a run in words, wrapped to the room there is."""

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

LINES = 500  # kept on the screen; events.jsonl has them all
CLOCK_WIDTH = 60  # columns from which on lines begin with the time


class RunLog(RichLog):
    """Shows the events that it is given, but for checkpoints; follows a change of theme or width."""

    DEFAULT_CSS = """
    RunLog {
        border-top: solid $border-blurred; background: $background; overflow-x: hidden;
        scrollbar-size-vertical: 1; scrollbar-background: $background; scrollbar-gutter: stable;
        &:focus { border-top: solid $primary; background-tint: $foreground 0%; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, wrap=True, min_width=0, max_lines=LINES, auto_scroll=True)
        self._events: deque[Event] = deque(maxlen=LINES)
        self._wrapped_at = 0

    def on_mount(self) -> None:
        """Follow changes of theme: what a log holds keeps the colours that it was written in."""
        self.watch(self.app, "theme", self._wear, init=False)

    def _wear(self) -> None:
        self.call_after_refresh(self._rewrite)

    def on_resize(self, event: Resize) -> None:
        """Wrap the lines anew, and show the newest."""
        if event.size.width != self._wrapped_at:
            self._wrapped_at = event.size.width
            self._rewrite()
        self.call_after_refresh(self.scroll_end, animate=False)

    def restart(self) -> None:
        """Remove all lines."""
        self._events.clear()
        self.clear()

    def add(self, events: Iterable[Event]) -> None:
        """Add the lines of `events`."""
        told = [event for event in events if not isinstance(event, Checkpoint)]  # which would hide the others
        self._events.extend(told)
        self._write(told[-LINES:])

    def _rewrite(self) -> None:
        self.clear()
        self._write(self._events)

    def _write(self, events: Iterable[Event]) -> None:
        if self._wrapped_at:
            clock = self._wrapped_at >= CLOCK_WIDTH
            for event in events:
                self.write(_line(event, self.app.theme_variables, clock=clock))


def _line(event: Event, variables: Mapping[str, str], *, clock: bool) -> Text:
    color = "error" if isinstance(event, Failed) else "warning" if isinstance(event, Warned) else "foreground"
    if not clock and isinstance(event, Epoch):  # in full it would wrap
        return Text(
            f"epoch {event.epoch}: {event.loss:.4f}, validation {event.validation_loss:.4f}, {event.seconds:.0f} s"
        )
    moment = time.strftime("%H:%M:%S ", time.localtime(event.time)) if clock else ""
    words = in_words(event), theme_style(variables, color)
    return Text.assemble((moment, theme_style(variables, "muted")), words)
