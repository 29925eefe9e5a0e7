"""The Lab screen: benches that take convolution, noise and a net apart, on one digit and with one model."""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input, Select

from core.errors import MinidiffError
from core.runs.directory import builtin_directories
from tui.actions import bindings
from tui.io.engine_client import SILENCE_SECONDS, EngineClient
from tui.io.run_list import list_runs
from tui.lab.bench import Bench, FieldRow, LabInput, Panel, choice, entry
from tui.lab.convolution import ConvolutionBench
from tui.lab.corruption import CorruptionBench
from tui.lab.inside import InsideBench
from tui.lab.kernel_fields import KernelBench
from tui.lab.transposed import TransposedBench
from tui.messages import BenchShown, EngineDied, EngineReady, EngineRefused
from tui.screens.draw import DrawScreen
from tui.screens.playback import Playback
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.devices import DevicePanel
from tui.widgets.dialogs import NameDialog
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.timeline import Timeline

DATASETS = ("mnist", "glyphs")  # tried in turn: the second is drawn here, and always there
IMAGES = 1_000  # test images to choose from
LONGEST = 1_000  # characters of a path
LOW = 44  # rows; a terminal with fewer has no room for the devices


class BenchTabs(Widget):
    """The benches by name; the one in sight is lit, and a click goes to another."""

    DEFAULT_CSS = """
    BenchTabs { height: 1; width: 1fr; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, titles: dict[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self.lit = next(iter(titles))

    def light(self, name: str) -> None:
        """Another bench is in sight."""
        self.lit = name
        self.refresh()

    def render(self) -> Content:
        """The line."""
        parts = []
        for name, title in self._titles.items():
            parts.append((f" {title} ", "bold $foreground on $primary 30%" if name == self.lit else "$foreground 60%"))
            parts.append((" ", ""))
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        """Go to the bench under the pointer."""
        at = self.gutter.left
        for name, title in self._titles.items():
            if at <= event.x < at + len(title) + 2 and isinstance(self.screen, LabScreen):
                self.screen.open(name)
            at += len(title) + 3


class LabScreen(Playback):
    """Benches on one digit and one model; the engine computes what they show."""

    HELP = (
        "Benches that take apart what a diffusion model is made of, on one digit: [ and ] go from one to the next. "
        "Fields ask at once, and what was typed stays; escape gives the keys back to the screen.\n"
        "The same is there for scripts in core.lab; e writes the lines that compute what is shown."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "lab")
    DEFAULT_CSS = """
    LabScreen {
        #subject { padding: 0 1; }
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
        self._datasets = list(DATASETS)
        self._pixels: str | None = None  # of a digit that was drawn
        self._asked: tuple[str, dict[str, Any]] = ("", {})  # what the engine was asked for last
        self._settled = False

    def compose(self) -> ComposeResult:
        """The benches' names, digit and model, the bench in sight."""
        benches = [
            ConvolutionBench(self._pacer, still=self._still),
            TransposedBench(self._pacer, still=self._still),
            CorruptionBench(self._pacer, still=self._still),
            InsideBench(),
        ]
        yield Header("lab")
        yield BenchTabs({bench.NAME: bench.TITLE for bench in benches})
        models = list(builtin_directories())
        digit, model = entry("digit", "0", width=6), choice("model", models, models[0], width=24)
        yield FieldRow(("digit", digit), ("model", model), id="subject")
        with ContentSwitcher(initial=benches[0].NAME):
            yield from benches
        yield DevicePanel()
        yield KeyBar()

    @property
    def bench(self) -> Bench:
        """The bench in sight."""
        return self.query_one(f"#{self.query_one(ContentSwitcher).current}", Bench)

    @property
    def timeline(self) -> Timeline:
        """The timeline of the bench in sight."""
        return self.bench.query_one(Timeline)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A bench without a timeline has nothing to play."""
        if action in ("play", "step", "seek", "loop", "faster") and self.is_mounted:
            return self.bench.timeline is not None
        if action == "view" and self.is_mounted:
            return self.bench.switches
        if action == "skips" and self.is_mounted:
            return isinstance(self.bench, InsideBench)
        return super().check_action(action, parameters)

    async def on_screen_resume(self) -> None:
        """Start the engine, show the bench in sight, and offer the runs that came to hold weights meanwhile."""
        self.query_one(Header).note = "engine is loading" if not self.engine.running else self.query_one(Header).note
        await self._offer_models()
        if self.bench.shown is None:
            await self._ask(self.bench)

    async def on_unmount(self) -> None:
        """End the engine."""
        await self.engine.stop()

    def on_resize(self, event: events.Resize) -> None:
        """Do without the devices where there are few rows, and without a key for views where all are in sight."""
        self.set_class(event.size.height < LOW, "-low")
        self.refresh_bindings()

    async def _offer_models(self) -> None:
        try:
            runs = await asyncio.to_thread(list_runs, self.root)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            runs = []
        names = list(dict.fromkeys([*builtin_directories(), *(run.name for run in runs if run.sampleable)]))
        model = self.query_one("#model", CompactSelect)
        model.set_values(names, model.chosen if model.chosen in names else names[0])

    # What the engine is asked, and says

    @property
    def subject(self) -> LabInput:
        """What the benches look at.

        Raises:
            MinidiffError: the digit's field holds no number of a test image.
        """
        text = self.query_one("#digit", Input).value.strip()
        if self._pixels is None and not (text.isdecimal() and int(text) < IMAGES):
            raise MinidiffError(f"digit takes the number of a test image, 0 to {IMAGES - 1}, not {text or 'nothing'}")
        index = int(text) if text.isdecimal() else 0
        return LabInput(self._datasets[0], index, self.query_one("#model", CompactSelect).chosen, pixels=self._pixels)

    async def _ask(self, bench: Bench) -> None:
        try:
            request = {**self.subject.request, **bench.request()}
        except MinidiffError as error:
            bench.show_error(str(error))
            return
        if (bench.NAME, request) != self._asked:
            self._asked, self._settled = (bench.NAME, request), False
            await self.engine.show(bench.NAME, request)

    async def on_bench_changed(self, message: Bench.Changed) -> None:
        """Ask for what a bench shows now, if it is in sight; any other asks when it comes to be."""
        message.stop()
        if message.bench is self.bench:
            await self._ask(message.bench)

    async def on_input_changed(self, event: Input.Changed) -> None:
        """Another digit."""
        self._pixels = None
        self.bench.tell()
        await self._ask(self.bench)

    async def on_select_changed(self, event: Select.Changed) -> None:
        """Another model."""
        await self._ask(self.bench)

    def on_engine_ready(self, message: EngineReady) -> None:
        """Say so."""
        self.query_one(Header).note = "engine ready"

    @property
    def settled(self) -> bool:
        """Whether the answer to what was asked last is shown."""
        return self._settled

    def on_bench_shown(self, message: BenchShown) -> None:
        """Let the bench show it."""
        self._settled = True
        label = message.values["label"]
        self.query_one(Header).note = "a digit drawn by hand" if label is None else f"a {label} of {self._datasets[0]}"
        self.query_one(f"#{message.bench}", Bench).hear(message)

    async def on_engine_refused(self, message: EngineRefused) -> None:
        """Say what was wrong; take drawn digits where the data set is not on this machine."""
        if len(self._datasets) > 1 and self._datasets[0] in message.notice and "not on this machine" in message.notice:
            del self._datasets[0]
            await self._ask(self.bench)
            return
        name, _ = self._asked
        self._asked = name, {}  # so that the same, asked again, is refused again
        self.query_one(f"#{name}", Bench).show_error(message.notice)

    def on_engine_died(self, message: EngineDied) -> None:
        """Say so, and whether another is on its way; if not, the next request starts it."""
        if not message.restarted:
            self._asked = ("", {})
        self.query_one(Header).note = "engine is loading" if message.restarted else "engine ended"
        self.notify(message.notice, severity="warning", timeout=8)

    # What a person asks

    def open(self, name: str) -> None:
        """Go to a bench; the one that is left stands still."""
        if self.bench.timeline is not None:
            self.bench.timeline.pause()
        self.query_one(ContentSwitcher).current = name
        self.query_one(BenchTabs).light(name)
        self.set_focus(None)
        self.bench.enter()
        self.refresh_bindings()
        self.bench.changed()

    def action_bench(self, by: int) -> None:
        """The next bench, or the one before."""
        names = [bench.NAME for bench in self.query(Bench)]
        at = names.index(self.bench.NAME)
        self.open(names[(at + by) % len(names)])

    def action_another_digit(self) -> None:
        """A test image at random."""
        self.query_one("#digit", Input).value = str(random.randrange(IMAGES))

    def action_another_kernel(self) -> None:
        """Another random kernel."""
        if isinstance(self.bench, KernelBench):
            self.bench.another()

    def action_view(self) -> None:
        """Another of the bench's views."""
        self.bench.next_view()

    def action_skips(self) -> None:
        """Skip connections on or off."""
        if isinstance(self.bench, InsideBench):
            self.bench.toggle_skips()

    async def action_draw_digit(self) -> None:
        """Draw a digit, or go on with the one drawn last."""
        await self.app.push_screen(DrawScreen(self._pixels), self._take)

    async def _take(self, pixels: str | None) -> None:
        """Look at what was drawn, if anything was, until the digit's field names another."""
        if pixels is None:
            return
        self._pixels = pixels
        field = self.query_one("#digit", Input)
        with field.prevent(Input.Changed):
            field.value = ""
        self.bench.tell()
        await self._ask(self.bench)

    async def action_export(self) -> None:
        """Write what is shown, as a picture and as the lines of Python that compute it."""
        try:
            panels, script = self.bench.panels(), self.bench.script(self.subject)
        except MinidiffError as error:
            self.bench.show_error(str(error))
            return
        start = str(Path.cwd() / f"lab-{self.bench.NAME}")
        question = "Write the picture (.png) and the Python (.py) as"
        await self.app.push_screen(
            NameDialog(question, start, max_length=LONGEST), partial(self._export, panels, script)
        )

    def _export(self, panels: list[Panel], script: list[str], stem: str | None) -> None:
        if stem:
            self._write(panels, script, Path(os.path.expanduser(stem)))

    @work(group="export")
    async def _write(self, panels: list[Panel], script: list[str], stem: Path) -> None:
        from core.export import images  # brings Pillow, which nothing else here needs

        try:
            picture = await asyncio.to_thread(images.write_panels, stem.with_name(f"{stem.name}.png"), panels)
            await asyncio.to_thread(images.write_script, stem.with_name(f"{stem.name}.py"), script)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
        else:
            self.notify(f"wrote {picture} and {stem.name}.py", timeout=8)
