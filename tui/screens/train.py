"""The Train screen: a form that starts a run, or the run that is being watched."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from core.errors import MinidiffError
from core.runs.directory import CONFIG, MODEL, find_run
from core.runs.events import Checkpoint, Event, Failed, Finished, Progress
from core.runs.history import RunHistory, in_words
from core.runs.requests import RequestName, request
from core.runs.status import Status
from core.runs.store import create_run, free_name
from tui.actions import bindings
from tui.io.run_list import list_runs
from tui.io.run_watcher import RunWatcher, start_trainer
from tui.messages import EventsAppended, ModelChosen, RunVanished, StatusChanged, TrainerLost
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_form import RunForm
from tui.widgets.run_log import RunLog
from tui.widgets.run_monitor import RunMonitor

TELL_SECONDS = 1.0  # between two tellings of how far a run is, and two drawings of its curves, at least; and
DRAW_SHARE = 0.02  # of the time at most goes into those, so that a long run's do not take from its training
RESUMABLE = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


class TrainScreen(Screen[None]):
    """Starts, watches and steers training; leaving it stops nothing."""

    TITLE = "Train"
    DEFAULT_CSS = """
    TrainScreen {
        ContentSwitcher { height: 1fr; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (72, "-normal"), (110, "-wide"), (180, "-broad")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-medium"), (48, "-tall")]  # noqa: RUF012
    HELP = (
        "What a training can be told, and then the training itself: the loss of each window and epoch, the held-out "
        "loss, and what the model draws after each epoch.\n"
        "In the form, options that few change are folded away below each group: enter, space or a click on `more` "
        "unfolds them, ctrl+o all of them. What does not go with what else is chosen is grey.\n"
        "Training is a process of its own: leave, or lose the terminal, and it goes on."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("train")

    def __init__(self, root: Path, run: str | None = None, defaults: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.root = root
        self._defaults = dict(defaults or {})  # what the form starts from, beside the preset
        self.path: Path | None = None  # the run being watched
        self.status = Status.STARTING
        self.history = RunHistory()
        self._host: str | None = None
        self._lost: str | None = None
        self._run_named = run
        self._sampleable = False  # whether the run watched has a model
        self._form_wanted = False  # a person asked for the form, so no run takes its place by itself
        self._drawn: tuple[int, Event | None, Status] | None = None
        self._drawn_at = 0.0  # on the monotonic clock
        self._stale = False  # whether the run is farther than was told

    def compose(self) -> ComposeResult:
        yield Header("train")
        with ContentSwitcher(initial="monitor" if self._run_named else "form"):
            yield RunForm(self.root, id="form")
            yield RunMonitor(id="monitor")
        yield DevicePanel()
        yield KeyBar()

    def on_mount(self) -> None:
        self.set_interval(TELL_SECONDS, self._tell)
        if self._defaults:
            self.query_one(RunForm).load_defaults(self._defaults)
        if self._run_named is not None:
            self.show_run(self._run_named)

    def on_screen_resume(self) -> None:
        """Attach to what runs, unless something is being watched or filled in."""
        if self.path is None and not self._form_wanted:
            self._find_running()
        self._drawn = None
        self._draw()

    @work(group="find", exclusive=True)
    async def _find_running(self) -> None:
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self.query_one(RunForm).show_error(str(error))
            return
        alive = [run for run in runs if run.status.alive]
        if alive and self.path is None and not self._form_wanted:
            self.watch_path(Path(alive[0].path))

    def show_run(self, run: str | None) -> None:
        """Show run `run` of the root; None, or a name that no run has: the form of a new one."""
        try:
            path = None if run is None else find_run(run, self.root)
        except MinidiffError as error:
            self._switch("form")
            self.query_one(RunForm).show_error(str(error))
            return
        if path is None:
            self._switch("form")
        else:
            self.watch_path(path)

    def fork(self, run: str) -> None:
        """The form of a new run, filled in as run `run` was, but for its name."""
        from core.config.training import TrainConfig

        self._switch("form")
        form = self.query_one(RunForm)
        try:
            config = TrainConfig.from_toml(find_run(run, self.root) / CONFIG)
        except MinidiffError as error:
            form.show_error(str(error))
            return
        values = config.model_dump(exclude={"name", "root", "preset"})
        form.load_options(config.preset, {**values, "name": free_name(self.root, run)})

    def watch_path(self, path: Path) -> None:
        """Show the run at `path` from its first event on, and follow it."""
        self.path = path
        self._sampleable = os.path.isfile(path / MODEL)
        self.status = Status.STARTING
        self._host = self._lost = self._drawn = None
        self._restart()
        self._switch("monitor")
        self.query_one(RunMonitor).update_run(path.name, self.history, self.status, None, None)
        self._follow(path)

    @work(group="watch", exclusive=True)
    async def _follow(self, path: Path) -> None:
        await RunWatcher(self, path).watch()

    def _restart(self) -> None:
        self.history = RunHistory()
        self.query_one(RunLog).reset()

    def _switch(self, to: str) -> None:
        self._form_wanted = to == "form"
        self.query_one(ContentSwitcher).current = to
        if to == "form":
            self.query_one("#field-preset").focus()
        else:
            self.query_one(RunLog).focus()
        self.refresh_bindings()

    # What the watcher tells

    def on_events_appended(self, message: EventsAppended) -> None:
        if message.path != self.path:
            return
        if message.reset:
            self._restart()
        known = len(self.history.notes)
        self.history.extend(message.events)
        if message.live and all(isinstance(event, Progress) for event in message.events):
            self._stale = True  # told of in its turn
            return
        self._show()
        self.query_one(RunLog).write_events(self.history.notes[known:])
        if self._drawn is None:
            self._draw()
        if not self._sampleable and any(isinstance(event, Checkpoint) for event in message.events):
            self._sampleable = True
            self.refresh_bindings()
        if message.live:
            for event in message.events:
                if isinstance(event, Finished | Failed):
                    self._announce(in_words(event), wrong=isinstance(event, Failed))

    def on_status_changed(self, message: StatusChanged) -> None:
        if message.path != self.path:
            return
        if message.status is Status.STARTING and self.status in (Status.RUNNING, Status.PAUSED):
            return  # the trainer has logged its end and is about to let go of the run
        if message.status is Status.INTERRUPTED and self.status in (Status.RUNNING, Status.PAUSED):
            self._announce("its trainer is gone without a word", wrong=True)
        if message.status in (Status.RUNNING, Status.PAUSED):
            self._lost = None
        self.status, self._host = message.status, message.host
        self._show()
        self._draw()
        self.refresh_bindings()

    def on_trainer_lost(self, message: TrainerLost) -> None:
        if message.path == self.path:
            self._lost = message.reason
            self._show()
            self.app.bell()
            self.refresh_bindings()

    def on_run_vanished(self, message: RunVanished) -> None:
        if message.path == self.path:
            self.path = None
            self._switch("form")
            self.query_one(RunForm).show_error(message.reason)

    def _announce(self, what: str, *, wrong: bool) -> None:
        """Ring, and say it on whatever screen is in sight."""
        assert self.path is not None
        self.app.bell()
        self.app.notify(what, title=self.path.name, severity="error" if wrong else "information", timeout=10)

    def _tell(self) -> None:
        """Show how far the run is, and draw, in one refresh of the screen."""
        if self._stale and self.is_current:
            self._show()
        self._draw()

    def _show(self) -> None:
        self._stale = False
        if self.path is not None:
            monitor = self.query_one(RunMonitor)
            monitor.update_run(self.path.name, self.history, self.status, self._host, self._lost)

    def _draw(self) -> None:
        """Draw the curves if they changed and are in sight."""
        if self.path is None or not self.is_current:
            return
        if self.status is Status.ELSEWHERE:
            self._show()  # how long ago it was heard of changes without an event
        now = (len(self.history.progress), self.history.last, self.status)
        due = self._drawn_at + self.query_one(CurvePlot).render_seconds / DRAW_SHARE
        if now != self._drawn and (self._drawn is None or time.monotonic() >= due):
            self._drawn, self._drawn_at = now, time.monotonic()
            self.query_one(RunMonitor).update_curves(self.history, self.status)

    # What a person asks for

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        on_form = self.query_one(ContentSwitcher).current == "form" if self.is_mounted else True
        match action, parameters:
            case (("start" | "unfold"), _):
                return on_form
            case "leave", _:
                return on_form and self.focused is not None
            case "back", _:
                return on_form and self.focused is None and self.path is not None
            case "ask", ("pause",):
                return not on_form and self._is_alive and self.status is not Status.PAUSED
            case "ask", ("continue",):
                return not on_form and self.status is Status.PAUSED
            case "ask", _:
                return not on_form and self._is_alive
            case "resume", _:
                return not on_form and (self._lost is not None or self.status in RESUMABLE)
            case "sample", _:
                return not on_form and self._sampleable
            case (("new" | "preview"), _):
                return not on_form
        return super().check_action(action, parameters)

    @property
    def _is_alive(self) -> bool:
        return self._lost is None and self.status.alive

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_descendant_blur(self) -> None:
        self.refresh_bindings()

    def action_start(self) -> None:
        self.query_one(RunForm).submit()

    def action_unfold(self) -> None:
        self.query_one(RunForm).toggle_all()

    def on_run_form_submitted(self, message: RunForm.Submitted) -> None:
        message.stop()
        form = self.query_one(RunForm)
        if self.query_one(ContentSwitcher).current != "form":
            return  # a key pressed twice: the run that it asked for is being watched
        try:
            path = create_run(form.config())
            start_trainer(path)
        except MinidiffError as error:
            form.show_error(str(error))
            return
        self.watch_path(path)

    def action_ask(self, what: RequestName) -> None:
        if self.path is not None:
            try:
                request(self.path, what)
            except MinidiffError as error:
                self.notify(str(error), severity="error")
            else:
                self.notify(f"asked {self.path.name} to {what}", timeout=2)

    def action_resume(self) -> None:
        if self.path is not None:
            try:
                start_trainer(self.path)
            except MinidiffError as error:
                self.notify(str(error), severity="error")
                return
            self.watch_path(self.path)

    def action_sample(self) -> None:
        if self.path is not None:
            self.post_message(ModelChosen(self.path.name))

    def action_preview(self, by: int) -> None:
        self.query_one(RunMonitor).step_preview(by)

    def action_new(self) -> None:
        self._switch("form")

    def action_leave(self) -> None:
        self.set_focus(None)

    def action_back(self) -> None:
        self._switch("monitor")
