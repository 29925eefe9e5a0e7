"""The Sample screen: plays sampling trajectories, at first a recording, then those requested from the engine."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING, load_recording
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS
from tui.io.lead_file import CompareView, SampleView
from tui.screens.compare import CompareScreen
from tui.screens.live_sampling import LiveSampling
from tui.screens.nearest import NearestScreen
from tui.screens.shared import Shared
from tui.screens.zoom import ZoomScreen
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls
from tui.widgets.timeline import Timeline

FIRST = BUILTIN[0]  # the model shown at startup
LOW = 30  # rows; below, blank lines are omitted


class SampleScreen(LiveSampling, Shared):
    """Sampling controls, the noisy state beside the prediction, and the timeline."""

    HELP = (
        "A sampling trajectory, step by step: the noisy state, and the model's prediction of the "
        "clean images. Each step moves the state toward the prediction.\n"
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
        super().__init__(root, engine_silence)
        self._first_model = model  # shown at startup
        self._pacer = pacer  # limits the frame rate
        self._still = still  # no autoplay

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

    # Display

    def _show_empty(self, reason: str) -> None:
        self.add_class("-empty")
        text = f"\n\n{reason}\n\nTrain a model (key 2), or reinstall minidiff to get the built-in one."
        self.query_one("#empty", Static).update(Content.assemble(("No model yet", "bold"), text))

    def on_resize(self, event: events.Resize) -> None:
        """Omit blank lines on a low terminal."""
        self.set_class(event.size.height < LOW, "-low")

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

    async def follow(self, view: SampleView | CompareView) -> None:
        """Sample from the same model with the same settings, and show the same step and image; or open Compare.

        Raises:
            MinidiffError: there is no model of that name here.
        """
        if isinstance(view, CompareView):
            await self._follow_comparison(view.panes)
            return
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

    async def _follow_comparison(self, panes: Sequence[SampleRequest]) -> None:
        """Open the Compare screen, which then follows."""
        if isinstance(self.app.screen, ZoomScreen):
            self.app.screen.dismiss()
        elif panes:
            names = {pane.model for pane in panes}
            await self._find_models(*names)
            if missing := names - set(self.bar.models):
                raise MinidiffError(f"there is no model {min(missing)} here")
            await self._compare(panes[0], is_following=True)

    async def _find_models(self, *names: str) -> None:
        """Update the list of models if it lacks one of these."""
        if not set(names) <= set(self.bar.models):
            await self._update_models()

    async def _follow_request(self, request: SampleRequest) -> None:
        await self._find_models(request.model)
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
        await self._compare(request)

    async def _compare(self, request: SampleRequest, *, is_following: bool = False) -> None:
        self.timeline.pause()
        self._engine_started = self._requested = True
        models, still = self.bar.models, self.timeline.still
        compare = CompareScreen(
            self.engine, self.root, request, models, self._pacer, still=still, is_following=is_following
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
