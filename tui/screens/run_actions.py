"""Base class of the Runs screen: actions on the run under the cursor."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from textual.screen import Screen

from core.errors import MinidiffError
from core.race.result_file import race_of
from core.runs.requests import RequestName, request
from core.runs.status import RunSummary, Status
from core.runs.store import delete_run, rename_run
from core.text import sanitize
from tui.io.run_watcher import start_trainer
from tui.messages import ForkChosen, ModelChosen, RunChosen, TrainingHistoryChosen
from tui.widgets.dialogs import ConfirmDialog, NameDialog
from tui.widgets.run_table import RunTable

RESUMABLE = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


class RunActions(Screen[None]):
    """A screen with a `RunTable`, whose highlighted run can be changed, copied and opened."""

    def list_now(self) -> None:
        """Read the list of runs again, after an action."""
        raise NotImplementedError

    def show_highlighted(self) -> None:
        """Show the run under the cursor."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable what the highlighted run allows."""
        if action not in ("resume", "request", "sample", "history", "delete", "mark", "race", "fork", "rename", "copy"):
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
            self.show_highlighted()
            self.list_now()
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
            self.list_now()

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
        self.list_now()

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
        self.list_now()

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
