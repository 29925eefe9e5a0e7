"""The Runs screen: a table of all runs under the root, with details and actions."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from core.errors import MinidiffError
from core.race.result_file import race_of
from core.runs.directory import unreadable_directories, unreadable_message
from core.runs.history import RunHistory
from core.runs.requests import RequestName, request
from core.runs.status import RunSummary, Status
from core.runs.store import delete_run, rename_run
from core.text import sanitize
from tui.actions import bindings
from tui.io.lead_file import RunsView
from tui.io.run_list import list_newest_runs, list_runs
from tui.io.run_watcher import HistoryReader, RunWatcher, start_trainer
from tui.messages import (
    EventsAppended,
    ForkChosen,
    HistoriesRead,
    ModelChosen,
    RunChosen,
    RunsListed,
    RunVanished,
    StatusChanged,
    TrainingHistoryChosen,
)
from tui.screens.race import RaceScreen
from tui.screens.shared import Shared
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import ConfirmDialog, NameDialog
from tui.widgets.field import Field
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_details import RunDetails
from tui.widgets.run_table import RunTable

LIST_SECONDS = 1.0  # interval of polling the root
FIRST_RUNS = 100  # shown before all runs are read
SETTLE_SECONDS = 0.15  # delay after moving the cursor until the log is read
RESUMABLE = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


class RunsScreen(Screen[None], Shared):
    """A table of the runs that updates itself, and the details of the highlighted run."""

    TITLE = "Runs"
    SCOPED_CSS = False
    DEFAULT_CSS = """
    RunsScreen {
        #both { height: 1fr; layout: vertical; }
        #table, RunTable { height: auto; }
        RunTable { max-height: 40vh; }
        #empty { height: 1fr; content-align: center middle; text-align: center; color: $foreground 70%; padding: 0 2; }
        RunDetails { height: 1fr; border-top: solid $border-blurred; }
        &.-low RunDetails {
            #about { max-height: 2; }
            #pictures ImageGrid { width: 22; margin-left: 1; }
        }
        &.-beside #both { layout: horizontal; }
        &.-beside #table { height: 1fr; width: 3fr; }
        &.-beside RunTable { height: 1fr; max-height: 100%; }
        #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
        #filter.-shown { display: block; }
        &.-beside RunDetails { height: 1fr; width: 2fr; border-top: none; border-left: solid $border-blurred; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-above"), (150, "-beside")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (23, "-high")]  # noqa: RUF012
    HELP = (
        "Runs in this root directory, the newest first. Press enter to open a run, m to mark it for "
        "comparison; marked runs share one plot, and the options in which they differ are listed.\n"
        "Interrupted means that the trainer exited unexpectedly. Press r to resume from the last checkpoint."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._watched: Path | None = None  # the run shown in the details
        self._bindings_for: tuple[str, Status, bool] | None = None  # path, status and sampleable, as of the footer
        self._history = RunHistory()
        self._histories = HistoryReader()  # of the marked runs
        self._is_read = False  # whether the log of the run in the details has been read
        self._stale = False  # whether the history is newer than the details
        self._reading_marked = False  # whether a thread is reading the marked runs
        self._listing = False  # whether a thread is listing the runs
        self._list_again = False  # whether the list is outdated by an action of this screen
        self._listed = False  # whether all runs have been read once

    def compose(self) -> ComposeResult:
        yield Header("runs", str(self.root))
        with Container(id="both"):
            with Vertical(id="table"):
                yield RunTable()
                yield Field(id="filter", placeholder="words in the name, status, preset or dataset")
            yield RunDetails()
        yield Static("Loading runs…", id="empty", markup=False)
        yield DevicePanel()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#both").display = False
        self.set_interval(LIST_SECONDS, self._poll)

    def on_screen_resume(self) -> None:
        self.query_one(RunTable).reset_order()
        self._list_now()

    def _poll(self) -> None:
        if self.is_current:
            self._list()
            if self.query_one(RunTable).marked:
                self._read_marked()
            elif self._stale:
                self._stale = False
                self.query_one(RunDetails).set_history(self._history)

    def _list_now(self) -> None:
        self._list_again = True
        self._list()

    @work(group="list")
    async def _list(self) -> None:
        if self._listing:
            return  # at most one thread, even on a slow disk; the loop below handles `_list_again`
        self._listing = True
        try:
            if not self._listed:
                self.post_message(await asyncio.to_thread(self._read_newest))
            while True:
                now, self._list_again = self._list_again, False
                message = await asyncio.to_thread(self._read_runs, now)
                if not self._list_again:  # else it may be older than an action of this screen
                    self.post_message(message)
                    break
        finally:
            self._listing = False

    def _read_newest(self) -> RunsListed:
        """Read enough runs to fill the screen. Runs in a thread."""
        try:
            return RunsListed(list_newest_runs(self.root, FIRST_RUNS))
        except MinidiffError as error:
            return RunsListed([], str(error))

    def _read_runs(self, now: bool) -> RunsListed:
        """Read all runs. Runs in a thread."""
        try:
            runs = list_runs(self.root, now=now)
            if self._listed:
                return RunsListed(runs)
            self._listed = True
            return RunsListed(runs, unreadable=tuple(path.name for path in unreadable_directories(self.root)))
        except MinidiffError as error:
            return RunsListed([], str(error))

    @work(group="marked")
    async def _read_marked(self) -> None:
        if self._reading_marked:
            return  # at most one thread
        self._reading_marked = True
        try:
            marked = list(self.query_one(RunTable).marked)
            self.post_message(HistoriesRead(await asyncio.to_thread(self._histories.read, marked)))
        finally:
            self._reading_marked = False

    def on_histories_read(self, message: HistoriesRead) -> None:
        marked = list(self.query_one(RunTable).marked)
        if list(message.histories) == marked:
            self.query_one(RunDetails).set_histories(message.histories)
        elif marked:
            self._read_marked()  # the marks have changed in the meantime

    def on_runs_listed(self, message: RunsListed) -> None:
        if message.unreadable:
            self.notify(unreadable_message(message.unreadable), severity="warning")
        table, empty = self.query_one(RunTable), self.query_one("#empty", Static)
        appeared = not self.query_one("#both").display and bool(message.runs)
        self.query_one("#both").display = bool(message.runs)
        empty.display = not message.runs
        if not message.runs:
            hint = f"No runs in {self.root} yet.\n\nPress n to train the first one."
            empty.update(message.problem or hint)
        table.update_runs(message.runs)
        if appeared:
            table.focus()
        self._show_highlighted()

    def on_data_table_row_highlighted(self) -> None:
        self._show_highlighted()

    def _show_highlighted(self) -> None:
        run, details = self.query_one(RunTable).highlighted, self.query_one(RunDetails)
        details.set_run(run)
        details.set_marked(list(self.query_one(RunTable).marked))
        state = None if run is None else (run.path, run.status, run.sampleable)
        if state != self._bindings_for:
            self._bindings_for = state
            self.refresh_bindings()
        path = Path(run.path) if run else None
        if path != self._watched:
            self._watched = path
            self._history = RunHistory()
            self._is_read = False
            if not self.query_one(RunTable).marked:
                self.query_one(RunDetails).set_history(self._history, is_read=False)
            if path is not None:
                self._follow(path)

    @work(group="details", exclusive=True)
    async def _follow(self, path: Path) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        await RunWatcher(self, path).watch()

    def on_events_appended(self, message: EventsAppended) -> None:
        if message.path == self._watched:
            if message.reset:
                self._history = RunHistory()
            self._history.extend(message.events)
            self._stale = message.live
            if not message.live:
                self._show_history()

    def on_status_changed(self, message: StatusChanged) -> None:
        """The log has been read, even if it is empty."""
        if message.path == self._watched and not self._is_read:
            self._show_history()

    def _show_history(self) -> None:
        self._is_read = True
        if not self.query_one(RunTable).marked:
            self.query_one(RunDetails).set_history(self._history)

    def on_run_vanished(self, message: RunVanished) -> None:
        if message.path == self._watched:
            self._list_now()

    # Leading and following

    @property
    def shared_view(self) -> RunsView:
        """The run under the cursor."""
        run = self.query_one(RunTable).highlighted
        return RunsView(run=None if run is None else run.name)

    async def follow(self, view: RunsView) -> None:
        """Move the cursor to the run of the same name.

        Raises:
            MinidiffError: there is no run of that name in the list.
        """
        if view.run is not None and self._listed and not self.query_one(RunTable).highlight(view.run):
            raise MinidiffError(f"there is no run {view.run} in this list")

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "unfilter":
            return bool(self.query_one(RunTable).filter) or self.focused is self.query_one("#filter")
        known = ("resume", "request", "sample", "history", "delete", "mark", "race", "fork", "rename", "copy")
        if action not in known:
            return super().check_action(action, parameters)
        run = self.query_one(RunTable).highlighted if self.is_mounted else None
        if run is None:
            return False
        local = run.status.alive and run.status is not Status.ELSEWHERE
        match action, parameters:
            case "resume", _:
                return run.status in (*RESUMABLE, Status.ELSEWHERE)
            case "request", ("pause",):
                return local and run.status is not Status.PAUSED
            case "request", ("continue",):
                return run.status is Status.PAUSED
            case "request", _:
                return local
            case "sample", _:
                return run.sampleable
            case "history", _:
                return run.sampleable and run.status is not Status.PIPELINE
            case "fork", _:
                return run.status is not Status.PIPELINE
            case "race", _:
                return race_of(Path(run.path)) is not None
            case (("mark" | "copy"), _):
                return True
        return not run.status.alive

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            self.post_message((ModelChosen if run.status is Status.PIPELINE else RunChosen)(run.name))

    async def action_resume(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is None:
            return
        if run.status is not Status.ELSEWHERE:
            self._resume(run)
            return
        question = ConfirmDialog(
            f"Resume {run.name} on this host?",
            f"It was last trained on {run.host}. If that trainer is still active, stop it first: "
            "otherwise both write to the run.",
            yes="Resume",
            no="Cancel",
        )
        await self.app.push_screen(question, lambda yes: self._resume(run, force=True) if yes else None)

    def _resume(self, run: RunSummary, *, force: bool = False) -> None:
        try:
            start_trainer(Path(run.path), force=force)
        except MinidiffError as error:
            self.notify(str(error), severity="error")
        else:
            # The next key may arrive before the list is read again, or before the Train screen is shown.
            self.query_one(RunTable).set_status(run.path, Status.STARTING)
            self._show_highlighted()
            self._list_now()
            self.post_message(RunChosen(run.name))

    def action_request(self, name: RequestName) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            try:
                request(Path(run.path), name)
            except MinidiffError as error:
                self.notify(str(error), severity="error")
            else:
                self.notify(f"{run.name}: {name} requested", timeout=2)
            self._list_now()

    def action_sample(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            self.post_message(ModelChosen(run.name))

    def action_history(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            self.post_message(TrainingHistoryChosen(run.name))

    async def action_delete(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is None:
            return
        path = Path(run.path)
        progress = f"{run.epoch} of {run.epochs} epochs" if run.epochs else f"{run.step:,} steps"
        question = ConfirmDialog(
            f"Delete {run.name}?",
            f"Its weights and log ({progress}) are deleted from {path.parent}. This cannot be undone.",
        )
        await self.app.push_screen(question, lambda yes: self._delete(path) if yes else None)

    def _delete(self, path: Path) -> None:
        try:
            delete_run(path)
        except MinidiffError as error:
            self.notify(str(error), severity="error")
        self._list_now()

    def action_mark(self) -> None:
        table = self.query_one(RunTable)
        table.toggle_mark()
        self.query_one(RunDetails).set_marked(list(table.marked))
        if table.marked:
            self._read_marked()
        else:
            self.query_one(RunDetails).set_history(self._history, is_read=self._is_read)

    async def action_race(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None and (folder := race_of(Path(run.path))) is not None:
            await self.app.push_screen(RaceScreen(folder))

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("-shown")
        field.focus()

    def action_unfilter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.remove_class("-shown")
        self.query_one(RunTable).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(RunTable).set_filter(event.value)
        self._show_highlighted()

    def on_input_submitted(self) -> None:
        self.query_one(RunTable).focus()

    def action_sort(self) -> None:
        order = self.query_one(RunTable).cycle_order()
        self.notify(f"sorted by {order}{' time' if order == 'start' else ''}", timeout=2)

    def action_fork(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            self.post_message(ForkChosen(run.name))

    async def action_rename(self) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            path = Path(run.path)
            dialog = NameDialog(f"Rename {run.name}", run.name)
            await self.app.push_screen(dialog, lambda name: self._rename(path, name) if name else None)

    def _rename(self, path: Path, name: str) -> None:
        if name == path.name:
            return
        try:
            rename_run(path, name)
        except MinidiffError as error:
            self.notify(str(error), severity="error")
        self._list_now()

    def action_copy(self, content: str) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            path = os.path.abspath(run.path)  # not resolved, to keep the name of a linked run
            command = "sample" if run.status is Status.PIPELINE else "resume"
            arguments = ["minidiff", command, run.name, "--root", os.path.dirname(path)]
            text = shlex.join([path] if content == "path" else arguments)
            self.app.copy_to_clipboard(text)
            self.notify(sanitize(f"copied: {text}"), timeout=3)

    def action_new(self) -> None:
        self.post_message(RunChosen(None))
