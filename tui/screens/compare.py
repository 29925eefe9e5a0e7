"""The Compare screen: two sampling configurations from the same noise, on one timeline."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.trajectory import Denoising, Frame
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.playback import Playback
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.image_grid import Caption, ImageGrid
from tui.widgets.key_bar import KeyBar
from tui.widgets.modal import ClosesOnce
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

SIDES = ("left", "right")
LOW = 30  # rows; below, blank lines are omitted


class CompareScreen(Playback, ClosesOnce[None]):
    """Two controls, two grids and one timeline. The right side uses the seed and number of images of the left side."""

    HELP = (
        "Two models, samplers, step counts or guidance scales, sampled from the same noise. The upper line of controls "
        "applies to the left side, the lower to the right. Both sides are shown at the same noise level, so the side "
        "with fewer steps changes less often."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "compare")
    DEFAULT_CSS = """
    CompareScreen {
        SamplingControls { margin: 1 1 0 1; }
        #sides { height: 1fr; margin: 1 1 0 1; }
        #sides > Vertical { width: 1fr; height: 1fr; }
        #left-side { margin-right: 4; }
        .caption { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        Timeline { margin: 1 0; }
        &.-low { SamplingControls, #sides { margin: 0 1; } Timeline { margin: 0; } }
    }
    """

    def __init__(
        self,
        engine: EngineClient,
        root: Path,
        request: SampleRequest,
        models: list[str],
        pacer: FramePacer | None = None,
        *,
        still: bool = False,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.root = root
        self._pacer = pacer
        self._still = still
        self._request = request
        self._models = models
        self._previous_callback: Callable[[Message], object] | None = None  # of the engine, restored on closing
        self._generation = 0  # increases with each request to sample both sides
        self._pending: list[tuple[str, SampleRequest]] = []  # sides not sampled yet
        self._side = SIDES[0]  # the side being sampled
        self.shown: dict[str, Denoising] = {}
        self._class_names: dict[str, tuple[str, ...]] = {}  # of each side's model
        self._descriptions: dict[str, str] = {}  # sampler, cost and time of each side
        self._show_states = False  # noisy states instead of predictions

    def compose(self) -> ComposeResult:
        yield Header("sample", "compare")
        for side in SIDES:
            yield SamplingControls(self._models, id=f"{side}-bar")
        with Horizontal(id="sides"):
            for side in SIDES:
                with Vertical(id=f"{side}-side"):
                    yield Static(id=f"{side}-caption", classes="caption")
                    yield ImageGrid(id=f"{side}-images")
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    def bar(self, side: str) -> SamplingControls:
        """The controls of a side."""
        return self.query_one(f"#{side}-bar", SamplingControls)

    def on_mount(self) -> None:
        """Fill in the controls, with another model on the right if there is one, and sample."""
        self._previous_callback = self.engine.redirect(self.post_message)
        others = [model for model in self._models if model != self._request.model]
        models = (self._request.model, others[0] if others else self._request.model)
        for side, model in zip(SIDES, models, strict=True):
            bar = self.bar(side)
            bar.set_request(dataclasses.replace(self._request, model=model))
            bar.select_model(model)
        self.bar("right").disable_images_and_seed()
        self.call_after_refresh(self.action_sample)  # later, because the app handles no keys until this handler returns

    def on_unmount(self) -> None:
        """Return the engine to the screen below."""
        self._release_engine()

    def _release_engine(self) -> None:
        if self._previous_callback is not None:
            self.engine.redirect(self._previous_callback)
            self._previous_callback = None
            self._generation += 1  # discards a request in preparation
            self._pending.clear()

    def on_resize(self, event: events.Resize) -> None:
        """Omit blank lines on a low terminal."""
        self.set_class(event.size.height < LOW, "-low")

    # Engine messages

    def on_engine_ready(self, message: EngineReady) -> None:
        """Show the device."""
        self.query_one(Header).note = f"engine ready on {message.device}"

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """Start collecting the frames of a side."""
        self.shown[self._side] = message.info.denoising
        self._class_names[self._side] = message.info.class_names
        self._descriptions[self._side] = message.summary
        self._update_captions()

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Add the frame to its side."""
        denoising = self.shown[self._side]
        frames = (*denoising.frames, message.frame)
        self.shown[self._side] = dataclasses.replace(denoising, frames=frames)
        self.query_one(Header).note = f"sampling {self._side} side: step {message.frame.index} of {denoising.steps}"

    async def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Sample the other side, or play both."""
        self._descriptions[self._side] += f", {message.seconds:.2f} s"
        self._update_captions()
        if self._pending:
            await self._sample_next()
            return
        self.query_one(Header).note = "compare"
        longest = self.longest
        self.timeline.load(longest.steps, [frame.t for frame in longest.frames])

    def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error and drop the pending side."""
        self._pending.clear()
        self.notify(message.notice, severity="error", timeout=8)

    def on_engine_died(self, message: EngineDied) -> None:
        """Show the reason; keep the pending side if the engine is being restarted."""
        if not message.restarted:
            self._pending.clear()
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine exited"
        self.notify(message.notice, severity="warning", timeout=8)

    # Display

    @property
    def ready(self) -> bool:
        """Whether both sides are complete."""
        complete = [denoising for denoising in self.shown.values() if denoising.complete]
        return len(complete) == len(SIDES) and not self._pending

    @property
    def longest(self) -> Denoising:
        """The trajectory with more steps, which defines the timeline."""
        return max(self.shown.values(), key=lambda denoising: denoising.steps)

    def frame_at(self, side: str, t: float) -> Frame:
        """The last frame of a side whose noise level is at least `t`."""
        frames = self.shown[side].frames
        return next((frame for frame in reversed(frames) if frame.t >= t - 1e-6), frames[0])

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw both sides at the noise level of the current step."""
        if len(self.shown) == len(SIDES) and not self._pending and message.position < len(self.longest.frames):
            self._draw(self.longest.frames[message.position].t)

    def _draw(self, t: float) -> None:
        for side in SIDES:
            denoising, frame = self.shown[side], self.frame_at(side, t)
            names = self._class_names[side]
            images = frame.x if self._show_states else frame.prediction or bytes(len(frame.x))
            read = () if self._show_states else frame.read or ()
            captions = [Caption(class_name(label, names), f" {percent}%") for label, percent in read]
            grid = self.query_one(f"#{side}-images", ImageGrid)
            size = denoising.n, denoising.height, denoising.width
            grid.characters = denoising.characters
            grid.set_images(images, *size, captions, channels=denoising.channels)

    def _update_captions(self) -> None:
        for side in SIDES:
            if side in self.shown:
                description = (f"  {self._descriptions[side]}", "$foreground 50%")
                text = Content.assemble((self.shown[side].model, "bold"), description)
                self.query_one(f"#{side}-caption", Static).update(text)

    # Actions

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample both sides, one after the other."""
        self._generation += 1
        generation = self._generation
        try:
            requests = [(side, await self._read_request(side)) for side in SIDES]
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            return
        if generation != self._generation:
            return  # superseded by a newer request
        first = requests[0][1]
        self._pending = [(side, dataclasses.replace(request, n=first.n, seed=first.seed)) for side, request in requests]
        self.timeline.pause()
        await self._sample_next()

    async def _read_request(self, side: str) -> SampleRequest:
        bar = self.bar(side)
        model = bar.model
        if model is not None:
            bar.set_config(await asyncio.to_thread(config_of, model, self.root))
        request = bar.read()
        bar.set_request(request)
        return request

    async def _sample_next(self) -> None:
        self._side, request = self._pending.pop(0)
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        await self.engine.sample(request)

    async def action_new_seed(self) -> None:
        """Sample with a random seed."""
        for side in SIDES:
            self.bar(side).seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_state(self) -> None:
        """Switch between noisy states and predictions."""
        self._show_states = not self._show_states
        if len(self.shown) == len(SIDES) and not self._pending:
            self._draw(self.longest.frames[self.timeline.position].t)

    def action_leave_field(self) -> None:
        """Remove the focus from the field; close the screen if no field has it."""
        if self.focused is None:
            self.action_close()
        else:
            super().action_leave_field()

    def action_close(self) -> None:
        """Return to the Sample screen."""
        self._release_engine()  # before the Sample screen resumes
        self.dismiss()
