"""The Sample screen: a denoising played step by step, first the recorded one, then whatever the engine is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING, Denoising, load_recording
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.run_list import list_runs
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted
from tui.screens.compare import CompareScreen
from tui.screens.export import Export, ExportScreen
from tui.screens.playback import Playback
from tui.screens.zoom import ZoomScreen
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import Start, StartDialog
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

FIRST = BUILTIN[0]  # what the app opens on
LOW = 30  # rows; a terminal with fewer has no room for blank lines
NOTICE_SECONDS = 8


class SampleScreen(Playback):
    """Noisy state and prediction, the timeline under them, and what to sample above."""

    HELP = (
        "A denoising, step by step: on the left the noisy state that the model is given, on the right the clean "
        "digits it predicts. Each step moves the state part of the way towards the prediction.\n"
        "Change what stands above and press enter; another model, sampler or class is sampled at once. Guidance "
        "above 1 keeps closer to the class, for more evaluations of the net. What a model cannot do is grey."
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
    ) -> None:
        super().__init__()
        self.root = root
        self._pacer = pacer  # whose pace pictures keep
        self._still = still  # nothing plays by itself
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self.denoising: Denoising | None = None  # what is shown, as far as it is there
        self._opened = False  # whether the engine was started behind the first picture
        self._requested = False  # whether it was asked for anything yet
        self._from = Start()  # what the next denoising starts from
        self._asked = ""  # how what is shown was sampled

    def compose(self) -> ComposeResult:
        """What to sample, the two grids, the timeline, the devices."""
        yield Header("sample")
        yield SamplingControls(builtin_directories())
        yield DenoisingView()
        yield Static(id="empty")
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    @property
    def bar(self) -> SamplingControls:
        """The line that says what to sample."""
        return self.query_one(SamplingControls)

    def on_mount(self) -> None:
        """Play the recording."""
        home = builtin_directories().get(FIRST)
        self.bar.set_request(SampleRequest(model=FIRST, steps=40))
        try:
            if home is None:
                raise MinidiffError(f"The built-in model {FIRST} is not here.")
            recording = load_recording(home / RECORDING)
        except MinidiffError as error:
            self._show_nothing(str(error))
        else:
            self.bar.set_request(SampleRequest(model=FIRST, steps=recording.steps, n=recording.n, seed=recording.seed))
            self._show(recording)
            self._say("● recorded", "$warning", f"{recording.model}, seed {recording.seed}")

    def on_screen_resume(self) -> None:
        """Start the engine behind the first picture; offer the runs that came to hold weights meanwhile."""
        self.call_after_refresh(self._open)

    async def _open(self) -> None:
        if not self.is_current:
            return
        if not self._opened:
            self._opened = True
            self.query_one(Header).note = "engine is loading"
            await self.engine.start()
        await self._offer_models()

    async def on_unmount(self) -> None:
        """End the engine."""
        await self.engine.stop()

    async def _offer_models(self) -> None:
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self._show_error(error)
            runs = []
        self.bar.set_models(dict.fromkeys([*builtin_directories(), *(run.name for run in runs if run.sampleable)]))

    async def _update_controls(self) -> None:
        """Let the bar offer what the chosen model can do."""
        model, config = self.bar.model, None
        if model is None:
            return
        try:
            config = await asyncio.to_thread(config_of, model, self.root)
        except MinidiffError as error:
            self._show_error(error)
        if self.bar.model == model:  # and not another by now
            self.bar.set_config(config)

    def _show_error(self, error: MinidiffError) -> None:
        self.notify(str(error), severity="error", timeout=NOTICE_SECONDS)

    # What is shown

    def _show(self, denoising: Denoising) -> None:
        self.denoising = denoising
        self.remove_class("-empty")
        self.timeline.load(denoising.steps, [frame.t for frame in denoising.frames])

    def _show_nothing(self, reason: str) -> None:
        self.add_class("-empty")
        cure = "Train a model (key 2), or install minidiff again to have the built-in one."
        self.query_one("#empty", Static).update(
            Content.assemble(("Nothing to play yet", "bold"), f"\n\n{reason}\n\n", cure)
        )

    def _show_waiting(self, model: str) -> None:
        """Show no digits of the model before under the name of `model`."""
        self.add_class("-empty")
        self.query_one("#empty", Static).update(Content.styled(f"Sampling from {model} …", "bold"))

    @property
    def _shown(self) -> Denoising | None:
        """The denoising that is in sight and has frames."""
        if self.denoising is None or not self.denoising.frames or self.has_class("-empty"):
            return None
        return self.denoising

    def _say(self, source: str, colour: str, *more: str) -> None:
        self.query_one(DenoisingView).set_source(Content.styled(source, colour), *more)

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw the step that the timeline is at."""
        if self.denoising is not None and message.position < len(self.denoising.frames):
            frames, at = self.denoising.frames, message.position
            self.query_one(DenoisingView).set_frame(self.denoising, frames[at], frames[at - 1] if at else None)

    def on_resize(self, event: events.Resize) -> None:
        """Do without blank lines where there are few."""
        self.set_class(event.size.height < LOW, "-low")

    # What the engine says

    async def on_engine_ready(self, message: EngineReady) -> None:
        """Go live, unless the user is looking at a step of the recording."""
        self.query_one(Header).note = f"engine ready on {message.device}"
        await self._update_controls()
        looking = not self._still and not self.timeline.playing and self.timeline.position < self.timeline.steps
        if not self._requested and not looking and self.bar.model is not None:
            if self.denoising is not None:
                self.bar.seed = self.denoising.seed + 1
            await self.action_sample()

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """Follow a new denoising from its start."""
        info = message.info
        self.query_one(DenoisingView).set_labels(info.labels)
        self._show(info.denoising)
        self._asked = message.summary if self._from.image is None else f"from {self._from}, {message.summary}"
        self._say("● live", "$success", f"sampling, {self._asked}", self._asked, "sampling")
        self.query_one(Header).note = f"{info.parameters:,} parameters on {info.device}"

    def on_frame_sampled(self, message: FrameSampled) -> None:
        """Keep a further step; the timeline shows it in its turn."""
        if self.denoising is not None:
            frames = (*self.denoising.frames, message.frame)
            self.denoising = dataclasses.replace(self.denoising, frames=frames)
            self.timeline.add_step(message.frame.t)

    def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Say how long it took."""
        took = f"in {message.seconds:.2f} s"
        self._say("● live", "$success", f"{took}, {self._asked}", self._asked, took)

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Say what was wrong, and name the model that is still shown."""
        if self.denoising is not None:
            self.remove_class("-empty")
            if not self.denoising.complete:  # sampling began and failed, so what is shown has no end
                self._say("● failed", "$error", message.notice)
            with contextlib.suppress(MinidiffError):  # its run has been deleted meanwhile
                self.bar.select_model(self.denoising.model)
                await self._update_controls()
        self.notify(message.notice, severity="error", timeout=NOTICE_SECONDS)

    def on_engine_died(self, message: EngineDied) -> None:
        """Say so, and whether another is on its way."""
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine ended"
        if not message.restarted and self.denoising is not None:
            self.remove_class("-empty")
        self.notify(message.notice, severity="warning", timeout=NOTICE_SECONDS)

    # What the user asks

    async def choose_model(self, model: str) -> None:
        """Sample from `model`, as another screen asked."""
        await self._offer_models()
        try:
            self.bar.select_model(model)
        except MinidiffError as error:
            self._show_error(error)
            return
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample what the bar says."""
        await self._update_controls()
        try:
            request = self.bar.read()
        except MinidiffError as error:
            self._show_error(error)
            return
        self._opened = self._requested = True
        self.bar.set_request(request)
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        if self.denoising is not None:
            if self.denoising.model != request.model:
                self._show_waiting(request.model)
            else:
                self.remove_class("-empty")
        start = self._from
        await self.engine.sample(dataclasses.replace(request, start_image=start.image, start_t=start.t))

    async def on_sampling_controls_submitted(self) -> None:
        """Sample what the bar says."""
        await self.action_sample()

    async def action_new_seed(self) -> None:
        """Sample from other noise."""
        self.bar.seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_change(self) -> None:
        """Show what each step changes, or no more."""
        stage = self.query_one(DenoisingView)
        stage.show_change = not stage.show_change

    async def action_compare(self) -> None:
        """Set another model, or other settings, beside this one."""
        try:
            request = self.bar.read()
        except MinidiffError as error:
            self._show_error(error)
            return
        self.timeline.pause()
        self._opened = self._requested = True
        compare = CompareScreen(self.engine, self.root, request, self.bar.models, self._pacer, still=self._still)
        await self.app.push_screen(compare, self._go_on if self.engine.busy else None)

    async def _go_on(self, _: object) -> None:
        await self.action_sample()  # what was not answered yet

    async def action_start(self) -> None:
        """Choose what to start from."""
        await self.app.push_screen(StartDialog(self._from), self._start_from)

    async def _start_from(self, start: Start | None) -> None:
        if start is not None:
            self._from = start
            await self.action_sample()

    async def action_zoom(self) -> None:
        """Look at one digit and its pixels."""
        if self._shown is None:
            self.notify("there is nothing to look at yet", severity="error")
            return
        self.timeline.pause()
        await self.app.push_screen(ZoomScreen(self._current, self.action_step))

    def _current(self) -> tuple[Denoising, int]:
        assert self.denoising is not None, "the zoom opens on one"
        return self.denoising, min(self.timeline.position, len(self.denoising.frames) - 1)

    async def action_export(self) -> None:
        """Choose a picture to write."""
        denoising, index = self._shown, self.timeline.position
        if denoising is None:
            self.notify("there is nothing to export yet", severity="error")
            return
        self.timeline.pause()
        await self.app.push_screen(ExportScreen(denoising, index), partial(self._export, denoising, index))

    def _export(self, denoising: Denoising, index: int, export: Export | None) -> None:
        if export is not None:
            self._write(export, denoising, index)

    @work(group="export")
    async def _write(self, export: Export, denoising: Denoising, index: int) -> None:
        from core.export import images as pictures  # brings Pillow, which nothing else here needs

        try:
            match export.kind:
                case "grid":
                    await asyncio.to_thread(pictures.write_grid, export.path, denoising, index)
                case "figure":
                    await asyncio.to_thread(pictures.write_figure, export.path, denoising)
                case _:
                    await asyncio.to_thread(pictures.write_gif, export.path, denoising)
        except MinidiffError as error:
            self._show_error(error)
        else:
            self.notify(f"wrote {export.path}", timeout=NOTICE_SECONDS)
