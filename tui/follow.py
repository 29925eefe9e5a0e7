"""Leads other apps, or follows another app, through a file that holds what the screen shows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from textual.screen import Screen

from core.errors import MinidiffError
from tui.io.lead_file import (
    CompareView,
    DevicesView,
    LabView,
    RunsView,
    SampleView,
    TrainView,
    View,
    ViewReader,
    write_view,
)
from tui.screens.shared import Shared
from tui.screens.zoom import ZoomScreen

if TYPE_CHECKING:
    from textual.widget import Widget

    from tui.app import MinidiffApp

WRITE_SECONDS = 0.2  # shortest interval between two writes
READ_SECONDS = 0.1  # interval between two looks at the file
HOLD_SECONDS = 0.3  # after a key, in which it may change what the screen shows
MODES: dict[type[View], str] = {
    SampleView: "sample",
    CompareView: "sample",
    TrainView: "train",
    RunsView: "runs",
    DevicesView: "devices",
    LabView: "lab",
}


def shared_screen(app: MinidiffApp) -> Shared | None:
    """The topmost screen that can be followed; None before it is mounted, and while the app exits."""
    for screen in reversed(app.screen_stack):
        is_ready = screen.is_mounted and screen.is_running and app.is_running
        if isinstance(screen, Shared):
            return screen if is_ready else None
    return None


def current_view(app: MinidiffApp) -> View | None:
    """What this screen shows."""
    screen = shared_screen(app)
    return None if screen is None else screen.shared_view


class Leader:
    """Writes what the app shows to a file whenever it changes, and removes the file at the end."""

    def __init__(self, app: MinidiffApp, path: Path) -> None:
        self._app, self._path = app, path

    async def run(self) -> None:
        """Write until canceled."""
        written, problem = None, ""
        self._app.shared_status = f"leading {self._path.name}"
        try:
            while True:
                view = current_view(self._app)
                if view is not None and view != written:
                    try:
                        await asyncio.to_thread(write_view, self._path, view)
                        written, problem = view, ""
                    except MinidiffError as error:
                        if str(error) != problem:
                            problem = str(error)
                            self._app.notify(problem, severity="error")
                await asyncio.sleep(WRITE_SECONDS)
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink()


class Follower:
    """Shows what the file of a `Leader` describes, until the user changes what the screen shows.

    Each look at the file compares what it describes with what is shown, so a view that cannot be shown at once, such as
    a step that is not sampled yet, is shown when that is possible.

    Attributes:
        paused: whether the user has taken over, until `resume`.
    """

    def __init__(self, app: MinidiffApp, path: Path) -> None:
        self._app, self._path = app, path
        self._reader = ViewReader(path)
        self.paused = False
        self._touched: tuple[float, object] | None = None  # time of the last key, and what was shown before the first
        self._failed: View | None = None  # the view that could not be shown
        self._problem = ""  # the last one that was reported

    async def run(self) -> None:
        """Follow until canceled."""
        while True:
            if not self.paused:
                await self._update()
            await asyncio.sleep(READ_SECONDS)

    def on_input(self) -> None:
        """Called before the app handles a key or a click, which may change what it shows."""
        if not self.paused:
            before = self._shown() if self._touched is None else self._touched[1]
            self._touched = time.monotonic(), before

    def resume(self) -> None:
        """Follow again."""
        self.paused, self._touched, self._failed, self._problem = False, None, None, ""
        self._app.refresh_bindings()

    def _pause(self) -> None:
        self.paused = True
        self._app.shared_status = f"paused {self._path.name}"
        self._app.refresh_bindings()
        key = self._app.settings.keys.get("app.follow", "F")
        self._app.notify(f"Following is paused; {key} follows {self._path.name} again", timeout=5)

    def _shown(self) -> tuple[View | None, Widget | None]:
        """What the user's keys can change: what the screen shows, and its focus."""
        screen = shared_screen(self._app)
        return (screen.shared_view, screen.focused) if isinstance(screen, Screen) else (None, None)

    async def _update(self) -> None:
        """Look at the file once."""
        try:
            view = await asyncio.to_thread(self._reader.read)
        except FileNotFoundError:
            self._app.shared_status = f"waiting for {self._path.name}"
            self._touched = None
            return
        except MinidiffError as error:
            self._app.shared_status = f"invalid {self._path.name}"
            self._touched = None
            self._report(str(error))
            return
        if self._touched is not None and self._shown() != self._touched[1]:
            self._pause()
            return
        self._app.shared_status = f"following {self._path.name}"
        shown = current_view(self._app)
        if shown is not None and view not in (shown, self._failed) and not self._is_held:
            await self._show(view)

    @property
    def _is_held(self) -> bool:
        """Whether the user may be about to take over, or has something open that is not followed."""
        if self._touched is not None and time.monotonic() - self._touched[0] < HOLD_SECONDS:
            return True
        return not isinstance(self._app.screen, Shared | ZoomScreen)

    async def _show(self, view: View) -> None:
        before = self._shown()
        try:
            if self._app.current_mode != MODES[type(view)]:
                await self._app.switch_mode(MODES[type(view)])
            screen = shared_screen(self._app)
            if screen is not None:
                await screen.follow(view)
        except MinidiffError as error:
            self._failed = view
            self._report(str(error))
        else:
            self._failed = None
        if self._shown() != before:
            self._touched = None  # the change is not the user's

    def _report(self, problem: str) -> None:
        """Notify the user of a problem, once."""
        if problem != self._problem:
            self._problem = problem
            self._app.notify(problem, severity="warning")
