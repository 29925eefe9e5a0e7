"""The convolution bench: a kernel slides over an image, and each sum of products becomes a pixel of the feature map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.containers import Horizontal
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Switch

from core.convolution import DILATIONS, PADDING_MODES, PADDINGS, STRIDES
from core.engine.lab_messages import ConvolutionReply, ConvolutionRequest
from core.engine.protocol import LabReply, LabRequest
from tui.grayscale import normalized
from tui.lab.bench import FULL_TEXT_ROWS, ExportPanel
from tui.lab.fields import FieldRow, choice, entry
from tui.lab.image_canvas import ImageCanvas, share_scale
from tui.lab.kernel_fields import KernelBench
from tui.lab.lab_input import LabInput
from tui.lab.number_text import number
from tui.lab.picture_panel import PicturePanel
from tui.lab.product_table import NumberTable, ProductTable
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

FLIPPED = (
    "In mathematics a convolution flips the kernel before it slides. Neural networks do not: torch's conv2d computes "
    "the cross-correlation, shown below. A learned kernel simply comes out flipped."
)
BARS, ABOUT_LINES, MIN_STRIP = 3, 4, 4  # lines of the fields and the timeline, of the description, and of the products
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
    SHORT = "A pixel of the map is the sum of patch times kernel."
    TRY = "sobel y for horizontal edges, a stride of 2, your own numbers, a kernel from a layer."
    REQUEST = ConvolutionRequest
    REPLIES = (ConvolutionReply,)
    DEFAULT_CSS = """
    ConvolutionBench #strip { display: none; }
    ConvolutionBench.-below {
        #products { display: none; }
        #strip { display: block; width: auto; margin: 0 2 0 0; }
    }
    .-narrow ConvolutionBench.-flip #products { display: none; }
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
        image, output, other = canvases = [
            ImageCanvas(id=name, always_grey=name != "image") for name in ("image", "map", "other")
        ]
        share_scale(canvases)
        with Horizontal(classes="pictures"):
            yield PicturePanel(image, id="image-panel")
            yield ProductTable(id="products")
            yield PicturePanel(output, id="map-panel")
            yield PicturePanel(other, id="other-panel")
        yield Timeline(self._pacer, still=self._still, quantity="")

    def beside_description(self) -> Iterator[Widget]:
        """The products, if they have no room between the pictures."""
        yield ProductTable(id="strip", across=True)

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
        first, self.shown = self.shown is None, reply
        n = len(reply.origins)
        self._set_steps([0.0] * n, round(INITIAL_POSITION * (n - 1)), first=first)
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
        self.query_one("#other-panel").display = reply.flip
        self.set_class(reply.flip, "-flip")
        if reply.flip:
            other = self.query_one("#other", ImageCanvas)
            other.show_image(normalized(reply.flipped_output.values), reply.flipped_output.shape)
        for table in self.query(ProductTable):
            table.show(
                [
                    NumberTable("image patch", reply.windows[step].rows),
                    NumberTable("× kernel, flipped" if reply.flip else "× kernel", _applied_kernel(reply)),
                    NumberTable("= products", reply.products[step].rows),
                ],
                f"sum {number(output.values[step])}",
            )
        self._set_titles(reply, top, left)
        self._arrange()

    def _set_titles(self, reply: ConvolutionReply, top: int, left: int) -> None:
        """The sizes of image and map, and the kernel's position."""
        size, padded_size = ("{}x{}".format(*array.shape) for array in (reply.image, reply.padded))
        titles = [f"image {size}"] if size == padded_size else [f"image {size}, padded to {padded_size}"]
        self.query_one("#image-panel", PicturePanel).set_titles(
            *titles, f"image {padded_size}", "image", notes=(f"kernel at row {top}, column {left}", f"{top}, {left}")
        )
        height, width = reply.output.shape
        side, title = "side" if height == width else "height", f"map {height}x{width}"
        self.query_one("#map-panel", PicturePanel).set_titles(
            title, "map", notes=(f"{side} {reply.formula}", reply.formula, _range(reply.output.values), "")
        )
        self.query_one("#other-panel", PicturePanel).set_titles("not flipped, as conv2d computes it", "not flipped")

    def _arrange(self) -> None:
        """Put the products beside the description if the pictures are larger without them."""
        below = False
        if self.shown is not None and self.screen.size.height >= FULL_TEXT_ROWS:
            rows, columns = self.shown.kernel.shape
            n = 3 if self.shown.flip else 2
            tall, wide = self.shown.padded.shape
            table = ProductTable.columns_of(columns)
            scales = []
            for taken, lines in ((table, ABOUT_LINES), (0, max(MIN_STRIP, rows + 1))):
                across, down = (self.size.width - 2 - taken) // n - 2, self.size.height - BARS - lines - 2
                scales.append(min(across // wide, 2 * down // tall))
            below = scales[1] > max(1, scales[0])
        self.set_class(below, "-below")
        self.show_about()

    def show_about(self) -> None:
        """Show the description; with a flipped kernel, what flipping is."""
        self.about = FLIPPED if self._flip else self.SHORT if self.has_class("-below") else self.ABOUT
        super().show_about()

    def panels(self) -> list[ExportPanel]:
        """The padded image, the kernel, the feature map."""
        if self.shown is None:
            return []
        return [
            ExportPanel(title, (array.shape[0], array.shape[1]), normalized(array.values))
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


def _range(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}"


def _applied_kernel(reply: ConvolutionReply) -> list[list[float]]:
    """The kernel as it is multiplied with the image."""
    rows = [list(values) for values in reply.kernel.rows]
    return [values[::-1] for values in rows[::-1]] if reply.flip else rows
