"""The six images of a training step: image + noise = mixture, and (prediction - target) squared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from textual.containers import Vertical
from textual.geometry import Size
from textual.widgets import Static

from core.engine.training_messages import TrainingReply
from tui.grayscale import normalized
from tui.lab.bench import Panel
from tui.lab.gradient_bars import short
from tui.lab.picture_panel import PicturePanel
from tui.terminal.color_maps import colors_of
from tui.widgets.image_grid import ImageGrid

MIXING, COMPARING = ("image", "noise", "mixture"), ("prediction", "target", "error")
ERROR_MAP = "inferno"  # colours of the squared error
GAP = 2  # columns between two images, or more if these are in one row
CLIP = 2.5  # root mean squares of a velocity that is drawn black or white
MIN_SIDE = 6  # columns of an image
IMAGE_FORMS = ("clean", "noise")  # predictions in the value range of images


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

    def show(self, reply: TrainingReply, white: float) -> None:
        """Draw a step; `white` is the squared error of the lightest colour."""
        self._reply = reply
        height, width, channels = reply.image.shape
        images = images_of(reply, white)
        for name, caption in self._captions(reply).items():
            tile = self._tile(name)
            if tile.display:
                colored = 3 if name == "error" else channels
                tile.query_one(ImageGrid).set_images(images[name], 1, height, width, channels=colored)
                tile.query_one(Static).update(caption, layout=False)

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
        alpha, sigma = (_coefficient(value) for value in (reply.alpha, reply.sigma))
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
            "mixture": ("= mixture",),
            "prediction": (f"prediction: {predicted}", "prediction"),
            "target": (f"− target: {target}", "− target"),
            "error": (f"squared error{weighted}: mean {loss}", f"squared error: {loss}", f"squared: {loss}"),
        }
        return {
            name: next((text for text in texts if cell_len(text) <= self._tile(name).size.width), texts[-1])
            for name, texts in choices.items()
        }


def images_of(reply: TrainingReply, white: float) -> dict[str, bytes]:
    """The images of a step by name, uint8: the squared error in RGB, the others like the image.

    A velocity is outside the value range of images: the prediction and the target are scaled alike, with 0 as middle
    grey, and clipped.
    """
    low, high = reply.value_range
    as_images = [("image", reply.image), ("noise", reply.noise), ("mixture", reply.mixture)]
    compared = [("prediction", reply.output), ("target", reply.target)]
    images = {name: _scaled(array.values, low, high) for name, array in as_images}
    if reply.prediction not in IMAGE_FORMS:
        square = sum(value * value for value in reply.target.values) / len(reply.target.values)
        high = CLIP * math.sqrt(square) or 1.0
        low = -high
    images |= {name: _scaled(array.values, low, high) for name, array in compared}
    colors = [bytes(color) for color in colors_of(ERROR_MAP)]
    errors = normalized(reply.errors.values, white or None)
    return images | {"error": b"".join([colors[level] for level in errors])}


def panels_of(reply: TrainingReply, white: float) -> list[Panel]:
    """The images of a step, for an export."""
    height, width, _ = reply.image.shape
    titles = {"error": "squared error"}
    return [Panel(titles.get(name, name), (height, width), image) for name, image in images_of(reply, white).items()]


def _scaled(values: Sequence[float], low: float, high: float) -> bytes:
    """Values from `low` (black) to `high` (white) as uint8; others are clipped."""
    factor = 255 / (high - low)
    return bytes(min(255, max(0, round((value - low) * factor))) for value in values)


def _coefficient(value: float) -> str:
    return "1" if value >= 0.995 else f"{value:.2f}".removeprefix("0")


def _captioned(name: str) -> Vertical:
    """An image under its caption."""
    return Vertical(Static(classes="caption", markup=False), ImageGrid(1), id=f"step-{name}")
