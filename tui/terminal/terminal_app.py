"""Base class of the app: how it draws in its terminal, its frame rate, dropped output, and its exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.app import App
from textual.color import Color
from textual.constants import DRIVER
from textual.filter import LineFilter
from textual.reactive import reactive

from core.system.terminal import drawable, drawing
from tui.terminal.cells import Computed
from tui.terminal.color_maps import GREY
from tui.terminal.contrast import PaletteFilter
from tui.terminal.crash_report import report
from tui.terminal.driver import AMBIGUOUS, TerminalDriver
from tui.terminal.frame_pacing import QUERY, FramePacer
from tui.terminal.kitty import ImageStore
from tui.terminal.replies import TerminalReply, abilities
from tui.terminal.shutdown import end_if_stuck, end_with_terminal

REDRAW_SECONDS = 1.0  # interval of checks whether dropped output can be redrawn
REPLY_SECONDS = 0.5  # wait on exit for the last terminal reply, which the shell would otherwise read as input
HUNG_UP = 128 + signal.SIGHUP  # exit status after the terminal is gone


class TerminalApp(App[None]):
    """An app that adapts to its terminal, and exits even if that is gone or accepts no output.

    Args:
        frames_per_second: The highest frame rate.

    Attributes:
        pacer: Limits the frame rate.
        codec: Encoding of the characters that the terminal can show; None: all.
        images: Those that the terminal stores; None if it cannot have any.
    """

    drawing = reactive("auto")
    """How images are drawn on all screens, one of `DRAWING_CHOICES`."""
    best_drawing = reactive("quadrant")
    """What `auto` means for images below full size; if it is "kitty", also above."""
    color_map = reactive(GREY)
    """The colors of gray images, one of `COLOR_MAPS`."""

    def __init__(self, frames_per_second: float) -> None:
        super().__init__(driver_class=None if DRIVER else TerminalDriver)  # None: the one that textual-serve names
        self.pacer = FramePacer(frames_per_second)
        term, encoding = os.environ.get("TERM", ""), getattr(sys.__stderr__, "encoding", None) or "utf-8"
        self.codec = drawable(term, encoding)
        self.images = ImageStore(self._write_images) if self.codec is None else None
        self.best_drawing = drawing(term, encoding)
        self._palettes: Computed[str, PaletteFilter] = Computed(self._palette_filter)  # by theme

    def on_mount(self) -> None:
        """Exit when the terminal goes away, and start to measure it."""
        if not self.is_headless:
            end_with_terminal(partial(self.exit, return_code=HUNG_UP), self.exit)
            if not self.pacer.waiting:  # the driver has sent none
                self._query_terminal()
            self.set_interval(REDRAW_SECONDS, self._redraw_dropped)

    def on_resize(self, event: events.Resize) -> None:
        """Redraw what was dropped: a reattached terminal sends its size."""
        self.pacer.input_received(time.monotonic())
        self._redraw_dropped()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Reduce colors in a terminal of 256, after the filters of Textual."""
        filters = super().get_line_filters()
        return [*filters, self._palettes[self.theme]] if self.console.color_system == "256" else filters

    def _palette_filter(self, theme: str) -> PaletteFilter:
        """The filter for a theme."""
        return PaletteFilter(Color.parse(self.available_themes[theme].to_color_system().generate()["foreground"]).rgb)

    def post_display_hook(self) -> None:
        """After a frame, query the terminal to measure when it has drawn it."""
        if self.pacer.needs_query(time.monotonic()):
            self._query_terminal()
        self._redraw_dropped()

    def _query_terminal(self) -> None:
        driver = self._driver
        if isinstance(driver, TerminalDriver) and driver.accepts_output:  # otherwise it would be dropped
            driver.write(QUERY)
            self.pacer.query_sent(time.monotonic())

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """Handle the reply to a query; the first one shows whether the terminal draws some characters too wide."""
        self.pacer.reply_received(time.monotonic())
        driver = self._driver
        if isinstance(driver, TerminalDriver) and driver.measuring:
            driver.measuring = False
            if len(AMBIGUOUS) < event.x <= 2 * len(AMBIGUOUS) and self.drawing == "auto":
                self.drawing = "ascii"
        self._redraw_dropped()

    def on_terminal_reply(self, reply: TerminalReply) -> None:
        """Draw images as well as the terminal can. Terminals that only claim another's name do not reply to `query`."""
        if reply.graphics:
            if self.images is not None and reply.text.endswith(";OK"):
                self.images.available = True
                self.best_drawing = "kitty"
            return
        found = abilities(reply.text)
        if found.octants and self.best_drawing != "kitty":
            self.best_drawing = "octant"
        if found.placeholders and self.images is not None:
            self.images.query()

    def _write_images(self, data: str) -> None:
        driver = self._driver
        if not isinstance(driver, TerminalDriver):
            return
        if driver.accepts_output:
            driver.write(data)
        else:
            driver.output_dropped = True

    def _redraw_dropped(self) -> None:
        """Redraw the whole screen if output was dropped and the terminal accepts output again."""
        driver = self._driver
        if isinstance(driver, TerminalDriver) and driver.output_dropped and driver.accepts_output:
            driver.output_dropped = False
            if self.images is not None:
                self.images.forget()
            self.refresh(layout=True)

    def watch_drawing(self) -> None:
        """Redraw everything, including borders, which `ascii` draws differently."""
        if self.is_running:
            self.refresh(layout=True)

    async def action_quit(self) -> None:
        """Exit, once the terminal has replied to the last query."""
        deadline = time.monotonic() + REPLY_SECONDS
        while self.pacer.waiting and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self.exit()

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Exit the app, even if the terminal accepts no output."""
        if not self.is_headless:
            end_if_stuck(return_code)
        super().exit(result, return_code, message)

    def _fatal_error(self) -> None:
        # Textual would print a traceback with the values of all local variables.
        if not self.is_headless:
            end_if_stuck(1)
        self.panic(Text(report(self._exception or RuntimeError("unknown"))))
