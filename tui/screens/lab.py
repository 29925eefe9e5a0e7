"""The Lab screen: benches on convolution, noise and the inside of a network, for one image and one model."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import ContentSwitcher, Input, Select

from core.config.datasets import CHARACTERS
from core.config.sampling import NO_CLASS
from core.engine.lab_messages import ConvolutionRequest, CorruptionReply, InsideReply, TransposedRequest
from core.engine.protocol import DatasetImage, DrawnImage, LabReply, LabRequest
from core.errors import MinidiffError
from core.runs.directory import builtin_directories
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.lead_file import BenchRequest, LabView
from tui.io.run_list import list_runs
from tui.lab.bench import Bench, Panel
from tui.lab.bench_tabs import BenchTabs
from tui.lab.convolution import ConvolutionBench
from tui.lab.corruption import CorruptionBench
from tui.lab.fields import ClassField, FieldRow, choice, entry
from tui.lab.inside import InsideBench
from tui.lab.kernel_fields import KernelBench
from tui.lab.lab_input import LabInput
from tui.lab.transposed import TransposedBench
from tui.messages import EngineDied, EngineReady, EngineRefused, LabReplied
from tui.screens.draw import DrawScreen
from tui.screens.playback import Playback
from tui.screens.shared import Shared
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import NameDialog
from tui.widgets.header import Header
from tui.widgets.image_grid import ImageGrid
from tui.widgets.key_bar import KeyBar
from tui.widgets.sampling_controls import config_of
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    from core.config.training import TrainConfig

DIGITS = ("mnist", "glyphs")  # for models of 28x28 grey images, besides their own dataset; glyphs is always available
DIGIT_SHAPE = (1, 28, 28)
CHANNELS = ("luminance", "red", "green", "blue")  # to choose from for RGB images
IMAGES = 1_000  # test images to choose from
DRAWN = f"[0-9a-f]{{{2 * math.prod(DIGIT_SHAPE)}}}"  # the pixels of a drawn image, in hexadecimal
MAX_PATH = 1_000  # characters
DEVICES_ROWS = 44  # terminal rows from which the devices are shown


class LabScreen(Playback, Shared):
    """Benches that share one image and one model; the engine computes what they show."""

    HELP = (
        "Experiments with the parts of a diffusion model, on one image. Press [ and ] to switch between benches. "
        "Changes to a field take effect at once; press escape to leave it.\n"
        "Scripts can do the same with core.lab: press e to export the image and the Python code that computes it."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "lab")
    DEFAULT_CSS = """
    LabScreen {
        #top { height: 2; layout: vertical; }
        &.-wide #top { height: 1; layout: horizontal; }
        #subject { padding: 0 1; width: 1fr; }
        ContentSwitcher { height: 1fr; }
        &.-low DevicePanel { display: none; }
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
        self._pacer, self._still = pacer, still
        self.engine = EngineClient(self.post_message, root, silence_seconds=engine_silence)
        self._missing: set[str] = set()  # datasets that are not on this machine
        self._config: tuple[str, TrainConfig] | None = None  # the chosen model and its config
        self._drawing: DrawnImage | None = None  # in place of a test image
        self._request: LabRequest | None = None  # the newest
        self._replied = False  # to the newest request

    def compose(self) -> ComposeResult:
        benches: list[Bench[Any]] = [
            ConvolutionBench(self._pacer, still=self._still),
            TransposedBench(self._pacer, still=self._still),
            CorruptionBench(self._pacer, still=self._still),
            InsideBench(),
        ]
        yield Header("lab")
        models = list(builtin_directories())
        image, model = entry("image-index", "0", width=6), choice("model", models, models[0], width=24)
        model.styles.width, model.styles.max_width = "1fr", 24
        channel = choice("channel", CHANNELS, CHANNELS[0], width=14)
        with Container(id="top"):
            yield BenchTabs({bench.NAME: bench.TITLE for bench in benches})
            yield FieldRow(("image", image), ("model", model), ("channel", channel), id="subject")
        with ContentSwitcher(initial=benches[0].NAME):
            yield from benches
        yield DevicePanel()
        yield KeyBar()

    @property
    def bench(self) -> Bench[Any]:
        """The visible bench."""
        return self.query_one(f"#{self.query_one(ContentSwitcher).current}", Bench)

    @property
    def timeline(self) -> Timeline:
        """The timeline of the visible bench."""
        return self.bench.query_one(Timeline)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that do not apply to the visible bench."""
        if action in ("play", "step", "seek", "loop", "faster") and self.is_mounted:
            return self.bench.timeline is not None
        if action == "view" and self.is_mounted:
            return self.bench.has_more_views
        if action in ("skips", "channel", "common_range") and self.is_mounted:
            return isinstance(self.bench, InsideBench)
        return super().check_action(action, parameters)

    def on_mount(self) -> None:
        self._show_channel()

    async def on_screen_resume(self) -> None:
        """Start the engine, send the visible bench's request, and update the list of models."""
        self.query_one(Header).note = "engine is loading" if not self.engine.running else self.query_one(Header).note
        await self._update_models()
        if self.bench.shown is None:
            await self._send_request()

    async def on_unmount(self) -> None:
        await self.engine.stop()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < DEVICES_ROWS, "-low")
        self.refresh_bindings()

    async def _update_models(self) -> None:
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            runs = []
        names = list(dict.fromkeys([*builtin_directories(), *(run.name for run in runs if run.sampleable)]))
        model = self.query_one("#model", CompactSelect)
        model.set_values(names, model.chosen if model.chosen in names else names[0])

    # Requests and replies

    @property
    def subject(self) -> LabInput:
        """The image and the model that the benches work on.

        Raises:
            MinidiffError: the image field does not hold the index of a test image.
        """
        text = self.query_one("#image-index", Input).value.strip()
        if self._drawing is None and not (text.isdecimal() and int(text) < IMAGES):
            raise MinidiffError(f"image takes the index of a test image, 0 to {IMAGES - 1}, not {text or 'nothing'}")
        index = int(text) if text.isdecimal() else 0
        model, shape, null_class = self.query_one("#model", CompactSelect).chosen, DIGIT_SHAPE, 10
        if self._config is not None:
            shape, null_class = self._config[1].info.shape, self._config[1].info.null_class
        if self._drawing is not None and shape != DIGIT_SHAPE:
            raise MinidiffError(_not_for_digits(model, shape))
        return LabInput(
            self._dataset,
            index,
            model,
            drawing=self._drawing,
            shape=shape,
            null_class=null_class,
            channel=self._channel(shape),
        )

    def _channel(self, shape: tuple[int, int, int]) -> int | None:
        """The chosen channel of images of this shape; None for the luminance."""
        chosen = CHANNELS.index(self.query_one("#channel", CompactSelect).chosen)
        return chosen - 1 if chosen and shape[0] > 1 else None

    def _show_channel(self) -> None:
        """Show the field `channel` if there are several, and the bench works on one."""
        visible = self._config is not None and self._config[1].info.channels > 1
        for widget in self.query_one("#subject").children[-2:]:  # the field and its label
            widget.display = visible and isinstance(self.bench, KernelBench)

    @property
    def _dataset(self) -> str:
        """The first dataset that may be on this machine: the model's own, or digits if they have its shape."""
        if self._config is None:
            return DIGITS[0]
        info, own = self._config[1].info, str(self._config[1].dataset)
        names = [own]
        if info.shape == DIGIT_SHAPE:
            names = [*(names if own != "auto" else []), *DIGITS]
        return next((name for name in names if name not in self._missing), names[-1])

    async def _update_config(self) -> None:
        """Read the chosen model's config, and show the names of its classes."""
        model = self.query_one("#model", CompactSelect).chosen
        if self._config is not None and self._config[0] == model:
            return
        self._replied = False
        config = await asyncio.to_thread(config_of, model, self.root)
        if self.query_one("#model", CompactSelect).chosen != model:
            return  # another was chosen in the meantime, and is read now
        self._config = model, config
        for field in self.query(ClassField):
            field.set_names(config.info.class_names)

    def _class_names(self, dataset: str) -> Sequence[str]:
        """The names of a dataset's classes."""
        from core.config.datasets import INFO  # imports pydantic, which the first screen does not need

        if self._config is not None and dataset == self._config[1].dataset:
            return self._config[1].info.class_names
        return INFO[dataset].class_names if dataset in INFO else ()

    async def _send_request(self) -> None:
        """Send the visible bench's request to the engine, unless it is the same as before, or show what is wrong."""
        bench = self.bench
        try:
            await self._update_config()
            self._show_channel()
            request = bench.request(self.subject)
        except MinidiffError as error:
            bench.show_error(str(error))
            return
        bench.show_about()
        if request != self._request:
            self._request, self._replied = request, False
            await self.engine.show_lab(request)

    async def on_bench_changed(self, message: Bench.Changed) -> None:
        message.stop()
        if message.bench is self.bench:  # others send their request when they become visible
            await self._send_request()

    async def on_input_changed(self, event: Input.Changed) -> None:
        self._drawing = None
        await self._send_request()

    async def on_select_changed(self, event: Select.Changed) -> None:
        await self._send_request()

    def on_engine_ready(self, message: EngineReady) -> None:
        self.query_one(Header).note = "engine ready"

    @property
    def is_idle(self) -> bool:
        """Whether the reply to the newest request is shown."""
        return self._replied

    def on_lab_replied(self, message: LabReplied) -> None:
        reply = message.reply
        if not self.engine.is_current(reply):
            return  # it waited while the next request was prepared
        self._replied = True
        dataset = self._dataset
        names, characters = self._class_names(dataset), self._drawing is not None or dataset in CHARACTERS
        model_names = () if self._config is None else self._config[1].info.class_names
        if self._drawing is not None:
            names = model_names
        self._show_label(reply, names, Path(dataset).name)
        for bench in self.query(Bench):
            bench.image_classes, bench.model_classes = names, model_names
            for grid in bench.query(ImageGrid):
                grid.characters = characters
            if isinstance(reply, bench.REPLIES):
                bench.show_reply(reply)

    def _show_label(self, reply: LabReply, names: Sequence[str], dataset: str) -> None:
        """Show the class of the image; that of a drawing stays known while benches that need none are shown."""
        header = self.query_one(Header)
        known = reply.label is not None
        name = class_name(reply.label, names) if reply.label is not None else ""
        if self._drawing is None:
            header.note = f"class {name} of {dataset}" if known else f"an image of {dataset}"
        elif reply.label == NO_CLASS:
            header.note = "a drawn image, no class"
        elif isinstance(reply, CorruptionReply | InsideReply) and reply.drawing_read is not None:
            header.note = f"a drawn image, read as {name}, {reply.drawing_read[1]}%"
        elif known and self._drawing.label is not None:
            header.note = f"a drawn image, class {name}"
        elif not known:
            header.note = "a drawn image"

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error; if the dataset is not on this machine, use the generated one."""
        dataset = self._dataset
        if dataset in message.notice and "not on this machine" in message.notice and dataset not in self._missing:
            self._missing.add(dataset)
            if self._dataset != dataset:  # there is another
                await self._send_request()
                return
        self._request = None  # so that the same request can be sent again
        self.bench.show_error(message.notice)

    def on_engine_died(self, message: EngineDied) -> None:
        if not message.restarted:
            self._request = None
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine exited"
        self.notify(message.notice, severity="warning", timeout=8)

    # Leading and following

    @property
    def shared_view(self) -> LabView:
        """The visible bench, its newest request and the step."""
        bench, request = self.bench, self._request
        return LabView(
            bench=bench.NAME,
            request=request if isinstance(request, BenchRequest) and isinstance(request, bench.REQUEST) else None,
            step=0 if bench.timeline is None else bench.timeline.position,
        )

    async def follow(self, view: LabView) -> None:
        """Show the same bench, with the same image, model and fields, and the same step.

        Raises:
            MinidiffError: there is no such bench, model or image here.
        """
        if view.bench != self.bench.NAME:
            if view.bench not in {bench.NAME for bench in self.query(Bench)}:
                raise MinidiffError(f"there is no bench {view.bench!r} here")
            self.open(view.bench)
        if isinstance(view.request, self.bench.REQUEST) and view.request != self.shared_view.request:
            await self._follow_request(view.request)
        if self.bench.timeline is not None and self._replied:
            self.bench.timeline.seek(view.step)

    async def _follow_request(self, request: LabRequest) -> None:
        """Fill in the fields, and send the request that they describe if they have changed."""
        model = self.query_one("#model", CompactSelect)
        if request.model not in model.values:
            await self._update_models()
        if request.model not in model.values:
            raise MinidiffError(f"there is no model {request.model} with weights here")
        before = self._described
        with self.prevent(Input.Changed, Select.Changed):
            model.value = request.model
            await self._update_config()
            self._set_image(request.image)
            if isinstance(request, ConvolutionRequest | TransposedRequest):
                channel = 0 if request.channel is None else request.channel + 1
                self.query_one("#channel", CompactSelect).value = CHANNELS[channel % len(CHANNELS)]
        self.bench.fill(request)
        if self._described != before:
            await self._send_request()

    @property
    def _described(self) -> LabRequest | str:
        """The request that the fields describe, or what is wrong with them."""
        try:
            return self.bench.request(self.subject)
        except MinidiffError as error:
            return str(error)

    def _set_image(self, image: DatasetImage | DrawnImage) -> None:
        field, self._drawing = self.query_one("#image-index", Input), None
        if isinstance(image, DatasetImage):
            field.value = str(image.index)
        elif not re.fullmatch(DRAWN, image.pixels):
            raise MinidiffError("the drawn image is not one of 28x28 pixels")
        else:
            field.value, self._drawing = "", image

    # Actions

    def on_bench_tabs_chosen(self, message: BenchTabs.Chosen) -> None:
        message.stop()
        self.open(message.name)

    def open(self, name: str) -> None:
        """Show a bench and pause the previous one."""
        if self.bench.timeline is not None:
            self.bench.timeline.pause()
        self.query_one(ContentSwitcher).current = name
        self.query_one(BenchTabs).set_active(name)
        self.set_focus(None)
        self.bench.activate()
        self.refresh_bindings()
        self.bench.changed()

    def action_bench(self, by: int) -> None:
        """Show the next bench, or the previous one."""
        names = [bench.NAME for bench in self.query(Bench)]
        at = names.index(self.bench.NAME)
        self.open(names[(at + by) % len(names)])

    def action_another_image(self) -> None:
        """Choose a random test image."""
        self.query_one("#image-index", Input).value = str(random.randrange(IMAGES))

    def action_another_kernel(self) -> None:
        """Choose a random kernel."""
        if isinstance(self.bench, KernelBench):
            self.bench.randomize()

    def action_view(self) -> None:
        """Show the bench's next view."""
        self.bench.next_view()

    def action_skips(self) -> None:
        """Switch skip connections on or off."""
        if isinstance(self.bench, InsideBench):
            self.bench.toggle_skips()

    def action_channel(self, by: int) -> None:
        """Choose the next channel of the feature maps, or the previous one."""
        if isinstance(self.bench, InsideBench):
            self.bench.choose_channel(by)

    def action_common_range(self) -> None:
        """Give all feature maps one range, or each its own."""
        if isinstance(self.bench, InsideBench):
            self.bench.toggle_common_range()

    async def action_draw_image(self) -> None:
        """Draw a digit, starting from the last one that was drawn."""
        if self._config is not None and self._config[1].info.shape != DIGIT_SHAPE:
            self.notify(_not_for_digits(self._config[0], self._config[1].info.shape), severity="error", timeout=8)
            return
        names = self._config[1].info.class_names if self._config is not None else ()
        await self.app.push_screen(DrawScreen(self._drawing, names), self._use_drawing)

    async def _use_drawing(self, drawing: DrawnImage | None) -> None:
        if drawing is None:
            return
        self._drawing = drawing
        field = self.query_one("#image-index", Input)
        with field.prevent(Input.Changed):
            field.value = ""
        await self._send_request()

    async def action_export(self) -> None:
        """Export what is shown as an image and as Python code that computes it."""
        try:
            panels, script = self.bench.panels(), self.bench.script(self.subject)
        except MinidiffError as error:
            self.bench.show_error(str(error))
            return
        start = str(Path.cwd() / f"lab-{self.bench.NAME}")
        question = "Save the image (.png) and the Python code (.py) as"
        await self.app.push_screen(
            NameDialog(question, start, max_length=MAX_PATH), partial(self._export, panels, script)
        )

    def _export(self, panels: list[Panel], script: list[str], stem: str | None) -> None:
        if stem:
            self._write(panels, script, Path(os.path.expanduser(stem)))

    @work(group="export")
    async def _write(self, panels: list[Panel], script: list[str], stem: Path) -> None:
        from core.export import images  # loads Pillow, which nothing else here needs

        try:
            picture = await asyncio.to_thread(images.write_panels, stem.with_name(f"{stem.name}.png"), panels)
            await asyncio.to_thread(images.write_script, stem.with_name(f"{stem.name}.py"), script)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
        else:
            self.notify(f"Saved {picture} and {stem.name}.py", timeout=8)


def _not_for_digits(model: str, shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    kind = "RGB" if channels > 1 else "grey"
    return f"a drawn digit is 28x28 and grey, but {model} takes {height}x{width} {kind} images; choose a test image (n)"
