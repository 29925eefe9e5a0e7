"""The Sample screen: plays sampling trajectories, at first a recording, then those requested from the engine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from core.engine.protocol import SampleRequest, SamplingInfo
from core.errors import MinidiffError
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING, Denoising, load_recording
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.lead_file import SampleView
from tui.io.run_list import list_runs
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.compare import CompareScreen
from tui.screens.editing import EditingScreen
from tui.screens.export import ExportScreen
from tui.screens.nearest import NearestScreen
from tui.screens.shared import Shared
from tui.screens.trajectory import NOTICE_SECONDS
from tui.screens.zoom import ZoomScreen
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import describe_start
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

FIRST = BUILTIN[0]  # the model shown at startup
LOW = 30  # rows; below, blank lines are omitted


class SampleScreen(EditingScreen, Shared):
    """Sampling controls, the noisy state beside the prediction, and the timeline."""

    HELP = (
        "A sampling trajectory, step by step: the noisy state, and the model's prediction of the "
        "clean images. Each step moves the state towards the prediction.\n"
        "Change a field and press enter to sample; choosing a model, sampler or class samples immediately. Guidance "
        "above 1 strengthens the class and needs more network evaluations. Options that the model does not support are "
        "disabled.\n"
        "Samples can also start from an image file (t) or a drawing (w), keep the part of it that you do not draw over "
        "(m), or lie between two seeds or images (i)."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "sample")
    DEFAULT_CSS = """
    SampleScreen {
        SamplingControls { margin: 1 1 0 1; }
        DenoisingView { margin: 1 1 0 1; }
        Timeline { margin: 1 0; }
        #empty {
            display: none; height: 1fr; padding: 1 4;
            content-align: center middle; text-align: center; color: $foreground 60%;
        }
        &.-empty { #empty { display: block; } DenoisingView { display: none; } }
        &.-low { SamplingControls, DenoisingView { margin: 0 1; } Timeline { margin: 0; } }
    }
    """

    def __init__(
        self,
        root: Path,
        pacer: FramePacer | None = None,
        *,
        still: bool = False,
        engine_silence: float = SILENCE_SECONDS,
        model: str = FIRST,
    ) -> None:
        super().__init__()
        self.root = root
        self._first_model = model  # shown at startup
        self._pacer = pacer  # limits the frame rate
        self._still = still  # no autoplay
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self._engine_started = False  # whether the engine was started in the background
        self._requested = False  # whether anything was requested from the engine
        self._request: SampleRequest | None = None  # the newest
        self._shown_request: SampleRequest | None = None  # of the trajectory shown; None for the recording
        self._summary = ""  # sampler and cost of the trajectory shown
        self._class_of_drawing = ""  # what the trajectory shown started from, as text

    def compose(self) -> ComposeResult:
        yield Header("sample")
        yield SamplingControls(builtin_directories())
        yield DenoisingView()
        yield Static(id="empty")
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    def on_mount(self) -> None:
        """Play the recording."""
        builtin = builtin_directories()
        model = self._first_model if self._first_model in builtin else FIRST  # runs have no recording
        self.bar.set_request(SampleRequest(model=model, steps=40))
        try:
            if model not in builtin:
                raise MinidiffError(f"The built-in model {model} is missing.")
            recording = load_recording(builtin[model] / RECORDING)
        except MinidiffError as error:
            self._show_empty(str(error))
        else:
            self.bar.select_model(model)
            self.bar.set_request(SampleRequest(model=model, steps=recording.steps, n=recording.n, seed=recording.seed))
            self._show(recording)
            self._set_source("● recorded", "$warning", f"{recording.model}, seed {recording.seed}")

    def on_screen_resume(self) -> None:
        """Start the engine once the first frame is drawn, and update the list of models."""
        self.call_after_refresh(self._start_engine)

    async def _start_engine(self) -> None:
        if not self.is_current:
            return
        if not self._engine_started:
            self._engine_started = True
            self.query_one(Header).note = "engine is loading"
            await self.engine.start()
            if self._first_model not in (FIRST, *builtin_directories()):
                await self.choose_model(self._first_model)  # updates the list, too
                return
        await self._update_models()

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

    # Display

    def _show(self, denoising: Denoising) -> None:
        self.denoising = denoising
        self.remove_class("-empty")
        self.timeline.load(denoising.steps, [frame.t for frame in denoising.frames])

    def _show_empty(self, reason: str) -> None:
        self.add_class("-empty")
        text = f"\n\n{reason}\n\nTrain a model (key 2), or reinstall minidiff to get the built-in one."
        self.query_one("#empty", Static).update(Content.assemble(("No model yet", "bold"), text))

    def _show_waiting(self, model: str) -> None:
        """Hide the images of the previous model until `model` is sampled."""
        self.add_class("-empty")
        self.query_one("#empty", Static).update(Content.styled(f"Sampling from {model} …", "bold"))

    def _set_source(self, source: str, colour: str, *more: str) -> None:
        """Show where the trajectory comes from, and the longest of `more` that fits."""
        self.query_one(DenoisingView).set_source(Content.styled(source, colour), *more)

    def _set_live(self, state: str) -> None:
        """Show that the trajectory is sampled live, with as much as fits of its state, its start and the sampler."""
        start = describe_start(self.start, self._class_of_drawing)
        parts = [part for part in (state, start, self._summary) if part]
        self._set_source("● live", "$success", ", ".join(parts), ", ".join(parts[1:]), start or state, state)

    def on_resize(self, event: events.Resize) -> None:
        """Omit blank lines on a low terminal."""
        self.set_class(event.size.height < LOW, "-low")

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

    # Leading and following

    @property
    def shared_view(self) -> SampleView:
        """The newest request, the step and what is enlarged."""
        request, top = self._request, self.app.screen
        if request is None and self.denoising is not None:  # the recording
            shown = self.denoising
            request = SampleRequest(model=shown.model, steps=shown.steps, n=shown.n, seed=shown.seed)
        return SampleView(
            request=request,
            step=self.timeline.position,
            change=self.query_one(DenoisingView).show_change,
            zoomed=top.index if isinstance(top, ZoomScreen) else None,
        )

    async def follow(self, view: SampleView) -> None:
        """Sample from the same model with the same settings, and show the same step and image.

        Raises:
            MinidiffError: there is no model of that name here.
        """
        self.query_one(DenoisingView).show_change = view.change
        if view.request is not None and view.request != self.shared_view.request:
            await self._follow_request(view.request)
        if self.visible_trajectory is None or self._request not in (None, self._shown_request):
            return  # until it is sampled
        self.timeline.seek(view.step)
        zoom = self.app.screen
        if not isinstance(zoom, ZoomScreen):
            if view.zoomed is not None:
                await self._zoom_into(view.zoomed)
        elif view.zoomed is None:
            zoom.dismiss()
        else:
            zoom.index = view.zoomed
            zoom.draw()

    async def _follow_request(self, request: SampleRequest) -> None:
        if request.model not in self.bar.models:
            await self._update_models()
        self.bar.select_model(request.model)
        self.start = request.start
        await self._update_controls()
        self.bar.set_request(request)
        await self._sample(request)

    # Actions

    async def choose_model(self, model: str) -> None:
        """Sample from `model`, chosen on another screen."""
        await self._update_models()
        try:
            self.bar.select_model(model)
        except MinidiffError as error:
            self._show_error(error)
            return
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample with the current values of the controls."""
        await self._update_controls()
        try:
            request = self.bar.read()
        except MinidiffError as error:
            self._show_error(error)
            return
        self.bar.set_request(request)
        await self._sample(dataclasses.replace(request, start=self.start))

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

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_new_seed(self) -> None:
        """Sample with a random seed."""
        self.bar.seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    async def action_compare(self) -> None:
        """Open the Compare screen."""
        try:
            request = self.bar.read()
        except MinidiffError as error:
            self._show_error(error)
            return
        self.timeline.pause()
        self._engine_started = self._requested = True
        compare = CompareScreen(
            self.engine, self.root, request, self.bar.models, self._pacer, still=self.timeline.still
        )
        await self.app.push_screen(compare, partial(self._leave_comparison, self.engine.busy))

    async def _leave_comparison(self, interrupted: bool, _: None) -> None:
        if interrupted:  # the last request
            await self.action_sample()

    async def action_nearest(self) -> None:
        """Show the nearest training image of each sample."""
        denoising, request = self.visible_trajectory, self._shown_request
        if denoising is None or not denoising.complete or self.engine.busy:
            self.notify("not all steps are sampled yet; try again after the last", severity="error")
        elif request is None:
            self.notify("this is a recording; press enter to generate samples first", severity="error")
        else:
            self.timeline.pause()
            await self.app.push_screen(NearestScreen(self.engine, request, denoising, self.class_names))
