"""The Compare screen: two sampling configurations from the same noise, on one timeline."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.config.sampling import CONSISTENCY_STEPS, defaults_for
from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.trajectory import Denoising, Frame
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.playback import Playback
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.captions import Caption
from tui.widgets.denoising_view import NO_PREDICTION
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.image_grid import ImageGrid
from tui.widgets.key_bar import KeyBar
from tui.widgets.modal import ClosesOnce
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    from core.config.training import TrainConfig

SIDES = ("left", "right")
LOW = 30  # rows; below, blank lines are omitted


class CompareScreen(Playback, ClosesOnce[None]):
    """Two controls, two grids and one timeline. The right side uses the seed and number of images of the left side."""

    HELP = (
        "Two models, samplers, step counts or guidance scales, sampled from the same noise. The upper line of controls "
        "applies to the left side, the lower to the right. Both sides are shown at the same noise level, so the side "
        "with fewer steps changes less often. Changing one side samples only this side again."
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
        other: SampleRequest | None = None,
        still: bool = False,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.root = root
        self._pacer = pacer
        self._still = still
        self._requests = {"left": request}  # of each side: what is shown, being sampled or pending
        self.other = other  # the right side's request; None: a default
        self._models = models
        self._previous_callback: Callable[[Message], object] | None = None  # of the engine, restored on closing
        self._generation = 0  # increases with each request to sample
        self._pending: list[str] = []  # sides not sampled yet
        self._side = SIDES[0]  # the side being sampled
        self._leader = SIDES[0]  # the side with more steps, which defines the timeline
        self.shown: dict[str, Denoising] = {}  # complete, or in progress
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
        """Fill in the controls, and sample."""
        self._previous_callback = self.engine.redirect(self.post_message)
        self.bar("right").disable_images_and_seed()
        self.call_after_refresh(self._open)  # later, because the app handles no keys until this handler returns

    async def _open(self) -> None:
        left = self._requests["left"]
        right = self.other
        try:
            if right is None or right.model not in self._models:
                config = await asyncio.to_thread(config_of, left.model, self.root)
                right = default_comparison(left, config, self._models)
            self._requests["right"] = right
            for side, request in self._requests.items():
                bar = self.bar(side)
                bar.select_model(request.model)
                bar.set_config(await asyncio.to_thread(config_of, request.model, self.root))
                bar.set_request(dataclasses.replace(request, n=left.n, seed=left.seed))
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            return
        await self.action_sample()

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
        if self._side == self._leader:
            self.timeline.load(message.info.denoising.steps)

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Add the frame to its side, and show it if the timeline is there."""
        side, denoising = self._side, self.shown[self._side]
        self.shown[side] = dataclasses.replace(denoising, frames=(*denoising.frames, message.frame))
        self.query_one(Header).note = f"sampling {side} side: step {message.frame.index} of {denoising.steps}"
        if side == self._leader:
            self.timeline.add_step(message.frame.t)
        elif self.frame_of(side) is message.frame:
            self._draw(side)

    async def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Sample the other side, if it is pending."""
        self._descriptions[self._side] += f", {message.seconds:.2f} s"
        self._update_captions()
        if self._pending:
            await self._sample_next()
        else:
            self.query_one(Header).note = "compare"

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
        return self.shown[self._leader]

    def frame_of(self, side: str) -> Frame | None:
        """The frame of a side that belongs to the position of the timeline, as far as it is sampled; None without any.

        States are shown at comparable noise levels. Predictions are those made from states at comparable noise levels.
        """
        frames = self.shown[side].frames if side in self.shown else ()
        position = self.timeline.position
        if side == self._leader or not frames:
            return frames[position] if position < len(frames) else None
        leader = self.shown.get(self._leader)
        if leader is None or position >= min(len(leader.frames), leader.steps):
            return frames[-1]
        if self._show_states:
            t = leader.frames[position].t
            return next((frame for frame in reversed(frames) if frame.t >= t - 1e-6), frames[0])
        if not position:
            return frames[0]
        t = leader.frames[position - 1].t
        # Each frame, and the state that its prediction was made from.
        made = zip(reversed(frames[:-1]), reversed(frames[1:]), strict=True)
        return next((frame for before, frame in made if before.t >= t - 1e-6), frames[0])

    def on_timeline_moved(self) -> None:
        """Draw both sides at the current position."""
        for side in SIDES:
            self._draw(side)

    def _draw(self, side: str) -> None:
        frame = self.frame_of(side)
        if frame is None:
            return
        denoising, names = self.shown[side], self._class_names[side]
        grid = self.query_one(f"#{side}-images", ImageGrid)
        grid.characters = denoising.characters
        images = frame.x if self._show_states else frame.prediction
        if images is None:
            grid.show_message(NO_PREDICTION)
            return
        read = () if self._show_states else frame.read or ()
        captions = [Caption(class_name(label, names), f" {percent}%") for label, percent in read]
        size = denoising.n, denoising.height, denoising.width
        captions = captions or [Caption("")] * denoising.n  # images do not move when there is one later
        grid.set_images(images, *size, captions, channels=denoising.channels)

    def _update_captions(self) -> None:
        for side, request in self._requests.items():
            description = self._descriptions.get(side, "waiting")
            text = Content.assemble((request.model, "bold"), (f"  {description}", "$foreground 50%"))
            self.query_one(f"#{side}-caption", Static).update(text)

    # Actions

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample the sides whose controls changed, or both if none did."""
        self._generation += 1
        generation = self._generation
        try:
            requests = {side: await self._read_request(side) for side in SIDES}
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            return
        if generation != self._generation:
            return  # superseded by a newer request
        first = requests["left"]
        requests["right"] = dataclasses.replace(requests["right"], n=first.n, seed=first.seed)
        unchanged = [side for side, shown in self.shown.items() if shown.complete and not self._differs(side, requests)]
        self._requests, self.other = requests, requests["right"]
        self._leader = max(SIDES, key=lambda side: requests[side].steps or 0)
        order = (self._leader, *(side for side in SIDES if side != self._leader))
        self._pending = [side for side in order if side not in unchanged or len(unchanged) == len(SIDES)]
        for side in self._pending:
            self.shown.pop(side, None)
            self._descriptions.pop(side, None)
            self.query_one(f"#{side}-images", ImageGrid).clear()
        self._update_captions()
        frames = self.longest.frames if self._leader in self.shown else ()
        self.timeline.load(requests[self._leader].steps or 0, [frame.t for frame in frames])
        await self._sample_next()

    def _differs(self, side: str, requests: dict[str, SampleRequest]) -> bool:
        return self._requests.get(side) != requests[side]

    async def _read_request(self, side: str) -> SampleRequest:
        bar = self.bar(side)
        model = bar.model
        if model is not None:
            bar.set_config(await asyncio.to_thread(config_of, model, self.root))
        request = bar.read()
        bar.set_request(request)
        return request

    async def _sample_next(self) -> None:
        self._side = self._pending.pop(0)
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        await self.engine.sample(self._requests[self._side])

    async def action_new_seed(self) -> None:
        """Sample with a random seed."""
        for side in SIDES:
            self.bar(side).seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_state(self) -> None:
        """Switch between noisy states and predictions."""
        self._show_states = not self._show_states
        self.on_timeline_moved()

    def action_close(self) -> None:
        """Return to the Sample screen."""
        self._release_engine()  # before the Sample screen resumes
        self.dismiss()


def default_comparison(request: SampleRequest, config: TrainConfig, models: list[str]) -> SampleRequest:
    """What to compare with a request: the same model with another sampler.

    A consistency model is compared with the model that it was distilled from, with that model's defaults, or, if that
    is missing, with itself in one step.
    """
    if config.objective == "consistency":
        if config.init_from in models:
            return dataclasses.replace(request, model=config.init_from, steps=None, sampler=None, guidance=None)
        return dataclasses.replace(request, steps=1 if request.steps != 1 else CONSISTENCY_STEPS)
    current = request.sampler or defaults_for(config).sampler
    return dataclasses.replace(request, sampler="heun" if current == "euler" else "euler")
