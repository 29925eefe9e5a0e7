"""Base class of the Sample screen: shows one trajectory, zooms into it and exports it."""

from __future__ import annotations

import asyncio
from functools import partial

from textual import work

from core.errors import MinidiffError
from core.runs.trajectory import Denoising
from tui.screens.export import Export, ExportScreen
from tui.screens.playback import Playback
from tui.screens.zoom import ZoomScreen
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.timeline import Timeline

NOTICE_SECONDS = 8  # timeout of notifications


class TrajectoryScreen(Playback):
    """A screen with a `DenoisingView` and a timeline, which shows a trajectory unless it has the class `-empty`.

    Attributes:
        denoising: The trajectory shown; may be incomplete.
        class_names: Of its model; digits, the recording's classes, need none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denoising: Denoising | None = None
        self.class_names: tuple[str, ...] = ()

    @property
    def visible_trajectory(self) -> Denoising | None:
        """The trajectory that is visible and has frames, if any."""
        if self.denoising is None or not self.denoising.frames or self.has_class("-empty"):
            return None
        return self.denoising

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw the current step."""
        if self.denoising is not None and message.position < len(self.denoising.frames):
            frames, index = self.denoising.frames, message.position
            self.query_one(DenoisingView).set_frame(self.denoising, frames[index], frames[index - 1] if index else None)

    def _show_error(self, error: MinidiffError) -> None:
        self.notify(str(error), severity="error", timeout=NOTICE_SECONDS)

    def action_change(self) -> None:
        """Show or hide the change of each step."""
        view = self.query_one(DenoisingView)
        view.show_change = not view.show_change

    async def action_zoom(self) -> None:
        """Zoom into one image."""
        if self.visible_trajectory is None:
            self.notify("no images to show yet", severity="error")
            return
        self.timeline.pause()
        await self._zoom_into(0)

    async def _zoom_into(self, index: int) -> None:
        await self.app.push_screen(ZoomScreen(self._current, self.class_names, self.action_step, index))

    def _current(self) -> tuple[Denoising, int]:
        assert self.denoising is not None
        return self.denoising, min(self.timeline.position, len(self.denoising.frames) - 1)

    async def action_export(self) -> None:
        """Open the export dialog."""
        denoising, index = self.visible_trajectory, self.timeline.position
        if denoising is None:
            self.notify("no images to export yet", severity="error")
            return
        self.timeline.pause()
        screen = ExportScreen(denoising, index)
        await self.app.push_screen(screen, partial(self._export, screen, index))

    def _export(self, screen: ExportScreen, index: int, export: Export | None) -> None:
        if export is not None:
            self._write(export, screen.denoising, index)

    @work(group="export")
    async def _write(self, export: Export, denoising: Denoising, index: int) -> None:
        from core.export import images  # imports Pillow, which nothing else in this process needs

        try:
            match export.kind:
                case "grid":
                    await asyncio.to_thread(images.write_grid, export.path, denoising, index)
                case "figure":
                    await asyncio.to_thread(images.write_figure, export.path, denoising)
                case _:
                    await asyncio.to_thread(images.write_gif, export.path, denoising)
        except MinidiffError as error:
            self._show_error(error)
        else:
            self.notify(f"wrote {export.path}", timeout=NOTICE_SECONDS)
