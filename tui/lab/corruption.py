"""The corruption bench: an image at every noise level, restored in one step and by sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.engine.lab_messages import CorruptionReply, CorruptionRequest, CorruptionSample
from core.engine.protocol import LabReply, LabRequest
from tui.class_names import class_name
from tui.grayscale import from_unit
from tui.lab.bench import Bench, ExportPanel
from tui.lab.fields import ClassField, FieldRow, entry
from tui.lab.lab_input import LabInput
from tui.lab.number_text import coefficient
from tui.lab.picture_panel import UNNAMED, PicturePanel, PlotPanel
from tui.lab.small_plot import Curves
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.image_grid import ImageGrid
from tui.widgets.text_line import centered, shortened
from tui.widgets.timeline import Timeline

STEPS = (1, 100)  # of a sampling trajectory
INITIAL_POSITION = 24  # of the engine's 41 noise levels: at 0.6 the image can hardly be recognized
COLORS = ("plot-average", "plot-validation", "plot-run-3")
VIEWS = ("back", "noisy", "errors", "coefficients")
MEDIUM = (80, 22)  # columns and rows from which six images and a plot are visible,
WIDE = (120, 22)  # both plots,
LARGE = (120, 36)  # images at full size,
HUGE = (184, 44)  # and all images in one row
CAPTION_COLUMNS = 24  # columns of an image that fit a long caption


class CorruptionBench(Bench[CorruptionReply]):
    """The image at one noise level on every path; what the model predicts in one step, and what sampling returns."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "corruption"
    TITLE = "Corruption"
    ABOUT = (
        "At high noise levels a one-step prediction is blurred: it is the mean of all images that fit, which has the "
        "lowest squared error. Sampling takes many small steps to a sharp image. It may be another one, so its error "
        "is higher."
    )
    SHORT = "One step predicts a blurred mean, sampling a sharp image."
    TRY = "noise 1 with class any, then 2 and 40 sampling steps."
    REQUEST = CorruptionRequest
    VIEWS = VIEWS
    REPLIES = (CorruptionReply, CorruptionSample)
    DEFAULT_CSS = """
    CorruptionBench {
        .pictures { layout: horizontal; }
        #images { width: 3fr; layout: vertical; border: none; margin: 0 1 0 0; }
        #images ImageGrid { content-align-vertical: top; }
        .plots { width: 2fr; height: 1fr; }
        .line { height: 1; width: 1fr; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        #hint { height: 1; width: 1fr; padding: 0 0 0 2; color: $foreground 50%; text-wrap: nowrap; }
    }
    CorruptionBench.-large #images { width: 90; border: round $border-blurred; margin: 0; }
    CorruptionBench.-large .plots { width: 1fr; }
    CorruptionBench.-huge .pictures, CorruptionBench.-huge .plots { layout: vertical; }
    CorruptionBench.-huge #images, CorruptionBench.-huge .plots { width: 1fr; layout: horizontal; }
    CorruptionBench.-small #images { width: 1fr; margin: 0; }
    CorruptionBench.-small .plots { width: 1fr; }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._samples: dict[int, CorruptionSample] = {}  # by index of the noise level

    def fields(self) -> Iterator[Widget]:
        """The class given to the model, and the number of sampling steps."""
        yield FieldRow(("class", ClassField(13)), ("sampling steps", entry("steps", "12", width=5)), Static(id="hint"))

    def pictures(self) -> Iterator[Widget]:
        """The noisy images above, the restored ones below; plots beside them."""
        with Container(classes="pictures"):
            with PicturePanel(id="images"):
                for name in ("noisy", "back"):
                    line = Static(id=f"{name}-line", classes="line", markup=False)
                    yield Vertical(line, ImageGrid(3, id=name), id=f"{name}-pane")
            with Container(classes="plots"):
                yield PlotPanel("mean squared error (pixels 0 to 1)", "mean squared error", id="errors")
                yield PlotPanel("coefficient: image ↘, noise ↗", "image ↘, noise ↗", id="coefficients")
        yield Timeline(self._pacer, still=self._still)

    def request(self, subject: LabInput) -> CorruptionRequest:
        """The request that the fields describe."""
        return CorruptionRequest(
            **subject.fields,
            label=self._requested_class,
            steps=self.number("steps", *STEPS),
            first=self._position,
        )

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench."""
        assert isinstance(request, CorruptionRequest)
        self.set_fields(steps=request.steps, **{"class": ClassField.option(request.label)})

    @property
    def _requested_class(self) -> int | None:
        return self.query_one(ClassField).label

    def show_reply(self, reply: LabReply) -> None:
        """Show all noise levels, or add what sampling from one of them returned."""
        if isinstance(reply, CorruptionSample):
            self._samples[reply.index] = reply
            self.draw()
            return
        assert isinstance(reply, CorruptionReply)
        first, self.shown = self.shown is None, reply
        self._samples = {}
        self.query_one(ClassField).disabled = reply.condition is None
        self._fit_images()
        self._set_steps(reply.noise_levels, INITIAL_POSITION, first=first)
        self.draw()

    @property
    def _position(self) -> int:
        """Index of the noise level on display."""
        assert self.timeline is not None
        return INITIAL_POSITION if self.shown is None else self.timeline.position

    def draw(self) -> None:
        """Draw one noise level."""
        if self.shown is None:
            return
        self._draw_noisy(self.shown)
        self._draw_restored(self.shown)
        key = "v" if self._has_room(MEDIUM) and self.has_more_views else ""
        for name, curves in (("errors", self._errors), ("coefficients", self._coefficients)):
            if name not in self.views:
                continue
            self.query_one(f"#{name}", PlotPanel).show(curves, self.shown.noise_levels[self._position], key=key)

    def _draw_noisy(self, reply: CorruptionReply) -> None:
        """The noisy image on each path, with its coefficients."""
        paths, (height, width, channels) = list(reply.noisy), reply.image.shape
        noisy = b"".join(from_unit(images[self._position].values) for images in reply.noisy.values())
        self.query_one("#noisy", ImageGrid).set_images(noisy, len(paths), height, width, channels=channels)
        self._set_captions("noisy", [self._mixture(reply, path, "noisy") for path in paths], paths.index(reply.path))

    def _draw_restored(self, reply: CorruptionReply) -> None:
        """What the model predicts for the image on its own path, and what sampling returns."""
        position, (height, width, channels) = self._position, reply.image.shape
        sample = self._samples.get(position)
        predicted = self._result("1 step", reply.errors[position], reply.read[position] if reply.read else None)
        images = [(predicted, from_unit(reply.predictions[position].values))]
        if sample is None:
            images.append(("sampling …", bytes(height * width * channels)))
        else:
            images.append((self._result("sampled", sample.error, sample.read), from_unit(sample.sampled.values)))
        if self._has_room(MEDIUM):
            name = "" if reply.label is None else f": {class_name(reply.label, self.image_classes)}"
            images.append((f"original{name}", from_unit(reply.image.values)))
        else:
            noisy = from_unit(reply.noisy[reply.path][position].values)
            images.insert(0, (self._mixture(reply, reply.path, "back"), noisy))
        titles, pixels = zip(*images, strict=True)
        self.query_one("#back", ImageGrid).set_images(b"".join(pixels), 3, height, width, channels=channels)
        self._set_captions("back", titles, None if self._has_room(MEDIUM) else 0)

    def _mixture(self, reply: CorruptionReply, path: str, grid: str) -> str:
        """A path with its coefficients of image and noise, for an image of this grid."""
        rows = reply.coefficients[path].rows
        alpha, sigma = rows[self._position]
        if not self._fits_long_captions(grid):
            _, image, gap = self._columns(grid)
            text = f"▸{path} {coefficient(alpha)} + {coefficient(sigma)}"
            return (text if len(text) <= image + gap else text.replace(" + ", "+"))[1:]
        if all(abs(sum(row) - 1) < 1e-6 for row in rows):
            return f"{path} {alpha:.0%} image + {sigma:.0%} noise"
        return f"{path} {coefficient(alpha)} image + {coefficient(sigma)} noise"  # whose squares sum to 1

    def _result(self, title: str, error: float, read: tuple[int, int] | None) -> str:
        """An error, and how a classifier reads the image: its class, and the confidence if there is room."""
        text = f"{title} {error:.3f}".replace("0.", ".", 1)
        if read is None:
            return text
        _, image, gap = self._columns("back")
        confidence = f" ({read[1]}%)" if self._fits_long_captions("back") else ""
        return shortened(f"{text}: {class_name(read[0], self.model_classes)}", image + gap, confidence)

    def _fits_long_captions(self, name: str) -> bool:
        return self._columns(name)[1] >= CAPTION_COLUMNS

    def _columns(self, name: str) -> tuple[int, int, int]:
        """The columns left of a grid's first image, of an image, and between two images."""
        grid = self.query_one(f"#{name}", ImageGrid)
        rows, columns, _ = (28, 28, 1) if self.shown is None else self.shown.image.shape
        return grid.layout_of(3, grid.size, rows, columns).placement(grid.size.width)

    def _set_captions(self, name: str, captions: Sequence[str], highlighted: int | None) -> None:
        """A caption above each of a grid's three images; that of the model's own path is highlighted."""
        left, image, gap = self._columns(name)
        parts = [(" " * left, "")]
        for number, caption in enumerate(captions):
            text = f"▸{caption}" if number == highlighted else caption
            text = shortened(text, image + gap)
            text = set_cell_size(text if cell_len(text) > image else centered(text, image), image + gap)
            parts.append((text, "bold $accent" if number == highlighted else "$foreground 70%"))
        self._set_line(name, Content.assemble(*parts).rstrip())

    def _set_line(self, name: str, text: Content) -> None:
        self.query_one(f"#{name}-line", Static).update(text, layout=False)

    @property
    def _errors(self) -> Curves:
        """The errors of the one-step predictions, and of the samples so far, by noise level."""
        assert self.shown is not None
        noise_levels = self.shown.noise_levels
        sampled = sorted(self._samples)
        errors = [self._samples[index].error for index in sampled]
        return {
            "one step": (COLORS[0], noise_levels, self.shown.errors),
            "sampled": (COLORS[1], [noise_levels[index] for index in sampled], errors),
        }

    @property
    def _coefficients(self) -> Curves:
        """The coefficients of image and noise on each path, by noise level; equal paths share a curve."""
        assert self.shown is not None
        paths: dict[tuple[tuple[float, ...], ...], list[str]] = {}
        for path, coefficients in self.shown.coefficients.items():
            paths.setdefault(tuple(map(tuple, coefficients.rows)), []).append(path)
        curves = {}
        for (rows, names), color in zip(paths.items(), COLORS, strict=False):
            for prefix, ys in zip(("", UNNAMED), zip(*rows, strict=True), strict=True):  # of the image, of the noise
                curves[prefix + ", ".join(names)] = color, self.shown.noise_levels, ys
        return curves

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views."""
        if self._has_room(WIDE):
            return VIEWS
        if self._has_room(MEDIUM):
            return "back", "noisy", VIEWS[2 + self._view % 2]
        return (VIEWS[self._view % 4],)

    def _arrange(self) -> None:
        views = self.views
        for name in VIEWS:
            self.query_one(f"#{name}-pane" if name in VIEWS[:2] else f"#{name}").display = name in views
        self.query_one(".plots").display = views[-1] in VIEWS[2:]
        self.query_one("#images").display = views[0] in VIEWS[:2]
        self.set_class(not self._has_room(MEDIUM), "-small")
        self.set_class(self._has_room(LARGE), "-large")
        self.set_class(self._has_room(HUGE), "-huge")
        hint = Content("path image + noise, error: class")
        if not self._has_room(MEDIUM):
            hint = Content.assemble(("v", "bold $accent"), f" {1 + self._view % 4} of 4")
        self.query_one("#hint", Static).update("" if self._has_room(WIDE) else hint)
        self.query_one("#images", PicturePanel).set_titles("corrupted on each path, and restored on the model's")
        self.call_after_refresh(self._fit_images)

    def _fit_images(self) -> None:
        """Make both grids equally high, so that all images have the same size, and draw them."""
        panel = self.query_one("#images")
        huge, wide = self.has_class("-huge"), 0
        if huge and self.shown is not None:
            height, wide, _ = self.shown.image.shape
            scale = max(1, (self.size.width // 2 - 4) // (3 * wide + 2))
            panel.styles.height = min(self.query_one(".pictures").size.height // 2, -(-height * scale // 2) + 3)
        else:
            panel.styles.height = "1fr"
        both = self._has_room(MEDIUM) and not huge
        for name in VIEWS[:2]:
            height_of_pane = max(1, panel.content_size.height // 2) if both else "1fr"
            self.query_one(f"#{name}-pane").styles.height = height_of_pane
        self.call_after_refresh(self.draw)  # the captions' places depend on the layout

    def panels(self) -> list[ExportPanel]:
        """The image, the noisy image on each path, the one-step prediction and the sample."""
        reply = self.shown
        if reply is None:
            return []
        position, shape = self._position, (reply.image.shape[0], reply.image.shape[1])
        panels = [ExportPanel("image", shape, from_unit(reply.image.values))]
        panels += [ExportPanel(path, shape, from_unit(images[position].values)) for path, images in reply.noisy.items()]
        panels.append(ExportPanel("one step", shape, from_unit(reply.predictions[position].values)))
        if position in self._samples:
            panels.append(ExportPanel("sampled", shape, from_unit(self._samples[position].sampled.values)))
        return panels

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes both errors at this noise level."""
        label, t = self._requested_class, INITIAL_POSITION / 40
        if self.shown is not None:
            label, t = self.shown.condition, self.shown.noise_levels[self._position]
        options = f"seed={subject.seed}, steps={self.number('steps', *STEPS)}"
        options += "" if label is None else f", label={label}"
        return [
            "from core import corruption_sweep, load_model",
            *subject.script,
            f'model = load_model("{subject.model}", device="cpu")',
            f"for point in corruption_sweep(model, {subject.model_image}, [{t}], {options}):",
            '    print("t", point.t, "alpha", point.alpha, "sigma", point.sigma)',
            '    print("one step", point.error, "sampled", point.sampled_error)',
        ]
