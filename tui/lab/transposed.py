"""The transposed convolution bench: each value of a small map spreads a kernel over a larger one."""

from __future__ import annotations

from collections.abc import Iterator

from textual.containers import Container
from textual.geometry import Region
from textual.widget import Widget

from core.convolution import DILATIONS, PADDINGS, SMALL_SIDES, STRIDES
from core.engine.lab_messages import TransposedReply, TransposedRequest
from core.engine.protocol import Array, LabReply, LabRequest
from tui.grayscale import normalized
from tui.lab.bench import FULL_TEXT_ROWS, ExportPanel
from tui.lab.fields import FieldRow, entry
from tui.lab.image_canvas import ImageCanvas, share_scale
from tui.lab.kernel_fields import KernelBench
from tui.lab.lab_input import LabInput
from tui.lab.number_text import number
from tui.lab.picture_panel import PicturePanel
from tui.lab.product_table import NumberTable, ProductTable
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.timeline import Timeline

VIEWS = ("output", "overlaps", "upsampled")
MEDIUM, WIDE = 80, 120  # columns from which the output is always visible, and from which all views are
MAX_NARROW_KERNEL = 3  # numbers across the largest kernel that is written out below the small map


class TransposedBench(KernelBench[TransposedReply]):
    """A small map, what one of its values spreads, the output, and the output of upsampling instead."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "transposed"
    TITLE = "Transposed"
    ABOUT = (
        "Each value multiplies the kernel, and the results are added up in a larger map. If the stride does not divide "
        "the kernel size, some pixels receive more terms than their neighbors: checkerboard artifacts, which training "
        "has to smooth away. The networks here upsample and then convolve instead."
    )
    SHORT = "Each value adds the kernel, times itself, to a larger map."
    TRY = "size 4, which stride 2 divides, a stride of 3, gaussian blur, a dilation of 2."
    REQUEST = TransposedRequest
    VIEWS = VIEWS
    REPLIES = (TransposedReply,)
    DEFAULT_CSS = """
    TransposedBench {
        .pictures { layout: horizontal; }
        #given { width: 20; layout: vertical; }
        &.-square .pictures { layout: grid; grid-size: 2 2; }
        &.-square #given { width: 1fr; layout: horizontal; }
        &.-square ProductTable { margin: 0 1 0 0; }
    }
    .-narrow TransposedBench #given { width: 18; }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__(pacer, "box blur", still=still)
        self._outputs = b""  # of all steps, on one scale

    def fields(self) -> Iterator[Widget]:
        """The kernel, then the small map's size and how it grows."""
        yield self._kernel.compose()
        yield FieldRow(
            ("side", entry("side", "6", width=4)),
            ("stride", entry("stride", "2", width=4)),
            ("padding", entry("padding", "0", width=4)),
            ("dilation", entry("dilation", "1", width=4)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The small map, the products, the output, and the views to compare it with."""
        canvases = {name: ImageCanvas(always_grey=True) for name in VIEWS}
        small = ImageCanvas(id="small", always_grey=True)
        share_scale([small, *canvases.values()])
        with Container(classes="pictures"):
            yield PicturePanel(small, ProductTable(), id="given")
            for name, canvas in canvases.items():
                yield PicturePanel(canvas, id=name)
        yield Timeline(self._pacer, still=self._still, quantity="")

    def request(self, subject: LabInput) -> TransposedRequest:
        """The request that the fields describe."""
        return TransposedRequest(
            **subject.fields,
            channel=subject.channel,
            kernel=self._kernel.read(),
            side=self.number("side", *SMALL_SIDES),
            stride=self.number("stride", *STRIDES),
            padding=self.number("padding", *PADDINGS),
            dilation=self.number("dilation", *DILATIONS),
        )

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench."""
        assert isinstance(request, TransposedRequest)
        self._kernel.fill(request.kernel)
        self.set_fields(side=request.side, stride=request.stride, padding=request.padding, dilation=request.dilation)

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views."""
        width = self.screen.size.width
        if width >= WIDE:
            return VIEWS
        if width >= MEDIUM:
            return "output", VIEWS[1 + self._view % 2]
        return (VIEWS[self._view % 3],)

    def next_view(self) -> None:
        """Show the next view."""
        super().next_view()
        self.draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def _arrange(self) -> None:
        for name in VIEWS:
            self.query_one(f"#{name}").display = name in self.views
        width, height = self.screen.size
        self.set_class(width >= WIDE and height >= FULL_TEXT_ROWS, "-square")

    def show_reply(self, reply: LabReply) -> None:
        """Show the new output at the same fraction of the steps, initially at the last bright value."""
        assert isinstance(reply, TransposedReply)
        first, self.shown = self.shown is None, reply
        self._outputs = normalized(reply.outputs.values)
        small = reply.image.values
        bright = max(at for at, value in enumerate(small) if value >= max(small) / 3)
        self._set_steps([0.0] * len(reply.origins), bright, first=first)
        self.draw()

    def draw(self) -> None:
        """Draw what one value of the small map spreads, and the output after it."""
        reply = self.shown
        if reply is None or self.timeline is None:
            return
        step = self.timeline.position
        small, kernel = reply.image, reply.kernel
        row_, column = divmod(step, small.shape[1])
        self.query_one("#small", ImageCanvas).show_image(
            normalized(small.values), small.shape, frame=Region(column, row_, 1, 1)
        )
        top, left = (start - reply.padding for start in reply.origins[step])
        height, width = (reply.dilation * (side - 1) + 1 for side in kernel.shape)
        products = self.query_one(ProductTable)
        large = kernel.shape[1] > MAX_NARROW_KERNEL
        products.display = self.has_class("-square") or not large
        products.show(
            [
                NumberTable("value", [[small.values[step]]]),
                NumberTable("× kernel", kernel.rows),
                NumberTable("= added at", reply.spreads[step].rows),
            ],
            f"row {top}, column {left}",
        )
        self.query_one("#output ImageCanvas", ImageCanvas).show_image(
            self._output(step), reply.outputs.shape[1:], frame=Region(left, top, width, height), spacing=reply.dilation
        )
        for name, array in (("overlaps", reply.overlaps), ("upsampled", reply.upsampled)):
            self.query_one(f"#{name} ImageCanvas", ImageCanvas).show_image(normalized(array.values), array.shape)
        self._set_captions(reply, row_, column)

    def _output(self, step: int) -> bytes:
        """The output after a step, as uint8."""
        assert self.shown is not None
        height, width = self.shown.outputs.shape[1:]
        size = height * width
        return self._outputs[step * size : (step + 1) * size]

    def _set_captions(self, reply: TransposedReply, row_: int, column: int) -> None:
        fewest, most = (number(pick(reply.overlaps.values)) for pick in (min, max))
        overlap = f"{fewest} to {most} kernels" if fewest != most else f"{most} everywhere"
        small = _size(reply.image)
        self.query_one("#given", PicturePanel).set_titles(
            f"small map {small}", f"small {small}", notes=(f"row {row_}, column {column}", f"{row_}, {column}")
        )
        height, across = reply.outputs.shape[-2:]
        formula = f"{'side' if height == across else 'height'} {reply.formula}"
        size = _size(reply.upsampled)
        titles = {
            "output": (f"output {_size(reply.outputs)}",),
            "overlaps": (f"overlaps: {overlap}, {_size(reply.overlaps)}", f"overlaps: {overlap}", "overlaps"),
            "upsampled": (f"upsampled, then convolved, {size}", f"upsampled {size}"),
        }
        for name, texts in titles.items():
            self.query_one(f"#{name}", PicturePanel).set_titles(
                *texts,
                notes=(formula, reply.formula, "") if name == "output" else ("",),
                key="v" if self.has_more_views and name == self.views[-1] else "",
            )

    def panels(self) -> list[ExportPanel]:
        """The small map, the output so far, the overlaps, and the upsampled map."""
        reply = self.shown
        if reply is None or self.timeline is None:
            return []
        height, width = reply.outputs.shape[1:]
        panels = [
            ExportPanel(title, (array.shape[0], array.shape[1]), normalized(array.values))
            for title, array in (
                ("small map", reply.image),
                ("overlaps", reply.overlaps),
                ("upsampled", reply.upsampled),
            )
        ]
        panels.insert(1, ExportPanel("output", (height, width), self._output(self.timeline.position)))
        return panels

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes the output, what one value spreads, the overlaps, and the upsampled map."""
        request = self.request(subject)
        step = self.timeline.position if self.timeline is not None else 0
        size = (request.side, request.side) if self.shown is None else self.shown.image.shape
        imports, kernel = self._kernel.script(subject)
        options = f"stride={request.stride}, padding={request.padding}, dilation={request.dilation}"
        return [
            "from torch.nn.functional import adaptive_avg_pool2d",
            "",
            "from core import transposed_convolve_steps",
            "from core.lab import overlap_counts, upsample_convolve",
            *imports,
            *subject.script,
            *kernel,
            f"small = adaptive_avg_pool2d(image[None], {size})[0]",
            f"steps = list(transposed_convolve_steps(small, kernel, {options}))",
            f"step, output = steps[{step}], steps[-1].output",
            'print("value", step.value, "spreads", step.spread.tolist())',
            'print("output", tuple(output.shape), "from", float(output.min()), "to", float(output.max()))',
            f"overlaps = overlap_counts({size}, tuple(step.spread.shape), {options})",
            'print("kernels per pixel", int(overlaps.min()), "to", int(overlaps.max()))',
            f'print("upsampled", tuple(upsample_convolve(small, kernel, {request.stride}).shape))',
        ]


def _size(array: Array) -> str:
    return "{}x{}".format(*array.shape[-2:])
