"""The Train screen: the form for a new run, or the run being watched."""

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
from textual.widgets import ContentSwitcher

from core.config.architecture import is_custom
from core.errors import MinidiffError
from core.runs.directory import CONFIG, MODEL, config_options, find_run
from core.runs.events import Checkpoint, Event, Failed, Finished, Progress
from core.runs.findings import is_fine_tuned
from core.runs.history import RunHistory, in_words
from core.runs.requests import RequestName, request
from core.runs.status import Status
from core.runs.store import create_run, free_name
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS
from tui.io.lead_file import TrainView
from tui.io.run_list import list_runs
from tui.io.run_watcher import RunWatcher, start_trainer
from tui.messages import (
    EventsAppended,
    ModelChosen,
    RunVanished,
    StatusChanged,
    TrainerLost,
    TrainingHistoryChosen,
)
from tui.screens.form_description import FormDescription
from tui.screens.shared import Shared
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_form import RunForm
from tui.widgets.run_log import RunLog
from tui.widgets.run_monitor import RunMonitor

REFRESH_SECONDS = 1.0  # minimum interval between updates of progress and curves
DRAW_FRACTION = 0.02  # maximum fraction of time spent on drawing curves, which compete with training for the CPU
RESUMABLE = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


class TrainScreen(FormDescription, Shared):
    """Starts, shows and controls training. Leaving it does not stop training."""

    TITLE = "Train"
    DEFAULT_CSS = """
    TrainScreen {
        ContentSwitcher { height: 1fr; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (72, "-normal"), (110, "-wide"), (180, "-broad")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-medium"), (48, "-tall")]  # noqa: RUF012
    HELP = (
        "The options of a new run, or the progress of the current one: training loss, validation loss, and samples "
        "after each epoch.\n"
        "In the form, advanced options are collapsed below each group. Enter, space or a click on `more` expands a "
        "group, ctrl+o expands all. Options that do not apply are disabled.\n"
        "Training runs in a separate process. It continues when you quit or lose the terminal."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("train")

    def __init__(
        self,
        root: Path,
        run: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        *,
        describe: bool = True,
        engine_silence: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__(root, describe=describe, engine_silence=engine_silence)
        self._defaults = dict(defaults or {})  # override the preset in the form
        self.path: Path | None = None  # the run being watched
        self.status = Status.STARTING
        self.history = RunHistory()
        self._host: str | None = None
        self._start_error: str | None = None  # why the trainer ended before it took the run
        self._initial_run = run
        self._sampleable = False  # whether the watched run has a model
        self._form_requested = False  # the user opened the form, so no run may replace it automatically
        self._drawn: tuple[int, Event | None, Status] | None = None  # state of the run as of the curves
        self._drawn_at = 0.0  # on the monotonic clock
        self._stale = False  # whether the history is newer than the progress shown

    def compose(self) -> ComposeResult:
        yield Header("train")
        with ContentSwitcher(initial="monitor" if self._initial_run else "form"):
            yield RunForm(self.root, id="form")
            yield RunMonitor(id="monitor")
        yield DevicePanel()
        yield KeyBar()

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._refresh_run)
        if self._defaults:
            self.query_one(RunForm).load_defaults(self._defaults)
        if self._initial_run is not None:
            self.show_run(self._initial_run)

    def on_screen_resume(self) -> None:
        """Attach to an active run, unless a run is being watched or the form is in use."""
        self._schedule_description()
        if self.path is None and not self._form_requested:
            self._find_running()
        self._drawn = None
        self._draw_curves()

    @work(group="find", exclusive=True)
    async def _find_running(self) -> None:
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self.query_one(RunForm).show_error(str(error))
            return
        alive = [run for run in runs if run.status.alive]
        if alive and self.path is None and not self._form_requested:
            self.watch_path(Path(alive[0].path))

    def show_run(self, run: str | None) -> None:
        """Show the run named `run`, or the form if it is None or there is no such run."""
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
        """Show the form, filled in with the options of the run named `run` and a new name."""
        from core.config.training import TrainConfig

        self._switch("form")
        form = self.query_one(RunForm)
        try:
            config = TrainConfig.from_toml(find_run(run, self.root) / CONFIG)
        except MinidiffError as error:
            form.show_error(str(error))
            return
        if is_custom(config.model):
            command = f"minidiff train --model {config.model}"
            form.show_error(f"{run} trains a network that is not part of minidiff; use `{command}` instead")
            return
        values = config.model_dump(exclude={"name", "root", "preset", "dataset_info"})
        form.load_options(config.preset, {**values, "name": free_name(self.root, run)})

    def watch_path(self, path: Path) -> None:
        """Show the run at `path`, with all its events, and follow it."""
        self.path = path
        self._sampleable = os.path.isfile(path / MODEL)
        self.status = Status.STARTING
        self._host = self._start_error = self._drawn = None
        self._restart()
        self._switch("monitor")
        self.query_one(RunMonitor).fine_tuned = is_fine_tuned(config_options(path))
        self.query_one(RunMonitor).update_run(path.name, self.history, self.status, None, None)
        self._follow(path)

    @work(group="watch", exclusive=True)
    async def _follow(self, path: Path) -> None:
        await RunWatcher(self, path).watch()

    def _restart(self) -> None:
        self.history = RunHistory()
        self.query_one(RunLog).reset()

    def _switch(self, to: str) -> None:
        self._form_requested = to == "form"
        self.query_one(ContentSwitcher).current = to
        if to == "form":
            self.query_one("#field-preset").focus()
            self._schedule_description()
        else:
            self.query_one(RunLog).focus()
            self._end_descriptions()
        self.refresh_bindings()

    # Leading and following

    @property
    def shared_view(self) -> TrainView:
        """The run being watched, unless the form is shown."""
        return TrainView(run=None if self._on_form or self.path is None else self.path.name)

    async def follow(self, view: TrainView) -> None:
        """Watch the run of the same name, or show the form.

        Raises:
            MinidiffError: there is no run of that name here.
        """
        if view.run is None:
            self._switch("form")
        else:
            self.watch_path(find_run(view.run, self.root))

    # Run watcher messages

    def on_events_appended(self, message: EventsAppended) -> None:
        if message.path != self.path:
            return
        if message.reset:
            self._restart()
        known = len(self.history.notes)
        self.history.extend(message.events)
        if message.live and all(isinstance(event, Progress) for event in message.events):
            self._stale = True  # shown at the next refresh
            return
        self._update_monitor()
        self.query_one(RunLog).write_events(self.history.notes[known:])
        if self._drawn is None:
            self._draw_curves()
        if not self._sampleable and any(isinstance(event, Checkpoint) for event in message.events):
            self._sampleable = True
            self.refresh_bindings()
        if message.live:
            for event in message.events:
                if isinstance(event, Finished | Failed):
                    self._announce(in_words(event), error=isinstance(event, Failed))

    def on_status_changed(self, message: StatusChanged) -> None:
        if message.path != self.path:
            return
        if message.status is Status.STARTING and self.status in (Status.RUNNING, Status.PAUSED):
            return  # the trainer has logged its end and is about to release the lock
        if message.status is Status.INTERRUPTED and self.status in (Status.RUNNING, Status.PAUSED):
            self._announce("the trainer exited unexpectedly", error=True)
        if message.status in (Status.RUNNING, Status.PAUSED):
            self._start_error = None
        self.status, self._host = message.status, message.host
        self._update_monitor()
        self._draw_curves()
        self.refresh_bindings()

    def on_trainer_lost(self, message: TrainerLost) -> None:
        if message.path == self.path:
            self._start_error = message.reason
            self._update_monitor()
            self.app.bell()
            self.refresh_bindings()

    def on_run_vanished(self, message: RunVanished) -> None:
        if message.path == self.path:
            self.path = None
            self._switch("form")
            self.query_one(RunForm).show_error(message.reason)

    def _announce(self, message: str, *, error: bool) -> None:
        """Ring the bell and show a notification, on any screen."""
        assert self.path is not None
        self.app.bell()
        self.app.notify(message, title=self.path.name, severity="error" if error else "information", timeout=10)

    def _refresh_run(self) -> None:
        """Update progress and curves in one refresh of the screen."""
        if self._stale and self.is_current:
            self._update_monitor()
        self._draw_curves()

    def _update_monitor(self) -> None:
        self._stale = False
        if self.path is not None:
            monitor = self.query_one(RunMonitor)
            monitor.update_run(self.path.name, self.history, self.status, self._host, self._start_error)

    def _draw_curves(self) -> None:
        """Draw the curves if they are visible, have changed, and are due."""
        if self.path is None or not self.is_current:
            return
        if self.status is Status.ELSEWHERE:
            self._update_monitor()  # the age of its last event changes
        state = (len(self.history.progress), self.history.last, self.status)
        due = self._drawn_at + self.query_one(CurvePlot).render_seconds / DRAW_FRACTION
        if state != self._drawn and (self._drawn is None or time.monotonic() >= due):
            self._drawn, self._drawn_at = state, time.monotonic()
            self.query_one(RunMonitor).update_curves(self.history, self.status)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        on_form = self._on_form if self.is_mounted else True
        match action, parameters:
            case (("start" | "unfold"), _):
                return on_form
            case "leave", _:
                return on_form and self.focused is not None
            case "back", _:
                return on_form and self.focused is None and self.path is not None
            case "request", ("pause",):
                return not on_form and self._is_alive and self.status is not Status.PAUSED
            case "request", ("continue",):
                return not on_form and self.status is Status.PAUSED
            case "request", _:
                return not on_form and self._is_alive
            case "resume", _:
                return not on_form and (self._start_error is not None or self.status in RESUMABLE)
            case (("sample" | "history"), _):
                return not on_form and self._sampleable
            case (("new" | "preview"), _):
                return not on_form
        return super().check_action(action, parameters)

    @property
    def _is_alive(self) -> bool:
        return self._start_error is None and self.status.alive

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
        if not self._on_form:
            return  # submitted twice; the run is being watched already
        try:
            path = create_run(form.config())
            start_trainer(path)
        except MinidiffError as error:
            form.show_error(str(error))
            return
        self.watch_path(path)

    def action_request(self, name: RequestName) -> None:
        if self.path is not None:
            try:
                request(self.path, name)
            except MinidiffError as error:
                self.notify(str(error), severity="error")
            else:
                self.notify(f"{self.path.name}: {name} requested", timeout=2)

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

    def action_history(self) -> None:
        if self.path is not None:
            self.post_message(TrainingHistoryChosen(self.path.name))

    def action_preview(self, by: int) -> None:
        self.query_one(RunMonitor).step_preview(by)

    def action_new(self) -> None:
        self._switch("form")

    def action_leave(self) -> None:
        self.set_focus(None)

    def action_back(self) -> None:
        self._switch("monitor")
