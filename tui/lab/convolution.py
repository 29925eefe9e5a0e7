"""The convolution bench: a kernel slides over an image, and each sum of products becomes a pixel of the feature map."""

from __future__ import annotations

from collections.abc import Iterator

from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static, Switch

from core.convolution import DILATIONS, PADDING_MODES, PADDINGS, STRIDES
from core.engine.protocol import ConvolutionReply, ConvolutionRequest, LabReply, LabRequest
from tui.grayscale import normalized
from tui.lab.bench import FORMULA_COLUMNS, FieldRow, LabInput, Panel, captions, choice, entry
from tui.lab.image_canvas import ImageCanvas
from tui.lab.kernel_fields import KernelBench
from tui.lab.product_table import NumberTable, ProductTable, number
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

FLIPPED = (
    "In mathematics a convolution flips the kernel before it slides. Neural networks do not: torch's conv2d computes "
    "the cross-correlation, shown below. A learned kernel simply comes out flipped."
)
INITIAL_POSITION = 0.45  # fraction of the steps: over the strokes of the digit


class ConvolutionBench(KernelBench[ConvolutionReply]):
    """An image, the kernel on it with its products written out, and the feature map."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "convolution"
    TITLE = "Convolution"
    ABOUT = (
        "Each pixel of the map is the sum of the image patch under the kernel times the kernel. The same few weights "
        "slide over the whole image, so a pattern is detected wherever it is. A network's kernels are not designed: "
        "they are learned."
    )
    TRY = "sobel y for horizontal edges, a stride of 2, your own numbers, a kernel from a layer."
    REQUEST = ConvolutionRequest
    REPLIES = (ConvolutionReply,)
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
        """The kernel, then how it moves."""
        yield self._kernel.compose()
        yield FieldRow(
            ("stride", entry("stride", "1", width=4)),
            ("padding", entry("padding", "0", width=4)),
            ("mode", choice("edge", PADDING_MODES, "zeros", width=10)),
            ("dilation", entry("dilation", "1", width=4)),
            ("flip", Switch(id="flip", animate=False)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The image, the products, the feature map."""
        yield captions("image", "map")
        with Horizontal(classes="pictures"):
            yield ImageCanvas(id="image")
            yield ProductTable()
            with Vertical(classes="side"):
                yield ImageCanvas(id="map", always_grey=True)
                yield Static("not flipped, as conv2d computes it", id="other-caption", classes="caption")
                yield ImageCanvas(id="other", always_grey=True)
        yield Timeline(self._pacer, still=self._still, quantity="")

    def request(self, subject: LabInput) -> ConvolutionRequest:
        """The request that the fields describe."""
        return ConvolutionRequest(
            **subject.fields,
            channel=subject.channel,
            kernel=self._kernel.read(),
            stride=self.number("stride", *STRIDES),
            padding=self.number("padding", *PADDINGS),
            padding_mode=self.query_one("#edge", CompactSelect).chosen,
            dilation=self.number("dilation", *DILATIONS),
            flip=self._flip,
        )

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench."""
        assert isinstance(request, ConvolutionRequest)
        self._kernel.fill(request.kernel)
        self.set_fields(
            stride=request.stride,
            padding=request.padding,
            edge=request.padding_mode,
            dilation=request.dilation,
            flip=request.flip,
        )

    @property
    def _flip(self) -> bool:
        return self.query_one("#flip", Switch).value

    def show_reply(self, reply: LabReply) -> None:
        """Show the new map at the same fraction of the steps."""
        assert isinstance(reply, ConvolutionReply)
        assert self.timeline is not None
        first, self.shown = self.shown is None, reply
        steps = len(reply.origins) - 1
        if first:
            self.timeline.load(steps, [0.0] * (steps + 1))
            self.timeline.seek(round(INITIAL_POSITION * steps))
        else:
            self.timeline.replace_steps(steps, [0.0] * (steps + 1))
        self.draw()

    def draw(self) -> None:
        """Draw the kernel at one position."""
        reply = self.shown
        if reply is None or self.timeline is None:
            return
        step = self.timeline.position
        top, left = reply.origins[step]
        height, width = (reply.dilation * (side - 1) + 1 for side in reply.kernel.shape)
        window = Region(left, top, width, height)
        image, output = reply.padded, reply.output
        self.query_one("#image", ImageCanvas).show_image(
            normalized(image.values), image.shape, frame=window, spacing=reply.dilation
        )
        row_, column = divmod(step, output.shape[1])
        self.query_one("#map", ImageCanvas).show_image(
            normalized(output.values), output.shape, known=step + 1, frame=Region(column, row_, 1, 1)
        )
        other, caption = self.query_one("#other", ImageCanvas), self.query_one("#other-caption", Static)
        other.display = caption.display = reply.flip
        if reply.flip:
            other.show_image(normalized(reply.flipped_output.values), reply.flipped_output.shape)
        self.query_one(ProductTable).show(
            [
                NumberTable("image patch", reply.windows[step].rows),
                NumberTable("× kernel, flipped" if reply.flip else "× kernel", _applied_kernel(reply)),
                NumberTable("= products", reply.products[step].rows),
            ],
            f"sum {number(output.values[step])}",
        )
        height, width = image.shape
        self.set_caption("#left", f"image {height}x{width}, row {top}, column {left}")
        height, width = output.shape
        side = "side" if height == width else "height"
        formula = f", {side} {reply.formula}" if self.size.width >= FORMULA_COLUMNS else ""
        self.set_caption("#right", f"map {height}x{width}{formula}")

    def show_about(self) -> None:
        """Show the description; with a flipped kernel, what flipping is."""
        self.about = FLIPPED if self._flip else self.ABOUT
        super().show_about()

    def panels(self) -> list[Panel]:
        """The padded image, the kernel, the feature map."""
        if self.shown is None:
            return []
        return [
            Panel(title, (array.shape[0], array.shape[1]), normalized(array.values))
            for title, array in (
                ("image", self.shown.padded),
                ("kernel", self.shown.kernel),
                ("map", self.shown.output),
            )
        ]

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes the map and the sum at the current position."""
        request = self.request(subject)
        step = self.timeline.position if self.timeline is not None else 0
        geometry = f"Geometry({request.stride}, {request.padding}, {request.padding_mode!r}, {request.dilation})"
        imports, kernel = self._kernel.script(subject)
        flip = ", flip=True" if request.flip else ""
        return [
            "from core import convolve_steps",
            "from core.convolution import Geometry",
            *imports,
            *subject.script,
            *kernel,
            f"steps = list(convolve_steps(image, kernel, {geometry}{flip}))",
            f"step = steps[{step}]",
            'print("products", step.products.tolist(), "sum", step.total)',
            'print("map", tuple(steps[-1].output.shape), "from", float(steps[-1].output.min()), "to",',
            "      float(steps[-1].output.max()))",
        ]


def _applied_kernel(reply: ConvolutionReply) -> list[list[float]]:
    """The kernel as it is multiplied with the image."""
    rows = [list(values) for values in reply.kernel.rows]
    return [values[::-1] for values in rows[::-1]] if reply.flip else rows
