"""Compare: two models, samplers, step counts or guidance scales from the same noise, on one timeline."""

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
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.playback import Playback
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.devices import DevicePanel
from tui.widgets.digits import DigitGrid
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.modal import ClosesOnce
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

SIDES = ("left", "right")
LOW = 30  # rows; a terminal with fewer has no room for blank lines


class CompareScreen(Playback, ClosesOnce[None]):
    """Two bars, two grids, one timeline: the right side takes its noise, and how many digits, from the left."""

    HELP = (
        "Two ways to denoise the same noise. The upper line says what stands on the left, the lower what stands on the "
        "right. Where one takes more steps, the other waits for it: both show the same amount of noise."
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
        self._listened: Callable[[Message], object] | None = None  # who heard the engine before
        self._times_asked = 0  # to sample both sides
        self._waiting: list[tuple[str, SampleRequest]] = []  # what is still to be sampled
        self._side = SIDES[0]  # which is being sampled
        self.shown: dict[str, Denoising] = {}
        self._said: dict[str, str] = {}
        self._states = False  # whether the noisy states are drawn instead of the predictions

    def compose(self) -> ComposeResult:
        """Two requests, two grids, the timeline."""
        yield Header("sample", "compare")
        for side in SIDES:
            yield SamplingControls(self._models, id=f"{side}-bar")
        with Horizontal(id="sides"):
            for side in SIDES:
                with Vertical(id=f"{side}-side"):
                    yield Static(id=f"{side}-caption", classes="caption")
                    yield DigitGrid(id=f"{side}-digits")
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    def bar(self, side: str) -> SamplingControls:
        """What a side is asked for."""
        return self.query_one(f"#{side}-bar", SamplingControls)

    def on_mount(self) -> None:
        """Begin with the same model on both sides, or with another on the right where there is one."""
        self._listened = self.engine.redirect(self.post_message)
        others = [model for model in self._models if model != self._request.model]
        models = (self._request.model, others[0] if others else self._request.model)
        for side, model in zip(SIDES, models, strict=True):
            bar = self.bar(side)
            bar.set_request(dataclasses.replace(self._request, model=model))
            bar.select_model(model)
        self.bar("right").disable_digits_and_seed()
        self.call_after_refresh(self.action_sample)  # until this returns the app takes no keys

    def on_unmount(self) -> None:
        """Let the screen below hear the engine again."""
        self._hand_back()

    def _hand_back(self) -> None:
        if self._listened is not None:
            self.engine.redirect(self._listened)
            self._listened = None
            self._times_asked += 1  # so that nothing more is asked from here
            self._waiting.clear()

    def on_resize(self, event: events.Resize) -> None:
        """Do without blank lines where there are few."""
        self.set_class(event.size.height < LOW, "-low")

    # What the engine says

    def on_engine_ready(self, message: EngineReady) -> None:
        """It answers what it was asked next."""
        self.query_one(Header).note = f"engine ready on {message.device}"

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """One side begins."""
        self.shown[self._side] = message.info.denoising
        self._said[self._side] = message.summary
        self._caption()

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Keep a step."""
        denoising = self.shown[self._side]
        frames = (*denoising.frames, message.frame)
        self.shown[self._side] = dataclasses.replace(denoising, frames=frames)
        self.query_one(Header).note = f"sampling the {self._side}: {message.frame.index} of {denoising.steps}"

    async def on_sampling_finished(self, message: SamplingFinished) -> None:
        """The other side's turn, or play."""
        self._said[self._side] += f", {message.seconds:.2f} s"
        self._caption()
        if self._waiting:
            await self._next()
            return
        self.query_one(Header).note = "compare"
        longest = self.longest
        self.timeline.load(longest.steps, [frame.t for frame in longest.frames])

    def on_engine_refused(self, message: EngineRefused) -> None:
        """Say what was wrong; nothing else is sampled."""
        self._waiting.clear()
        self.notify(message.notice, severity="error", timeout=8)

    def on_engine_died(self, message: EngineDied) -> None:
        """Say so; what is left is sampled if another is on its way."""
        if not message.restarted:
            self._waiting.clear()
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine ended"
        self.notify(message.notice, severity="warning", timeout=8)

    # What is shown

    @property
    def ready(self) -> bool:
        """Whether both sides have been sampled to their end."""
        sampled = [denoising for denoising in self.shown.values() if denoising.complete]
        return len(sampled) == len(SIDES) and not self._waiting

    @property
    def longest(self) -> Denoising:
        """The side with more steps, which the timeline follows."""
        return max(self.shown.values(), key=lambda denoising: denoising.steps)

    def frame_at(self, side: str, t: float) -> Frame:
        """The newest frame of a side that holds at least so much noise."""
        frames = self.shown[side].frames
        return next((frame for frame in reversed(frames) if frame.t >= t - 1e-6), frames[0])

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw both sides at the amount of noise that the timeline is at."""
        if len(self.shown) == len(SIDES) and not self._waiting and message.position < len(self.longest.frames):
            self._draw(self.longest.frames[message.position].t)

    def _draw(self, t: float) -> None:
        for side in SIDES:
            denoising, frame = self.shown[side], self.frame_at(side, t)
            blank = bytes(denoising.n * denoising.height * denoising.width)
            picture = frame.x if self._states else frame.prediction or blank
            read = [] if self._states else [f"{label} {sure}%" for label, sure in frame.read or ()]
            grid = self.query_one(f"#{side}-digits", DigitGrid)
            grid.set_images(picture, denoising.n, denoising.height, denoising.width, read)

    def _caption(self) -> None:
        for side in SIDES:
            if side in self.shown:
                said = (f"  {self._said[side]}", "$foreground 50%")
                text = Content.assemble((self.shown[side].model, "bold"), said)
                self.query_one(f"#{side}-caption", Static).update(text)

    # What a person asks

    async def on_sampling_controls_submitted(self) -> None:
        """Sample what the bars say."""
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample both sides anew, one after the other."""
        self._times_asked += 1
        mine = self._times_asked
        try:
            requests = [(side, await self._asked(side)) for side in SIDES]
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            return
        if mine != self._times_asked:
            return  # it was asked again meanwhile, which is under way
        first = requests[0][1]
        self._waiting = [(side, dataclasses.replace(asked, n=first.n, seed=first.seed)) for side, asked in requests]
        self.timeline.pause()
        await self._next()

    async def _asked(self, side: str) -> SampleRequest:
        bar = self.bar(side)
        model = bar.model
        if model is not None:
            bar.set_config(await asyncio.to_thread(config_of, model, self.root))
        request = bar.read()
        bar.set_request(request)
        return request

    async def _next(self) -> None:
        self._side, request = self._waiting.pop(0)
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        await self.engine.sample(request)

    async def action_new_seed(self) -> None:
        """Sample from other noise."""
        for side in SIDES:
            self.bar(side).seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_state(self) -> None:
        """Show the noisy states, or the predictions."""
        self._states = not self._states
        if len(self.shown) == len(SIDES) and not self._waiting:
            self._draw(self.longest.frames[self.timeline.position].t)

    def action_leave_field(self) -> None:
        """Give the keys back to the screen; where it has them, close it."""
        if self.focused is None:
            self.action_close()
        else:
            super().action_leave_field()

    def action_close(self) -> None:
        """Back to one model."""
        self._hand_back()  # before that screen goes on
        self.dismiss()
