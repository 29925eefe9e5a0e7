"""The zoom: one image of a sampling trajectory, enlarged, with its pixel values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from core.runs.trajectory import Denoising, Frame
from tui.actions import bindings
from tui.class_names import class_name
from tui.widgets.denoising_view import difference
from tui.widgets.image_grid import ImageGrid
from tui.widgets.modal import Modal
from tui.widgets.text_line import shortened

NEIGHBORS = 2  # values shown on each side of the selected pixel; left and right only 1 below WIDE
WIDE, WIDE_RGB = 72, 80  # columns, for gray and for RGB
TITLE_MARGIN = 4  # columns of a border beside its title, and of the padding


class ZoomScreen(Modal[None]):
    """Shows one image at a time; keys select the image, the pixel and the step.

    Args:
        current: returns the trajectory and the index of the current frame.
        class_names: names of the model's classes.
        step: moves by a number of steps.
        index: the image to show first.

    Attributes:
        index: the image on display.
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings("zoom")
    DEFAULT_CSS = """
    ZoomScreen {
        & > Vertical { width: 100%; max-width: 180; height: 100%; max-height: 66; padding: 0 1; }
        & Horizontal { height: 1fr; }
        & Horizontal > Vertical { width: 1fr; height: 1fr; margin: 0 1; }
        & .title { height: 1; text-style: bold; }
        & #values { height: 6; margin: 0 1; text-wrap: nowrap; }
    }
    """

    def __init__(
        self,
        current: Callable[[], tuple[Denoising, int]],
        class_names: Sequence[str],
        step: Callable[[int], None],
        index: int = 0,
    ) -> None:
        super().__init__()
        self._current, self._class_names, self._step = current, class_names, step
        self.index = index
        denoising, _ = current()
        self._pixel = denoising.width // 2, denoising.height // 2  # column and row

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = "arrows pixel · , . step · tab image · esc closes"
            with Horizontal():
                for name, title in (("state", "Noisy state"), ("prediction", "Prediction"), ("change", "Change")):
                    with Vertical(id=f"zoom-{name}"):
                        yield Static(title, classes="title")
                        yield ImageGrid(1)
            yield Static(id="values")

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        """Hide the change on a narrow terminal."""
        self.query_one("#zoom-change").display = self.size.width >= 100
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Draw the current step."""
        denoising, position = self._current()
        frame = denoising.frames[position]
        previous = denoising.frames[position - 1] if position else frame
        self.index %= denoising.n
        size = denoising.height * denoising.width * denoising.channels
        pixels = slice(self.index * size, (self.index + 1) * size)
        images = {
            "state": frame.x[pixels],
            "prediction": frame.prediction[pixels] if frame.prediction else bytes(size),
            "change": difference(frame.x[pixels], previous.x[pixels])[0],
        }
        for name, image in images.items():
            grid = self.query_one(f"#zoom-{name} ImageGrid", ImageGrid)
            grid.characters = denoising.characters
            grid.set_images(image, 1, denoising.height, denoising.width, channels=denoising.channels)
            grid.set_marker(*self._pixel)
        label = frame.read[self.index] if frame.read else None
        box = self.query_one(Vertical)
        title = f"Image {self.index + 1} of {denoising.n} · step {position} of {denoising.steps} · noise {frame.t:.2f}"
        if label:
            title += ", classified as "
            room = box.size.width - cell_len(title) - TITLE_MARGIN
            title += shortened(class_name(label[0], self._class_names), room, f" ({label[1]}%)")
        box.border_title = Content(title)
        self.query_one("#values", Static).update(self._values(denoising, frame, pixels))

    def _values(self, denoising: Denoising, frame: Frame, pixels: slice) -> Content:
        """Values around the selected pixel, of the state and of the prediction; RGB in hexadecimal."""
        (x, y), channels = self._pixel, denoising.channels
        images = [frame.x[pixels], frame.prediction[pixels] if frame.prediction else None]
        rows = [Content.assemble(("pixel ", "$foreground 60%"), (f"column {x}, row {y}", "bold"))]
        if channels > 1:
            at = (y * denoising.width + x) * channels
            colors = [image[at : at + channels] for image in images if image]
            values = ", predicted ".join(" ".join(f"{value / 255:.2f}" for value in color) for color in colors)
            rows[0] += Content.styled(f"  RGB {values}", "$foreground 60%")
        beside = NEIGHBORS if self.size.width >= (WIDE if channels == 1 else WIDE_RGB) else 1
        for row in range(y - NEIGHBORS, y + NEIGHBORS + 1):
            parts: list[tuple[str, str]] = []
            for image in images:
                parts += [("    ", "")] if parts else []
                for column in range(x - beside, x + beside + 1):
                    inside = 0 <= row < denoising.height and 0 <= column < denoising.width
                    value = ""
                    if image is not None and inside:
                        at = (row * denoising.width + column) * channels
                        value = image[at : at + channels].hex() if channels > 1 else f"{image[at] / 255:.2f}"
                    style = "bold $accent" if (column, row) == self._pixel else "$foreground 75%"
                    parts.append((f"{value:>{6 if channels == 1 else 7}}", style))
            rows.append(Content.assemble(*parts))
        return Content("\n").join(rows)

    def action_point(self, across: int, down: int) -> None:
        """Move the selected pixel."""
        denoising, _ = self._current()
        x, y = self._pixel[0] + across, self._pixel[1] + down
        self._pixel = max(0, min(denoising.width - 1, x)), max(0, min(denoising.height - 1, y))
        self.draw()

    def action_image(self, by: int) -> None:
        """Select another image."""
        self.index += by
        self.draw()

    def action_step(self, by: int) -> None:
        """Move by `by` steps."""
        self._step(by)
        self.draw()
