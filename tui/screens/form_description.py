"""Base class of the Train screen: describes the run that its form would start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from core.engine.protocol import DescriptionRequest
from core.errors import MinidiffError
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineRefused, RunDescribed
from tui.widgets.run_form import RunForm

DESCRIBE_SECONDS = 0.5  # from the last change of an option to the request of a description


class FormDescription(Screen[None]):
    """A screen with a `RunForm` in a `ContentSwitcher`, which requests descriptions while the form is shown.

    Attributes:
        root: The root directory of the runs.
        engine: Describes; its messages must be posted here.
    """

    def __init__(self, root: Path, *, describe: bool, engine_silence: float) -> None:
        """Create the screen; without `describe`, nothing is requested."""
        super().__init__()
        self.root = root
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self._describe = describe
        self._described: dict[str, Any] | None = None  # options of the newest description that was requested
        self._describe_timer: Timer | None = None

    async def on_unmount(self) -> None:
        await self.engine.stop()

    @property
    def _on_form(self) -> bool:
        return self.query_one(ContentSwitcher).current == "form"

    def _end_descriptions(self) -> None:
        """Stop the engine, which frees its memory for training."""
        self._described = None
        self.run_worker(self.engine.stop(), group="engine")

    def on_run_form_changed(self) -> None:
        self._schedule_description()

    def _schedule_description(self) -> None:
        """Describe the run once the options have not changed for a moment; replies until then are outdated."""
        if self._describe_timer is not None:
            self._describe_timer.stop()
        if self._describe:
            self._describe_timer = self.set_timer(DESCRIBE_SECONDS, self._request_description)

    async def _request_description(self) -> None:
        form = self.query_one(RunForm)
        if not self._on_form or not self.is_current:
            return
        try:
            options = form.options()
        except MinidiffError as error:
            self._described = None
            form.describe(str(error), is_error=True)
            return
        if options != self._described:
            self._described = options
            form.describe("looking for the data…")
            await self.engine.describe(DescriptionRequest(options=options))

    def _is_outdated(self) -> bool:
        """Whether the options have changed since the newest request."""
        try:
            return self._described is None or self._described != self.query_one(RunForm).options()
        except MinidiffError:
            return True

    def on_run_described(self, message: RunDescribed) -> None:
        if not self._is_outdated():
            self.query_one(RunForm).describe(message.description)

    def on_engine_refused(self, message: EngineRefused) -> None:
        if not self._is_outdated():
            self._described = None  # asked again when the user returns, who may have added the missing folder
            self.query_one(RunForm).describe(message.notice, is_error=True)

    async def on_engine_ready(self) -> None:
        if not self._on_form:  # a run was started meanwhile
            await self.engine.stop()

    def on_engine_died(self, message: EngineDied) -> None:
        if not message.restarted and not self._is_outdated():
            self._described = None
            self.query_one(RunForm).describe(message.notice, is_error=True)
