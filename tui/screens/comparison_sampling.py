"""Sampling of the sides of a comparison: one at a time, because the engine samples one request at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message

from core.errors import MinidiffError
from tui.comparison import Compared, leader_of
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.playback import Playback
from tui.widgets.comparison_view import ComparisonView
from tui.widgets.header import Header

NOTICE_SECONDS = 8  # timeout of notifications


class ComparisonSampling(Playback):
    """A screen with a `ComparisonView` and a timeline, which samples its sides and shows them meanwhile.

    Attributes:
        engine: Samples; its messages must be posted here.
        sides: What each pane shows.
        selected: The index of the pane that the controls apply to.
    """

    @dataclass
    class Requested(Message):
        """Posted with each request: the engine's messages before it belong to earlier ones."""

    def __init__(self, engine: EngineClient) -> None:
        super().__init__()
        self.engine = engine
        self.sides: list[Compared] = []
        self.selected = 0
        self._outdated = 0  # requests whose `Requested` has not arrived
        self._pending: list[Compared] = []  # not sampled yet
        self._sampled: Compared | None = None  # being sampled

    @property
    def ready(self) -> bool:
        """Whether all panes are complete."""
        return bool(self.sides) and all(side.complete for side in self.sides)

    @property
    def view(self) -> ComparisonView:
        """The panes."""
        return self.query_one(ComparisonView)

    # Engine messages

    def on_comparison_sampling_requested(self) -> None:
        """From here on, messages belong to the newest request."""
        self._outdated -= 1

    @property
    def _current(self) -> Compared | None:
        """The side that a message of the engine belongs to, if any."""
        return None if self._outdated else self._sampled

    def on_engine_ready(self, message: EngineReady) -> None:
        """Show the device."""
        self.query_one(Header).note = f"engine ready on {message.device}"

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """Start collecting the frames of a side."""
        side, info = self._current, message.info
        if side is not None:
            side.denoising, side.nfe = info.denoising, info.nfe
            side.labels, side.class_names = info.labels, info.class_names
            if self.sides and side is leader_of(self.sides):
                self.timeline.load(info.denoising.steps)
            self._update_view()

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Add the frame to its side, and show it if the timeline is there."""
        side, frame = self._current, message.frame
        if side is None or side.denoising is None:
            return
        side.denoising = dataclasses.replace(side.denoising, frames=(*side.denoising.frames, frame))
        if side not in self.sides:  # removed meanwhile
            return
        if side is leader_of(self.sides):
            self.timeline.add_step(frame.t)
        self.view.on_frame(side, frame)

    async def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Sample the next side, if any is pending."""
        if self._current is not None:
            self._current.seconds = message.seconds
            self.query_one(Header).note = "compare"
            await self._sample_next()

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error in its pane, and sample the next side."""
        side = self._current
        if side is not None:
            was_leader = side in self.sides and side is leader_of(self.sides)
            side.error = message.notice
            self._show_error(message.notice)
            if was_leader:
                self._load_timeline()
            await self._sample_next()

    def on_engine_died(self, message: EngineDied) -> None:
        """Show the reason; keep the pending sides if the engine is being restarted."""
        if not message.restarted:
            for side in (self._sampled, *self._pending):
                if side is not None:
                    side.error = message.notice
            self._sampled = None
            self._pending.clear()
            self._update_view()
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine exited"
        self.notify(message.notice, severity="warning", timeout=NOTICE_SECONDS)

    def _show_error(self, error: MinidiffError | str) -> None:
        self.notify(str(error), severity="error", timeout=NOTICE_SECONDS)

    # Display

    def on_timeline_moved(self) -> None:
        """Draw all panes at the current position."""
        self.view.set_position(self.timeline.position)

    def _update_view(self) -> None:
        if self.sides:
            self.view.set_sides(self.sides, self.selected, self._sampled)
        shown = self.view.in_view
        hidden = len(shown) < len(self.sides)
        header = self.query_one(Header)
        if hidden:
            header.note = f"panes {shown[0] + 1} to {shown[-1] + 1} of {len(self.sides)}"
        elif header.note.startswith("panes"):
            header.note = "compare"

    async def _sample(self, changed: Sequence[Compared]) -> None:
        """Sample some sides, and those that are still pending; the one with the most steps first."""
        for side in changed:
            side.reset()
        self._pending = [side for side in self.sides if side in changed or side in self._pending]
        self._pending.sort(key=lambda side: side is not leader_of(self.sides))
        self._load_timeline()
        if self._sampled not in self.sides or self._sampled in changed:
            await self._sample_next()
        else:  # it continues
            self._update_view()

    def _load_timeline(self) -> None:
        self.timeline.load(leader_of(self.sides).steps, [frame.t for frame in leader_of(self.sides).frames])

    async def _sample_next(self) -> None:
        self._sampled = self._pending.pop(0) if self._pending else None
        self._update_view()
        if self._sampled is None:
            return
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        self._outdated += 1
        self.post_message(self.Requested())  # just before the client drops the replies to earlier requests
        await self.engine.sample(self._sampled.request)
