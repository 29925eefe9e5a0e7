"""The transposed bench: the values of a small map spread kernels over a larger one, and what nets do instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static

from core.convolution import DILATIONS, PADDINGS, SMALL_SIDES, STRIDES
from tui.arrays import brightness
from tui.lab.bench import FieldRow, LabInput, Panel, captions, entry
from tui.lab.image_canvas import ImageCanvas
from tui.lab.kernel_fields import KernelBench
from tui.lab.product_table import NumberTable, ProductTable, number
from tui.messages import BenchShown
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.timeline import Timeline

VIEWS = ("output", "overlaps", "upsampled")
MEDIUM, WIDE = 80, 120  # columns from which the output stays in sight, and from which all views do
WIDEST = 5  # numbers across a kernel that is written out where there are fewer columns than that


class TransposedBench(KernelBench):
    """A small map, what one of its values spreads, and the output; overlaps and upsampling beside it."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    NAME = "transposed"
    TITLE = "Transposed"
    ABOUT = (
        "Each value spreads a kernel over a larger map; where kernels meet, they add. Unless the stride divides the "
        "kernel's side, neighbours are reached by more and by fewer: a checkerboard, which training has to smooth "
        "away. The nets here repeat each pixel instead and convolve the result, which reaches all alike."
    )
    TRY = "size 4, which 2 divides, a stride of 3, gaussian blur, a dilation of 2."
    DEFAULT_CSS = """
    TransposedBench {
        #small { width: 1fr; min-width: 12; }
        .view { width: 2fr; height: 1fr; }
        #beside { width: 2fr; height: 1fr; }
        #beside .view { width: 1fr; }
        .view .caption { width: 1fr; text-align: center; }
    }
    .-wide TransposedBench {
        #small { width: 4fr; }
        #output { width: 8fr; }
        #beside { width: 6fr; }
    }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__(pacer, "box blur", still=still)
        self._view = 0
        self._outputs = b""  # of all steps, on one scale

    def fields(self) -> Iterator[Widget]:
        """The kernel, then what it grows and how far."""
        yield self._kernel.compose()
        yield FieldRow(
            ("side", entry("side", "6", width=4)),
            ("stride", entry("stride", "2", width=4)),
            ("padding", entry("padding", "0", width=4)),
            ("dilation", entry("dilation", "1", width=4)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The small map, what a value spreads, the output, and what is to be compared with it."""
        yield captions("small map", "output")
        with Horizontal(classes="pictures"):
            yield ImageCanvas(id="small")
            yield ProductTable()
            yield _view("output")
            with Vertical(id="beside"):
                yield _view("overlaps")
                yield _view("upsampled")
        yield Timeline(self._pacer, still=self._still, quantity="")

    # What it asks

    def request(self) -> dict[str, Any]:
        """The kernel, the small map's side, and how it grows."""
        return {
            "kernel": self._kernel.read(),
            "side": self.number("side", *SMALL_SIDES),
            "stride": self.number("stride", *STRIDES),
            "padding": self.number("padding", *PADDINGS),
            "dilation": self.number("dilation", *DILATIONS),
        }

    # What it shows

    @property
    def views(self) -> tuple[str, ...]:
        """The pictures right of the sum that are in sight."""
        width = self.screen.size.width
        if width >= WIDE:
            return VIEWS
        if width >= MEDIUM:
            return "output", VIEWS[1 + self._view % 2]
        return (VIEWS[self._view % 3],)

    @property
    def switches(self) -> bool:
        """Whether there are more views than are in sight."""
        return self.views != VIEWS

    def next_view(self) -> None:
        """Another view."""
        self._view += 1
        self._arrange()
        self.draw()

    def on_mount(self) -> None:
        """Show what there is room for."""
        super().on_mount()
        self._arrange()

    def on_resize(self) -> None:
        """Show more or fewer views."""
        super().on_resize()
        self._arrange()
        self.draw()

    def _arrange(self) -> None:
        for name in VIEWS:
            self.query_one(f"#{name}").display = name in self.views
        self.query_one("#beside").display = self.views != ("output",)

    def hear(self, answer: BenchShown) -> None:
        """Show the new output at the same part of the way, the first one almost whole."""
        first, self.shown = self.shown is None, answer
        self._outputs = brightness(answer.arrays["outputs"].values)
        steps = len(answer.values["origins"]) - 1
        assert self.timeline is not None
        if first:
            self.timeline.load(steps, [0.0] * (steps + 1))
            small = answer.arrays["image"].values
            self.timeline.seek(max(at for at, value in enumerate(small) if value >= max(small) / 3))  # the last ink
        else:
            self.timeline.replace_steps(steps, [0.0] * (steps + 1))
        self.draw()

    def draw(self) -> None:
        """Draw what one value of the small map spreads, and the output up to it."""
        if self.shown is None or self.timeline is None:
            return
        arrays, values, at = self.shown.arrays, self.shown.values, self.timeline.position
        small, kernel, outputs = arrays["image"], arrays["kernel"], arrays["outputs"]
        row_, column = divmod(at, small.shape[1])
        self.query_one("#small", ImageCanvas).lay(
            brightness(small.values), small.shape, frame=Region(column, row_, 1, 1)
        )
        padding, spacing = int(values["padding"]), int(values["dilation"])
        top, left = (start - padding for start in values["origins"][at])
        tall, wide = (spacing * (side - 1) + 1 for side in kernel.shape)
        self.query_one(ProductTable).display = self.screen.size.width >= MEDIUM or kernel.shape[1] <= WIDEST
        self.query_one(ProductTable).show(
            [
                NumberTable("value", [[small.values[at]]]),
                NumberTable("× kernel", kernel.rows),
                NumberTable("= spread over", arrays["spreads"].part(at).rows),
            ],
            f"row {top}, column {left}",
        )
        height, width = outputs.shape[1:]
        size = height * width
        self.query_one("#output ImageCanvas", ImageCanvas).lay(
            self._outputs[at * size : (at + 1) * size],
            (height, width),
            frame=Region(left, top, wide, tall),
            spacing=spacing,
        )
        for name in VIEWS[1:]:
            self.query_one(f"#{name} ImageCanvas", ImageCanvas).lay(brightness(arrays[name].values), arrays[name].shape)
        self._caption(row_, column)

    def _caption(self, row_: int, column: int) -> None:
        assert self.shown is not None
        arrays = self.shown.arrays
        sizes = {name: "{}x{}".format(*arrays[name].shape[-2:]) for name in ("image", *VIEWS[1:], "outputs")}
        width = self.screen.size.width
        least, most = (number(pick(arrays["overlaps"].values)) for pick in (min, max))
        overlap = f"{least} to {most} overlap" if least != most else f"{most} everywhere"
        where = f", row {row_}, column {column}" if width >= MEDIUM else ""
        self.caption("#left", f"small map {sizes['image']}{where}")
        height, across = arrays["outputs"].shape[-2:]
        self.caption("#right", f"{'side' if height == across else 'height'} {self.shown.values['formula']}")
        captions_ = (
            f"output {sizes['outputs']}",
            f"{overlap}, {sizes['overlaps']}",
            f"{'upsampled, convolved' if width >= WIDE else 'upsample+conv'} {sizes['upsampled']}",
        )
        for name, text in zip(VIEWS, captions_, strict=True):
            key = "v " if self.switches and name == self.views[-1] else ""
            self.query_one(f"#{name} .caption", Static).update(
                Content.assemble((key, "bold $accent"), text), layout=False
            )

    # What can be taken away

    def panels(self) -> list[Panel]:
        """The small map, the output so far, the overlaps, and the map upsampled instead."""
        if self.shown is None or self.timeline is None:
            return []
        arrays = self.shown.arrays
        height, width = arrays["outputs"].shape[1:]
        size, at = height * width, self.timeline.position
        output = self._outputs[at * size : (at + 1) * size]
        pictures = [
            Panel(title, (array.shape[0], array.shape[1]), brightness(array.values))
            for title, array in (
                ("small map", arrays["image"]),
                ("overlaps", arrays["overlaps"]),
                ("upsampled", arrays["upsampled"]),
            )
        ]
        pictures.insert(1, Panel("output", (height, width), output))
        return pictures

    def script(self, subject: LabInput) -> list[str]:
        """The same output, what one value spreads, the overlaps, and the map upsampled instead."""
        asked = self.request()
        at = self.timeline.position if self.timeline is not None else 0
        imports, kernel = self._kernel.script(subject)
        side, options = asked["side"], ", ".join(f"{name}={asked[name]}" for name in ("stride", "padding", "dilation"))
        return [
            "from torch.nn.functional import adaptive_avg_pool2d",
            "",
            "from core import transposed_convolve_steps",
            "from core.lab import overlap_counts, upsample_convolve",
            *imports,
            *subject.script,
            *kernel,
            f"small = adaptive_avg_pool2d(image[None], {side})[0]",
            f"steps = list(transposed_convolve_steps(small, kernel, {options}))",
            f"step, output = steps[{at}], steps[-1].output",
            'print("value", step.value, "spreads", step.spread.tolist())',
            'print("output", tuple(output.shape), "from", float(output.min()), "to", float(output.max()))',
            f"overlaps = overlap_counts(({side}, {side}), tuple(step.spread.shape), {options})",
            'print("kernels a pixel", int(overlaps.min()), "to", int(overlaps.max()))',
            f'print("upsampled", tuple(upsample_convolve(small, kernel, {asked["stride"]}).shape))',
        ]


def _view(name: str) -> Vertical:
    """A picture under its caption."""
    return Vertical(Static(classes="caption"), ImageCanvas(), id=name, classes="view")
