"""The six images of a training step: image + noise = noisy image, and (prediction - target) squared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from textual.containers import Vertical
from textual.geometry import Size
from textual.widgets import Static

from core.engine.training_messages import TrainingReply
from tui.grayscale import normalized
from tui.lab.bench import ExportPanel
from tui.lab.number_text import coefficient, short
from tui.lab.picture_panel import PicturePanel
from tui.terminal.color_maps import colors_of
from tui.widgets.image_grid import ImageGrid

MIXING, COMPARING = ("image", "noise", "noisy"), ("prediction", "target", "error")
ERROR_MAP = "inferno"  # color map of the squared error
GAP = 2  # columns between two images; more if all are in one row
CLIP = 2.5  # a velocity of so many root mean squares of the target is drawn white, its negative black
MIN_SIDE = 6  # columns of an image, at least
IMAGE_FORMS = ("clean", "noise")  # predictions that are drawn in the value range of images


class StepPictures(PicturePanel):
    """The images of one step, all at one size, each under its caption."""

    SCOPED_CSS = False  # the rules of the base class use the screen's classes
    DEFAULT_CSS = """
    StepPictures { layout: grid; border: none; }
    StepPictures Vertical { width: 1fr; height: 1fr; }
    StepPictures .caption { width: 1fr; text-align: center; }
    StepPictures ImageGrid { content-align-vertical: top; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(*(_captioned(name) for name in (*MIXING, *COMPARING)), id=id)
        self._reply: TrainingReply | None = None
        self._max_error = 1.0
        self._drawn_dark = True  # whether the images are drawn for a dark theme

    def show(self, reply: TrainingReply, max_error: float) -> None:
        """Draw a step.

        Args:
            reply: The step.
            max_error: The squared error at the end of the color map.
        """
        self._reply, self._max_error, self._drawn_dark = reply, max_error, self.app.current_theme.dark
        height, width, channels = reply.image.shape
        images = images_of(reply, max_error, dark=self._drawn_dark)
        for name, caption in self._captions(reply).items():
            tile = self._tile(name)
            if tile.display:
                colored = 3 if name == "error" else channels
                tile.query_one(ImageGrid).set_images(images[name], 1, height, width, channels=colored)
                tile.query_one(Static).update(caption, layout=False)

    def notify_style_update(self) -> None:
        """Draw the squared error in the colors of the theme."""
        super().notify_style_update()
        if self._reply is not None and self.app.current_theme.dark != self._drawn_dark:
            self.show(self._reply, self._max_error)

    def fit(self, names: Sequence[str], columns: int, room: Size) -> None:
        """Show some of the images in so many columns, as large as they fit into `room` cells with the border."""
        for name in (*MIXING, *COMPARING):
            self._tile(name).display = name in names
        tall, wide = (28, 28) if self._reply is None else self._reply.image.shape[:2]
        border_width, border_height = self.gutter.totals
        rows = len(names) // columns
        lines = (room.height - border_height) // rows - 1
        scale = min(2 * lines / tall, ((room.width - border_width + GAP) // columns - GAP) / wide)
        scale = int(scale) if scale >= 1 else scale
        across, down = max(MIN_SIDE, math.ceil(wide * scale)), max(MIN_SIDE // 2, math.ceil(tall * scale / 2)) + 1
        self.styles.grid_size_columns = columns
        self.styles.grid_columns, self.styles.grid_rows = (across,), (down,)
        free = room.height - border_height - rows * down
        self.styles.grid_gutter_horizontal = 1 if rows > 1 and free else 0
        gap = GAP if rows > 1 else max(GAP, (room.width - border_width - columns * across) // (columns - 1))
        self.styles.grid_gutter_vertical = gap
        self.styles.width = columns * (across + gap) - gap + border_width
        self.styles.height = "1fr" if rows > 1 else down + border_height

    def _tile(self, name: str) -> Vertical:
        return self.query_one(f"#step-{name}", Vertical)

    def _captions(self, reply: TrainingReply) -> dict[str, str]:
        """The caption of each image, as long as there is room for it."""
        alpha, sigma = coefficient(reply.alpha), coefficient(reply.sigma)
        target = {
            "clean": "image",
            "noise": "noise",
            "velocity": "noise − image",
            "v": f"{alpha} noise − {sigma} image",
        }[reply.prediction]
        predicted = "image" if reply.prediction == "clean" else reply.prediction
        weighted = "" if abs(reply.weight - 1) < 1e-6 else f" × weight {short(reply.weight)}"
        loss = short(reply.loss)
        choices: dict[str, tuple[str, ...]] = {
            "image": (f"image × {alpha}",),
            "noise": (f"+ noise × {sigma}",),
            "noisy": ("= noisy image", "= noisy"),
            "prediction": (f"prediction: {predicted}", "prediction"),
            "target": (f"− target: {target}", "− target"),
            "error": (f"squared error{weighted}: mean {loss}", f"squared error: {loss}", f"squared: {loss}"),
        }
        return {
            name: next((text for text in texts if cell_len(text) <= self._tile(name).size.width), texts[-1])
            for name, texts in choices.items()
        }


def images_of(reply: TrainingReply, max_error: float, *, dark: bool = True) -> dict[str, bytes]:
    """The images of a step by name, uint8: the squared error in RGB, the others like the image.

    A velocity is outside the value range of images: the prediction and the target are scaled alike, with 0 as middle
    gray, and clipped.

    Args:
        reply: The step.
        max_error: The squared error at the end of the color map.
        dark: Whether no error is black. It is light otherwise, as images of characters are inverted in light themes.
    """
    low, high = reply.value_range
    as_images = [("image", reply.image), ("noise", reply.noise), ("noisy", reply.noisy)]
    compared = [("prediction", reply.output), ("target", reply.target)]
    images = {name: _scaled(array.values, low, high) for name, array in as_images}
    if reply.prediction not in IMAGE_FORMS:
        square = sum(value * value for value in reply.target.values) / len(reply.target.values)
        high = CLIP * math.sqrt(square) or 1.0
        low = -high
    images |= {name: _scaled(array.values, low, high) for name, array in compared}
    colors = [bytes(color) for color in colors_of(ERROR_MAP)]
    if not dark:
        colors.reverse()
    errors = normalized(reply.errors.values, max_error or None)
    return images | {"error": b"".join([colors[level] for level in errors])}


def image_panels(reply: TrainingReply, max_error: float) -> list[ExportPanel]:
    """The images of a step, for an export."""
    height, width, _ = reply.image.shape
    titles = {"noisy": "noisy image", "error": "squared error"}
    images = images_of(reply, max_error)
    return [ExportPanel(titles.get(name, name), (height, width), image) for name, image in images.items()]


def _scaled(values: Sequence[float], low: float, high: float) -> bytes:
    """Values from `low` (black) to `high` (white) as uint8; others are clipped."""
    factor = 255 / (high - low)
    return bytes(min(255, max(0, round((value - low) * factor))) for value in values)


def _captioned(name: str) -> Vertical:
    """An image under its caption."""
    return Vertical(Static(classes="caption", markup=False), ImageGrid(1), id=f"step-{name}")
