"""The Lab screen: benches on points in the plane, noise, training, denoisers, network internals and convolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import ContentSwitcher, Input, Select

from core.config.sampling import NO_CLASS
from core.engine.lab_messages import ConvolutionRequest, CorruptionReply, InsideReply, TransposedRequest
from core.engine.protocol import DrawnImage, EngineRequest, LabReply, LabRequest
from core.engine.training_messages import TrainingReply
from core.errors import MinidiffError
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.lead_file import BenchRequest, LabView
from tui.lab.bench import Bench
from tui.lab.bench_tabs import BenchTabs
from tui.lab.convolution import ConvolutionBench
from tui.lab.corruption import CorruptionBench
from tui.lab.fields import ClassField
from tui.lab.ideal import IdealBench
from tui.lab.inside import InsideBench
from tui.lab.kernel_fields import KernelBench
from tui.lab.plane import PlaneBench
from tui.lab.subject import SubjectFields
from tui.lab.training import TrainingBench
from tui.lab.transposed import TransposedBench
from tui.lab.tutorial import Tutorial
from tui.messages import EngineDied, EngineReady, EngineRefused, LabReplied
from tui.screens.bench_actions import BenchActions
from tui.screens.draw import DrawScreen
from tui.screens.shared import Shared
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.image_grid import ImageGrid
from tui.widgets.key_bar import KeyBar

DEVICES_ROWS = 44  # terminal rows from which the devices are shown


class LabScreen(BenchActions, Shared):
    """Benches, most of which share one image and one model; the engine computes what they show."""

    HELP = (
        "Experiments with the parts of a diffusion model, on points in the plane or on one image. Press [ and ] to "
        "switch between benches. Changes to a field take effect at once; press escape to leave it.\n"
        "Scripts can do the same with core.lab: press e to export the image and the Python code that computes it."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "lab")
    DEFAULT_CSS = """
    LabScreen {
        #top { height: 2; layout: vertical; }
        &.-wide #top, & #top.-without-image { height: 1; layout: horizontal; }
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
        self._request: EngineRequest | None = None  # the newest
        self._replied = False  # to the newest request
        self._tutorial: Tutorial | None = None  # None: no question is shown

    def compose(self) -> ComposeResult:
        benches: list[Bench[Any]] = [
            PlaneBench(self._pacer, still=self._still),
            CorruptionBench(self._pacer, still=self._still),
            TrainingBench(self._pacer, still=self._still),
            IdealBench(self._pacer, still=self._still),
            InsideBench(),
            ConvolutionBench(self._pacer, still=self._still),
            TransposedBench(self._pacer, still=self._still),
        ]
        yield Header("lab")
        with Container(id="top"):
            yield BenchTabs({bench.NAME: bench.TITLE for bench in benches})
            yield SubjectFields(self.root)
        with ContentSwitcher(initial=benches[0].NAME):
            yield from benches
        yield DevicePanel()
        yield KeyBar()

    @property
    def bench(self) -> Bench[Any]:
        """The visible bench."""
        return self.query_one(f"#{self.query_one(ContentSwitcher).current}", Bench)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that do not apply."""
        return self._tutorial is not None if action == "answer" else super().check_action(action, parameters)

    def on_mount(self) -> None:
        self._show_fields()

    async def on_screen_resume(self) -> None:
        """Start the engine, send the visible bench's request, and update the list of models."""
        if not self.engine.running:
            self.query_one(Header).note = "engine is loading"
        await self.fields.update_models()
        if self.bench.shown is None:
            await self._send_request()

    async def on_unmount(self) -> None:
        await self.engine.stop()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < DEVICES_ROWS, "-low")
        self.refresh_bindings()

    # Requests and replies

    def _show_fields(self) -> None:
        """Show the image and the model, and the channel, if the visible bench uses them."""
        uses_image = self.bench.USES_IMAGE
        self.query_one("#top").set_class(not uses_image, "-without-image")
        self.fields.display = uses_image
        self.fields.show_channel(visible=isinstance(self.bench, KernelBench))

    async def _read_config(self) -> None:
        """Read the chosen model's config, if the visible bench uses it, and show the names of its classes."""
        fields = self.fields
        if fields.is_read or not self.bench.USES_IMAGE:
            return
        self._replied = False
        if await fields.read_config():
            for field in self.query(ClassField):
                field.set_names(fields.model_classes)

    async def _send_request(self) -> None:
        """Send the visible bench's request to the engine, unless it is the same as before, or show what is wrong."""
        bench = self.bench
        try:
            await self._read_config()
            self._show_fields()
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
        self.fields.drawing = None
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
        fields = self.fields
        if isinstance(reply, LabReply):
            self._show_label(reply, fields.class_names, Path(fields.dataset).name)
        else:
            self.query_one(Header).note = "engine ready"
        for bench in self.query(Bench):
            bench.image_classes, bench.model_classes = fields.class_names, fields.model_classes
            for grid in bench.query(ImageGrid):
                grid.characters = fields.has_characters
            if isinstance(reply, bench.REPLIES):
                bench.show_reply(reply)

    def _show_label(self, reply: LabReply, names: Sequence[str], dataset: str) -> None:
        """Show the class of the image; that of a drawing stays known while benches that need none are shown."""
        header, drawing = self.query_one(Header), self.fields.drawing
        known = reply.label is not None
        name = class_name(reply.label, names) if reply.label is not None else ""
        if drawing is None:
            header.note = f"class {name} of {dataset}" if known else f"an image of {dataset}"
        elif reply.label == NO_CLASS:
            header.note = "a drawn image, no class"
        elif isinstance(reply, CorruptionReply | TrainingReply | InsideReply) and reply.drawing_read is not None:
            header.note = f"a drawn image, read as {name}, {reply.drawing_read[1]}%"
        elif known and drawing.label is not None:
            header.note = f"a drawn image, class {name}"
        elif not known:
            header.note = "a drawn image"

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Show the error; if the dataset is not on this machine, use the generated one."""
        if self.fields.found_missing(message.notice):
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

    async def _follow_request(self, request: BenchRequest) -> None:
        """Fill in the fields, and send the request that they describe if they have changed."""
        before = self._described
        if isinstance(request, LabRequest):
            with self.prevent(Input.Changed, Select.Changed):
                await self.fields.choose_model(request.model)
                await self._read_config()
                self.fields.set_image(request.image)
                if isinstance(request, ConvolutionRequest | TransposedRequest):
                    self.fields.set_channel(request.channel)
        self.bench.fill(request)
        if self._described != before:
            await self._send_request()

    @property
    def _described(self) -> EngineRequest | str:
        """The request that the fields describe, or what is wrong with them."""
        try:
            return self.bench.request(self.subject)
        except MinidiffError as error:
            return str(error)

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
        if self._tutorial is not None and self._tutorial.bench != name:
            self._tutorial = Tutorial(name)
        self._show_question()
        self.bench.activate()
        self.refresh_bindings()
        self.bench.changed()

    def action_bench(self, by: int) -> None:
        """Show the next bench, or the previous one."""
        names = [bench.NAME for bench in self.query(Bench)]
        at = names.index(self.bench.NAME)
        self.open(names[(at + by) % len(names)])

    def action_tutorial(self) -> None:
        """Start the tutorial at the first question on the visible bench, or end it."""
        self._tutorial = Tutorial(self.bench.NAME) if self._tutorial is None else None
        self._show_question()

    def action_answer(self) -> None:
        """Show the answer, or the next question, on its bench; after the last one the tutorial ends."""
        if self._tutorial is None:
            return
        if not self._tutorial.advance():
            self._tutorial = None
            self.notify("That was the last question. docs/lab.md has more to try.", timeout=8)
        elif self._tutorial.bench != self.bench.NAME:
            self.open(self._tutorial.bench)
        self._show_question()

    def _show_question(self) -> None:
        for bench in self.query(Bench):
            bench.question = None if self._tutorial is None else self._tutorial.content
        self.bench.show_about()
        self.refresh_bindings()

    async def action_draw_image(self) -> None:
        """Draw a digit, or a shape in the plane, starting from the last one that was drawn."""
        bench, fields = self.bench, self.fields
        if isinstance(bench, PlaneBench):
            await self.app.push_screen(DrawScreen(bench.drawing, ()), bench.use_drawing)
        elif problem := fields.drawing_problem:
            self.notify(problem, severity="error", timeout=8)
        else:
            await self.app.push_screen(DrawScreen(fields.drawing, fields.model_classes), self._use_drawing)

    async def _use_drawing(self, drawing: DrawnImage | None) -> None:
        if drawing is not None:
            self.fields.use_drawing(drawing)
            await self._send_request()
