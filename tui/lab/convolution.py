"""The convolution bench: a kernel slides over a digit, and each sum becomes a pixel of the map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static, Switch

from core.convolution import DILATIONS, PADDING_MODES, PADDINGS, STRIDES
from tui.arrays import brightness
from tui.lab.bench import WORDY, FieldRow, LabInput, Panel, captions, choice, entry
from tui.lab.image_canvas import ImageCanvas
from tui.lab.kernel_fields import KernelBench
from tui.lab.product_table import NumberTable, ProductTable, number
from tui.messages import BenchShown
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

FLIPPED = (
    "Mathematics turns the kernel over before it slides. Nets do not: torch's conv2d computes the map below, "
    "cross-correlation. A kernel that is learned comes out turned over, and nothing else differs."
)
OPENS_AT = 0.45  # of the way: over the digit's ink


class ConvolutionBench(KernelBench):
    """A digit, the kernel on it with its sum written out, and the map."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    NAME = "convolution"
    TITLE = "Convolution"
    ABOUT = (
        "What lies under the kernel, times the kernel, adds up to a pixel of the map. The same few numbers slide "
        "over the whole image, so that a pattern is found wherever it stands. Nobody writes the kernels of a net: "
        "training finds them."
    )
    TRY = "sobel y for level edges, a stride of 2, own numbers, a layer's kernel."
    DEFAULT_CSS = """
    ConvolutionBench {
        #image { width: 1fr; }
        .side { width: 1fr; height: 1fr; }
    }
    .-wide ConvolutionBench #image { width: 2fr; }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__(pacer, "sobel x", still=still)

    def fields(self) -> Iterator[Widget]:
        """The kernel, then how it walks."""
        yield self._kernel.compose()
        yield FieldRow(
            ("stride", entry("stride", "1", width=4)),
            ("padding", entry("padding", "0", width=4)),
            ("by", choice("edge", PADDING_MODES, "zeros", width=10)),
            ("dilation", entry("dilation", "1", width=4)),
            ("flip", Switch(id="flip", animate=False)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The digit, the sum, the map."""
        yield captions("image", "map")
        with Horizontal(classes="pictures"):
            yield ImageCanvas(id="image")
            yield ProductTable()
            with Vertical(classes="side"):
                yield ImageCanvas(id="map")
                yield Static("as written, which is what conv2d computes", id="other-caption", classes="caption")
                yield ImageCanvas(id="other")
        yield Timeline(self._pacer, still=self._still, quantity="")

    # What it asks

    def request(self) -> dict[str, Any]:
        """The kernel and how it walks."""
        return {
            "kernel": self._kernel.read(),
            "stride": self.number("stride", *STRIDES),
            "padding": self.number("padding", *PADDINGS),
            "padding_mode": self.query_one("#edge", CompactSelect).chosen,
            "dilation": self.number("dilation", *DILATIONS),
            "flip": self.query_one("#flip", Switch).value,
        }

    # What it shows

    def hear(self, answer: BenchShown) -> None:
        """Show the new map at the same part of the way."""
        first, self.shown = self.shown is None, answer
        steps = len(answer.values["origins"]) - 1
        assert self.timeline is not None
        if first:
            self.timeline.load(steps, [0.0] * (steps + 1))
            self.timeline.seek(round(OPENS_AT * steps))
        else:
            self.timeline.replace_steps(steps, [0.0] * (steps + 1))
        self.draw()

    def draw(self) -> None:
        """Draw one place of the kernel."""
        if self.shown is None or self.timeline is None:
            return
        arrays, at = self.shown.arrays, self.timeline.position
        image, output = arrays["image"], arrays["output"]
        spacing = int(self.shown.values["dilation"])
        top, left = self.shown.values["origins"][at]
        tall, wide = (spacing * (side - 1) + 1 for side in arrays["kernel"].shape)
        window = Region(left, top, wide, tall)
        self.query_one("#image", ImageCanvas).lay(brightness(image.values), image.shape, frame=window, spacing=spacing)
        row_, column = divmod(at, output.shape[1])
        self.query_one("#map", ImageCanvas).lay(
            brightness(output.values), output.shape, known=at + 1, frame=Region(column, row_, 1, 1)
        )
        flip = bool(self.shown.values["flip"])
        other, caption = self.query_one("#other", ImageCanvas), self.query_one("#other-caption", Static)
        other.display = caption.display = flip
        if flip:
            other.lay(brightness(arrays["other"].values), output.shape)
        self.query_one(ProductTable).show(
            [
                NumberTable("image under it", arrays["windows"].part(at).rows),
                NumberTable("× kernel, turned over" if flip else "× kernel", self._laid),
                NumberTable("= products", arrays["products"].part(at).rows),
            ],
            f"sum {number(output.values[at])}",
        )
        height, width = image.shape
        self.caption("#left", f"image {height}x{width}, row {top}, column {left}")
        height, width = output.shape
        formula = f", side {self.shown.values['formula']}" if self.size.width >= WORDY else ""
        self.caption("#right", f"map {height}x{width}{formula}")

    @property
    def _laid(self) -> list[list[float]]:
        """The kernel as it is laid on: turned over where that was asked for."""
        assert self.shown is not None
        rows = [list(values) for values in self.shown.arrays["kernel"].rows]
        turned = [values[::-1] for values in rows[::-1]]
        return turned if self.shown.values["flip"] else rows

    def tell(self) -> None:
        """Say what this is about, and of a kernel that is turned over, why nets do without."""
        self.about = FLIPPED if self.query_one("#flip", Switch).value else self.ABOUT
        super().tell()

    # What can be taken away

    def panels(self) -> list[Panel]:
        """The image with padding, the kernel, the map."""
        if self.shown is None:
            return []
        arrays = self.shown.arrays
        return [
            Panel(title, (array.shape[0], array.shape[1]), brightness(array.values))
            for title, array in (("image", arrays["image"]), ("kernel", arrays["kernel"]), ("map", arrays["output"]))
        ]

    def script(self, subject: LabInput) -> list[str]:
        """The same map, and the sum of one place."""
        asked = self.request()
        at = self.timeline.position if self.timeline is not None else 0
        geometry = f"Geometry({asked['stride']}, {asked['padding']}, {asked['padding_mode']!r}, {asked['dilation']})"
        imports, kernel = self._kernel.script(subject)
        flip = ", flip=True" if asked["flip"] else ""
        return [
            "from core import convolve_steps",
            "from core.convolution import Geometry",
            *imports,
            *subject.script,
            *kernel,
            f"steps = list(convolve_steps(image, kernel, {geometry}{flip}))",
            f"step = steps[{at}]",
            'print("products", step.products.tolist(), "sum", step.total)',
            'print("map", tuple(steps[-1].output.shape), "from", float(steps[-1].output.min()), "to",',
            "      float(steps[-1].output.max()))",
        ]
