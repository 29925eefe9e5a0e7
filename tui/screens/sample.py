"""The Sample screen: plays sampling trajectories, at first a recording, then those requested from the engine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from core.engine.protocol import DrawnImage, Interpolation, SampleRequest, Start
from core.errors import MinidiffError
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING, Denoising, load_recording
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.run_list import list_runs
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.compare import CompareScreen
from tui.screens.draw import MaskScreen, SketchScreen
from tui.screens.export import Export, ExportScreen
from tui.screens.nearest import NearestScreen
from tui.screens.playback import Playback
from tui.screens.zoom import ZoomScreen
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import NOISE_LEVEL, InterpolationDialog, StartDialog, describe_start
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

FIRST = BUILTIN[0]  # the model shown at startup
LOW = 30  # rows; below, blank lines are omitted
NOTICE_SECONDS = 8  # timeout of notifications


class SampleScreen(Playback):
    """Sampling controls, the noisy state beside the prediction, and the timeline."""

    HELP = (
        "A sampling trajectory, step by step: on the left the noisy state, on the right the model's prediction of the "
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
        self.denoising: Denoising | None = None  # the trajectory shown; may be incomplete
        self._engine_started = False  # whether the engine was started in the background
        self._requested = False  # whether anything was requested from the engine
        self._start: Start | Interpolation | None = None  # what the next trajectory starts from
        self._request: SampleRequest | None = None  # the newest
        self._shown_request: SampleRequest | None = None  # of the trajectory shown; None for the recording
        self._compared: SampleRequest | None = None  # the other side of the last comparison
        self._start_image: bytes | None = None  # the first image that the trajectory shown started from
        self._class_names: tuple[str, ...] = ()  # of the model shown; digits, the recording's classes, need none
        self._summary = ""  # sampler and cost of the trajectory shown

    def compose(self) -> ComposeResult:
        yield Header("sample")
        yield SamplingControls(builtin_directories())
        yield DenoisingView()
        yield Static(id="empty")
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    @property
    def bar(self) -> SamplingControls:
        """The sampling controls."""
        return self.query_one(SamplingControls)

    def on_mount(self) -> None:
        """Play the recording."""
        builtin = builtin_directories()
        model = self._first_model if self._first_model in builtin else FIRST  # runs have no recording
        directory = builtin.get(model)
        self.bar.set_request(SampleRequest(model=model, steps=40))
        try:
            if directory is None:
                raise MinidiffError(f"The built-in model {model} is missing.")
            recording = load_recording(directory / RECORDING)
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

    def _show_error(self, error: MinidiffError) -> None:
        self.notify(str(error), severity="error", timeout=NOTICE_SECONDS)

    # Display

    def _show(self, denoising: Denoising) -> None:
        self.denoising = denoising
        self.remove_class("-empty")
        self.timeline.load(denoising.steps, [frame.t for frame in denoising.frames])

    def _show_empty(self, reason: str) -> None:
        self.add_class("-empty")
        fix = "Train a model (key 2), or reinstall minidiff to get the built-in one."
        self.query_one("#empty", Static).update(Content.assemble(("No model yet", "bold"), f"\n\n{reason}\n\n", fix))

    def _show_waiting(self, model: str) -> None:
        """Hide the images of the previous model until `model` is sampled."""
        self.add_class("-empty")
        self.query_one("#empty", Static).update(Content.styled(f"Sampling from {model} …", "bold"))

    @property
    def _shown(self) -> Denoising | None:
        """The trajectory that is visible and has frames, if any."""
        if self.denoising is None or not self.denoising.frames or self.has_class("-empty"):
            return None
        return self.denoising

    def _set_source(self, source: str, colour: str, *more: str) -> None:
        """Show where the trajectory comes from, and the longest of `more` that fits."""
        self.query_one(DenoisingView).set_source(Content.styled(source, colour), *more)

    def _set_live(self, state: str) -> None:
        """Show that the trajectory is sampled live, with as much as fits of its state, its start and the sampler."""
        start = describe_start(self._start)
        parts = [part for part in (state, start, self._summary) if part]
        self._set_source("● live", "$success", ", ".join(parts), ", ".join(parts[1:]), start or state, state)

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw the current step."""
        if self.denoising is not None and message.position < len(self.denoising.frames):
            frames, index = self.denoising.frames, message.position
            self.query_one(DenoisingView).set_frame(self.denoising, frames[index], frames[index - 1] if index else None)

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
        self._class_names = info.class_names
        view = self.query_one(DenoisingView)
        view.set_labels(info.labels, info.class_names)
        view.set_start(info.start)
        self._show(info.denoising)
        self._shown_request = self._request
        size = info.denoising.height * info.denoising.width * info.denoising.channels
        self._start_image = None if info.start is None else info.start[:size]
        self._summary = message.summary
        self._set_live("sampling")
        self.query_one(Header).note = f"{info.parameters:,} parameters on {info.device}"

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
        self._start = None if self._shown_request is None else self._shown_request.start
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
        self._engine_started = self._requested = True
        self.bar.set_request(request)
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        if self.denoising is not None:
            if self.denoising.model != request.model:
                self._show_waiting(request.model)
            else:
                self.remove_class("-empty")
        self._request = dataclasses.replace(request, start=self._start)
        await self.engine.sample(self._request)

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_new_seed(self) -> None:
        """Sample with a random seed."""
        self.bar.seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_change(self) -> None:
        """Show or hide the change of each step."""
        view = self.query_one(DenoisingView)
        view.show_change = not view.show_change

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
            self.engine,
            self.root,
            request,
            self.bar.models,
            self._pacer,
            other=self._compared,
            still=self.timeline.still,
        )
        await self.app.push_screen(compare, partial(self._leave_comparison, compare, self.engine.busy))

    async def _leave_comparison(self, compare: CompareScreen, interrupted: bool, _: None) -> None:
        self._compared = compare.other
        if interrupted:  # the last request
            await self.action_sample()

    async def action_start(self) -> None:
        """Choose between pure noise and an image with added noise."""
        start = self._start if isinstance(self._start, Start) else None
        await self.app.push_screen(StartDialog(start), self._start_from)

    async def action_interpolate(self) -> None:
        """Choose the ends of an interpolation."""
        ends = self._start
        if not isinstance(ends, Interpolation):
            seed = int(self.bar.seed) if self.bar.seed.isdecimal() else 0
            ends = Interpolation(seed, seed + 1)
        await self.app.push_screen(InterpolationDialog(ends), self._start_from)

    async def _start_from(self, start: Start | Interpolation | Literal["noise"] | None) -> None:
        if start is not None:
            self._start = None if start == "noise" else start
            await self.action_sample()

    async def action_draw(self) -> None:
        """Draw an image to start from, or edit the one that was drawn."""
        await self._update_controls()
        shape = self.bar.image_shape
        if shape is None:
            self.notify("the model's images are not known yet; try again after the first sample", severity="error")
            return
        start, pixels, level = self._start, None, NOISE_LEVEL
        if isinstance(start, Start) and start.mask is None:
            level = start.t
            if isinstance(start.image, DrawnImage) and len(start.image.pixels) == 2 * shape[0] * shape[1]:
                pixels = start.image.pixels
        self.timeline.pause()
        characters = self._shown is None or self._shown.characters
        sketch = SketchScreen(pixels, shape, self.app.size, characters=characters)
        await self.app.push_screen(sketch, partial(self._start_from_drawing, level))

    async def _start_from_drawing(self, t: float, pixels: str | None) -> None:
        if pixels is not None:
            await self._start_from(Start(DrawnImage(pixels), t))

    async def action_mask(self) -> None:
        """Draw over the start image."""
        start, image, denoising = self._start, self._start_image, self._shown
        if not isinstance(start, Start) or image is None or denoising is None:
            self.notify("choose or draw an image to start from first (t or w), then draw over it", severity="error")
            return
        self.timeline.pause()
        shape = denoising.height, denoising.width, denoising.channels
        mask = MaskScreen(image, shape, start.mask or (), self.app.size, characters=denoising.characters)
        await self.app.push_screen(mask, partial(self._inpaint, start))

    async def _inpaint(self, start: Start, mask: tuple[str, ...] | None) -> None:
        if mask is None:
            return
        if bool(mask) != bool(start.mask):  # the masked part is generated from noise only, an image is not
            start = dataclasses.replace(start, t=1.0 if mask else NOISE_LEVEL)
        await self._start_from(dataclasses.replace(start, mask=mask or None))

    async def action_nearest(self) -> None:
        """Show the nearest training image of each sample."""
        denoising, request = self._shown, self._shown_request
        if denoising is None or not denoising.complete or self.engine.busy:
            self.notify("not all steps are sampled yet; try again after the last", severity="error")
        elif request is None:
            self.notify("this is a recording; press enter to generate samples first", severity="error")
        else:
            self.timeline.pause()
            await self.app.push_screen(NearestScreen(self.engine, request, denoising, self._class_names))

    async def action_zoom(self) -> None:
        """Zoom into one image."""
        if self._shown is None:
            self.notify("no images to show yet", severity="error")
            return
        self.timeline.pause()
        await self.app.push_screen(ZoomScreen(self._current, self._class_names, self.action_step))

    def _current(self) -> tuple[Denoising, int]:
        assert self.denoising is not None
        return self.denoising, min(self.timeline.position, len(self.denoising.frames) - 1)

    async def action_export(self) -> None:
        """Open the export dialog."""
        denoising, index = self._shown, self.timeline.position
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
