"""Base class of the Sample screen: samples with the engine, and shows the steps as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

from textual.content import Content
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from core.engine.protocol import SampleRequest, SamplingInfo
from core.errors import MinidiffError
from core.runs.directory import builtin_directories
from core.runs.trajectory import Denoising
from tui.class_names import class_name
from tui.io.engine_client import EngineClient
from tui.io.run_list import list_runs
from tui.messages import (
    EngineDied,
    EngineReady,
    EngineRefused,
    FrameSampled,
    ImagesInverted,
    SamplingFinished,
    SamplingStarted,
)
from tui.screens.editing import EditingScreen
from tui.screens.export import ExportScreen
from tui.screens.trajectory import NOTICE_SECONDS
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.dialogs import describe_start
from tui.widgets.header import Header
from tui.widgets.sampling_controls import config_of


class LiveSampling(EditingScreen):
    """A screen with an engine, whose newest trajectory it shows.

    Args:
        root: The root directory of the runs.
        engine_silence: Seconds without a message after which the engine is restarted.

    Attributes:
        engine: Its messages are posted to this screen.
    """

    def __init__(self, root: Path, engine_silence: float) -> None:
        super().__init__()
        self.root = root
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self._engine_started = False  # whether the engine was started in the background
        self._requested = False  # whether anything was requested from the engine
        self._request: SampleRequest | None = None  # the newest
        self._shown_request: SampleRequest | None = None  # of the trajectory shown; None for the recording
        self._summary = ""  # sampler and cost of the trajectory shown
        self._class_of_drawing = ""  # what the trajectory shown started from, as text

    async def on_unmount(self) -> None:
        """Stop the engine."""
        await self.engine.stop()

    async def _update_models(self) -> None:
        """List the built-in models and all runs that have weights."""
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self._show_error(error)
            runs = []
        self.bar.set_models(dict.fromkeys([*builtin_directories(), *(run.name for run in runs if run.sampleable)]))

    async def _update_controls(self) -> None:
        """Enable the options that the chosen model supports."""
        model, config = self.bar.model, None
        if model is None:
            return
        try:
            config = await asyncio.to_thread(config_of, model, self.root)
        except MinidiffError as error:
            self._show_error(error)
        if self.bar.model == model:  # not changed in the meantime
            self.bar.set_config(config)

    async def _sample(self, request: SampleRequest) -> None:
        self._engine_started = self._requested = True
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        if self.denoising is not None:
            if self.denoising.model != request.model:
                self._show_waiting(request.model)
            else:
                self.remove_class("-empty")
        self._request = request
        await self.engine.sample(request)

    # Display

    def _show(self, denoising: Denoising) -> None:
        self.denoising = denoising
        self.remove_class("-empty")
        self.timeline.load(denoising.steps, [frame.t for frame in denoising.frames])

    def _show_waiting(self, model: str) -> None:
        """Hide the images of the previous model until `model` is sampled."""
        self.add_class("-empty")
        self.query_one("#empty", Static).update(Content.styled(f"Sampling from {model} …", "bold"))

    def _set_source(self, source: str, color: str, *more: str) -> None:
        """Show where the trajectory comes from, and the longest of `more` that fits."""
        self.query_one(DenoisingView).set_source(Content.styled(source, color), *more)

    def _set_live(self, state: str) -> None:
        """Show that the trajectory is sampled live, with as much as fits of its state, its start and the sampler."""
        start = describe_start(self.start, self._class_of_drawing)
        parts = [part for part in (state, start, self._summary) if part]
        self._set_source("● live", "$success", ", ".join(parts), ", ".join(parts[1:]), start or state, state)

    # Engine messages

    async def on_engine_ready(self, message: EngineReady) -> None:
        """Replace the recording by a live trajectory, unless the user has paused it."""
        self.query_one(Header).note = f"engine ready on {message.device}"
        await self._update_controls()
        paused = not self.timeline.still and not self.timeline.playing and self.timeline.position < self.timeline.steps
        if not self._requested and not paused and self.bar.model is not None:
            if self.denoising is not None:
                self.bar.seed = self.denoising.seed + 1
            await self.action_sample()

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """Show a new trajectory from its first step."""
        info = message.info
        self.class_names = info.class_names
        view = self.query_one(DenoisingView)
        view.set_labels(info.labels, info.class_names)
        self._class_of_drawing = self._describe_class(info)
        view.set_start(info.start, describe_start(self.start, self._class_of_drawing))
        self._show(info.denoising)
        self._shown_request = self._request
        size = info.denoising.height * info.denoising.width * info.denoising.channels
        self.start_image = None if info.start is None else info.start[:size]
        self._summary = message.summary
        self._set_live("sampling")
        self.query_one(Header).note = f"{info.parameters:,} parameters on {info.device}"

    def _describe_class(self, info: SamplingInfo) -> str:
        """The class of the drawing that a trajectory starts from, and how it is known; empty if it has none."""
        if info.drawing_read is not None:
            label, confidence = info.drawing_read
            return f"read as {class_name(label, info.class_names)}, {confidence}%"
        if info.labels is None or len(set(info.labels)) > 1:
            return ""
        return "no class" if info.labels[0] == NO_CLASS else f"class {class_name(info.labels[0], info.class_names)}"

    def on_images_inverted(self, message: ImagesInverted) -> None:
        """Show the progress; the first step is sampled after the last of these."""
        if message.done == message.steps:
            self._set_live("sampling")
            return
        state = f"inverting, step {message.done} of {message.steps}"
        self._set_source("● live", "$success", f"{state}, {describe_start(self.start)}", state)

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Add the frame; the timeline shows it when it gets there."""
        if self.denoising is not None:
            frames = (*self.denoising.frames, message.frame)
            self.denoising = dataclasses.replace(self.denoising, frames=frames)
            self.timeline.add_step(message.frame.t)

    def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Show the sampling time, and allow exports of the whole trajectory."""
        self._set_live(f"in {message.seconds:.2f} s")
        if isinstance(self.app.screen, ExportScreen) and self.denoising is not None:
            self.app.screen.set_denoising(self.denoising)

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error, and select the model and the start that are still shown."""
        self.start = None if self._shown_request is None else self._shown_request.start
        if self.denoising is not None:
            self.remove_class("-empty")
            if not self.denoising.complete:  # sampling failed after it had started
                self._set_source("● failed", "$error", message.notice)
            with contextlib.suppress(MinidiffError):  # its run was deleted in the meantime
                self.bar.select_model(self.denoising.model)
                await self._update_controls()
        self.notify(message.notice, severity="error", timeout=NOTICE_SECONDS)

    def on_engine_died(self, message: EngineDied) -> None:
        """Show the reason, and whether the engine is being restarted."""
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine exited"
        if not message.restarted and self.denoising is not None:
            self.remove_class("-empty")
        self.notify(message.notice, severity="warning", timeout=NOTICE_SECONDS)
