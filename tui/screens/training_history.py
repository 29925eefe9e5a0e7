"""The training history of a run: the same noise, sampled with every snapshot of its weights."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message

from core.config.sampling import defaults_for
from core.engine.protocol import SampleRequest, SamplingInfo, SnapshotsRequest
from core.errors import MinidiffError
from core.runs.directory import EVENTS
from core.runs.history import RunHistory
from core.runs.snapshots import SnapshotFrame, SnapshotSeries, list_snapshots, missing_snapshots
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, SamplingFinished, SamplingStarted, SnapshotReceived
from tui.screens.playback import Playback
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import MAX_PATH, NameDialog
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.modal import ClosesOnce
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.snapshot_view import SnapshotView
from tui.widgets.timeline import Timeline

LOW = 30  # rows; below, blank lines are omitted
IMAGES = 8
KEPT = 16  # settings whose samples are kept, the newest ones
NOTICE_SECONDS = 8  # timeout of notifications


@dataclass(eq=False)
class Sampled:
    """What was sampled with the settings of one request so far."""

    request: SampleRequest
    info: SamplingInfo | None = None
    frames: dict[int, SnapshotFrame] = field(default_factory=dict)  # by training step


class TrainingHistoryScreen(Playback, ClosesOnce[None]):
    """Sampling controls, the samples of one snapshot, the losses of the run, and a timeline of its snapshots.

    Attributes:
        engine: Samples; runs while the screen is open.
        steps: The training steps of the snapshots.
    """

    HELP = (
        "The same noise, sampled with every snapshot of the run's weights: how the samples change in training. The "
        "snapshots are evenly spaced in the logarithm of the step, because a network learns most at first. The plot "
        "has the training loss and, marked, the validation loss of each snapshot on 256 test images; without the "
        "images, that after each epoch.\n"
        "Change a field and press enter to sample all snapshots with other settings. Samples are kept, so that "
        "earlier settings are shown at once. Press enter to see the newest snapshots of a run in training."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "history")
    DEFAULT_CSS = """
    TrainingHistoryScreen {
        SamplingControls, SnapshotView { margin: 1 1 0 1; }
        Timeline { margin: 1 0; }
        &.-low { SamplingControls, SnapshotView { margin: 0 1; } Timeline { margin: 0; } LossPlot { height: 45%; } }
    }
    """

    @dataclass
    class Requested(Message):
        """Posted with each request: the engine's messages before it belong to earlier ones."""

    def __init__(
        self,
        root: Path,
        run: str,
        pacer: FramePacer | None = None,
        *,
        still: bool = False,
        engine_silence: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__()
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self.steps: tuple[int, ...] = ()
        self._root, self._run = root, run
        self._pacer, self._still = pacer, still
        self._outdated = 0  # requests whose `Requested` has not arrived
        self._kept: dict[SampleRequest, Sampled] = {}  # the newest last
        self._sampled: Sampled | None = None  # what the newest request samples
        self._shown: Sampled | None = None
        self._losses: dict[int, float] = {}  # validation losses measured so far, which no setting changes, by step

    def compose(self) -> ComposeResult:
        yield Header("train", f"history of {self._run}")
        yield SamplingControls([self._run])
        yield SnapshotView()
        yield Timeline(self._pacer, still=self._still, unit="snapshot", quantity="")
        yield DevicePanel()
        yield KeyBar()

    @property
    def bar(self) -> SamplingControls:
        """The controls."""
        return self.query_one(SamplingControls)

    @property
    def view(self) -> SnapshotView:
        """The samples and the losses."""
        return self.query_one(SnapshotView)

    @property
    def series(self) -> SnapshotSeries | None:
        """What is sampled with the settings shown, up to the first snapshot that is not; None before the first."""
        shown = self._shown
        if shown is None or shown.info is None:
            return None
        about = shown.info.denoising
        frames: list[SnapshotFrame] = []
        for step in self.steps:
            if step not in shown.frames:
                break
            frames.append(shown.frames[step])
        shape = about.n, about.height, about.width, about.channels
        return SnapshotSeries(about.model, about.seed, *shape, about.characters, self.steps, tuple(frames))

    @property
    def _count(self) -> int:
        """Number of snapshots that can be shown."""
        return 0 if self.series is None else len(self.series.frames)

    def on_mount(self) -> None:
        """Sample with the model's defaults."""
        self.call_after_refresh(self._open)  # later, because the app handles no keys until this handler returns

    async def on_unmount(self) -> None:
        """Stop the engine."""
        await self.engine.stop()

    async def _open(self) -> None:
        try:
            config = await asyncio.to_thread(config_of, self._run, self._root)
        except MinidiffError as error:
            self._show_error(error)
            return
        self.bar.set_config(config)
        self.bar.set_request(SampleRequest(model=self._run, steps=defaults_for(config).steps, n=IMAGES))
        await self.action_sample()

    def on_resize(self, event: events.Resize) -> None:
        """Omit blank lines on a low terminal."""
        self.set_class(event.size.height < LOW, "-low")

    # Sampling

    async def action_sample(self) -> None:
        """Sample all snapshots with the values of the controls, except those that were sampled with them before."""
        path = self._root / self._run
        try:
            request = self.bar.read()
            snapshots = await asyncio.to_thread(list_snapshots, path)
            if not snapshots:
                raise missing_snapshots(path)
        except MinidiffError as error:
            self._show_error(error)
            return
        history = await asyncio.to_thread(_read_history, path)
        self.bar.set_request(request)
        self.steps = tuple(snapshot.step for snapshot in snapshots)
        self.view.set_history(history, self.steps[-1])
        self._shown = shown = self._kept.pop(request, None) or Sampled(request)
        self._kept[request] = shown
        for old in list(self._kept)[:-KEPT]:
            del self._kept[old]
        missing = tuple(step for step in self.steps if step not in shown.frames)
        self._show(complete=not missing)
        if missing:
            await self._request(shown, missing)

    async def _request(self, sampled: Sampled, missing: tuple[int, ...]) -> None:
        """Sample the snapshots of these steps."""
        self._sampled = sampled
        self._outdated += 1
        self.post_message(self.Requested())  # just before the client drops the replies to earlier requests
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        given = {spec.name: getattr(sampled.request, spec.name) for spec in fields(sampled.request)}
        validate = not self._losses.keys() >= set(missing)
        await self.engine.sample(SnapshotsRequest(**given, training_steps=missing, validate=validate))

    def _show(self, *, complete: bool) -> None:
        """Show what is sampled with the present settings."""
        if self._shown is not None and self._shown.info is not None:
            self.view.set_labels(self._shown.info.labels, self._shown.info.class_names)
        available = [0.0] * self._count  # the timeline shows no noise level
        if complete:  # keeps its position
            self.timeline.replace_steps(len(self.steps) - 1, available)
        else:
            if not available:
                self.view.show_message("loading the snapshots…")
            self.timeline.load(len(self.steps) - 1, available)
        self._show_progress()

    def _show_progress(self) -> None:
        done = self._count == len(self.steps)
        note = f"history of {self._run}" if done else f"{self._count} of {len(self.steps)} snapshots sampled"
        self.query_one(Header).note = note

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw the samples of the current snapshot."""
        series = self.series
        if series is not None and message.position < len(series.frames):
            self.view.set_frame(series, series.frames[message.position])

    # Engine messages

    def on_training_history_screen_requested(self) -> None:
        """From here on, messages belong to the newest request."""
        self._outdated -= 1

    def on_engine_ready(self, message: EngineReady) -> None:
        """Show the device."""
        self.query_one(Header).note = f"engine ready on {message.device}"

    @property
    def _current(self) -> Sampled | None:
        """What a message of the engine belongs to, if anything."""
        return None if self._outdated else self._sampled

    def on_sampling_started(self, message: SamplingStarted) -> None:
        """Note what is sampled."""
        if (sampled := self._current) is not None:
            sampled.info = message.info
            if sampled is self._shown:
                self.view.set_labels(message.info.labels, message.info.class_names)

    def on_snapshot_received(self, message: SnapshotReceived) -> None:
        """Add the samples; the timeline shows them when it gets there."""
        sampled, frame = self._current, message.frame
        if sampled is None:
            return
        if frame.validation_loss is not None:
            self._losses[frame.step] = frame.validation_loss
            self.view.set_measured(sorted(self._losses.items()))
        before = self._count
        sampled.frames[frame.step] = replace(frame, validation_loss=self._losses.get(frame.step))
        for _ in range(self._count - before):
            self.timeline.add_step(0.0)
        self._show_progress()

    def on_sampling_finished(self, message: SamplingFinished) -> None:
        """Show how long it took."""
        if self._current is not None and self._current is self._shown:
            self.query_one(Header).note = f"{len(self.steps)} snapshots, sampled in {message.seconds:.1f} s"

    def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error."""
        if self._current is not None:
            self._show_error(message.notice)

    def on_engine_died(self, message: EngineDied) -> None:
        """Show the reason, and whether the engine is being restarted."""
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine exited"
        self.notify(message.notice, severity="warning", timeout=NOTICE_SECONDS)

    def _show_error(self, error: MinidiffError | str) -> None:
        self.notify(str(error), severity="error", timeout=NOTICE_SECONDS)
        if not self._count:
            self.view.show_message(str(error))

    # Actions

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_new_seed(self) -> None:
        """Sample all snapshots with a random seed."""
        self.bar.seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    async def action_export(self) -> None:
        """Ask for the file to export what is sampled to."""
        series = self.series
        if series is None or not series.frames:
            self._show_error("no snapshot is sampled yet")
            return
        self.timeline.pause()
        name = f"{series.model}-history-seed{series.seed}.gif"
        dialog = NameDialog("Save the history (.gif or .png) as", str(Path.cwd() / name), max_length=MAX_PATH)
        await self.app.push_screen(dialog, partial(self._export, series))

    def _export(self, series: SnapshotSeries, name: str | None) -> None:
        if name:
            self._write(series, Path(os.path.expanduser(name)))

    @work(group="export")
    async def _write(self, series: SnapshotSeries, path: Path) -> None:
        from core.export import images  # imports Pillow, which nothing else in this process needs

        is_gif = path.suffix.lower() in images.GIF_FORMATS
        write = images.write_snapshots_gif if is_gif else images.write_snapshots_figure
        try:
            written = await asyncio.to_thread(write, path, series)
        except MinidiffError as error:
            self._show_error(error)
        else:
            self.notify(f"wrote {written}", timeout=NOTICE_SECONDS)

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss()


def _read_history(path: Path) -> RunHistory:
    """The history of a run; empty if its log cannot be read. Runs in a thread."""
    try:
        return RunHistory.of(path / EVENTS)
    except OSError:
        return RunHistory()
