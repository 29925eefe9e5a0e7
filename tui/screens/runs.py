"""The Runs screen: a table of all runs under the root, with details and actions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.widgets import DataTable, Input, Static

from core.errors import MinidiffError
from core.race.result_file import race_of
from core.runs.directory import unreadable_directories, unreadable_message
from core.runs.history import RunHistory
from core.runs.status import Status
from tui.actions import bindings
from tui.io.lead_file import RunsView
from tui.io.run_list import list_newest_runs, list_runs
from tui.io.run_watcher import HistoryReader, RunWatcher
from tui.messages import (
    EventsAppended,
    HistoriesRead,
    ModelChosen,
    RunChosen,
    RunsListed,
    RunVanished,
    StatusChanged,
)
from tui.screens.race import RaceScreen
from tui.screens.run_actions import RunActions
from tui.screens.shared import Shared
from tui.widgets.devices import DevicePanel
from tui.widgets.field import Field
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_details import RunDetails
from tui.widgets.run_table import RunTable

LIST_SECONDS = 1.0  # interval of polling the root
FIRST_RUNS = 100  # shown before all runs are read
SETTLE_SECONDS = 0.15  # delay after moving the cursor until the log is read


class RunsScreen(RunActions, Shared):
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
        "Runs in this root directory, the newest first. Press enter to open a run, space to mark it for "
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
        self._listed = False  # whether all runs have been shown once

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
        self.list_now()

    def _poll(self) -> None:
        if self.is_current:
            self._list()
            if self.query_one(RunTable).marked:
                self._read_marked()
            elif self._stale:
                self._stale = False
                self.query_one(RunDetails).set_history(self._history)

    def list_now(self) -> None:
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
            unreadable = [] if self._listed else unreadable_directories(self.root)
            return RunsListed(runs, unreadable=tuple(path.name for path in unreadable), complete=True)
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
        self._listed = self._listed or message.complete
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
        self.show_highlighted()

    def on_data_table_row_highlighted(self) -> None:
        self.show_highlighted()

    def show_highlighted(self) -> None:
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
            self.list_now()

    # Leading and following

    @property
    def shared_view(self) -> RunsView:
        """The run under the cursor, and the marked ones."""
        table = self.query_one(RunTable)
        run, marked = table.highlighted, tuple(Path(path).name for path in table.marked)
        return RunsView(run=None if run is None else run.name, marked=marked)

    async def follow(self, view: RunsView) -> None:
        """Mark the runs of the same names, and move the cursor to the one of the same name.

        Raises:
            MinidiffError: a run of such a name is not in the list.
        """
        if not self._listed:
            return
        table = self.query_one(RunTable)
        before = list(table.marked)
        missing = table.mark(view.marked)
        if list(table.marked) != before:
            self._show_marked()
        if view.run is not None and not table.highlight(view.run):
            missing.insert(0, view.run)
        if missing:
            raise MinidiffError(f"there is no run {missing[0]} in this list")

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable what the highlighted run allows, and leaving the filter while there is one."""
        if action == "unfilter":
            return bool(self.query_one(RunTable).filter) or self.focused is self.query_one("#filter")
        return super().check_action(action, parameters)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        run = self.query_one(RunTable).highlighted
        if run is not None:
            self.post_message((ModelChosen if run.status is Status.PIPELINE else RunChosen)(run.name))

    def action_mark(self) -> None:
        self.query_one(RunTable).toggle_mark()
        self._show_marked()

    def _show_marked(self) -> None:
        marked = list(self.query_one(RunTable).marked)
        self.query_one(RunDetails).set_marked(marked)
        if marked:
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
        self.show_highlighted()

    def on_input_submitted(self) -> None:
        self.query_one(RunTable).focus()

    def action_sort(self) -> None:
        order = self.query_one(RunTable).cycle_order()
        self.notify(f"sorted by {order}{' time' if order == 'start' else ''}", timeout=2)
