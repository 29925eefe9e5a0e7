"""Draws frames of eight images with one of four widgets, as a child process of `benchmarks/terminal.py`.

    python benchmarks/terminal_frames.py WIDGET KIND FRAMES OUTPUT

Every pixel changes from frame to frame or, for kind `delta`, one step of a recorded trajectory. Kinds that start with
`rgb-` are in color: noise in each channel, or each digit in a color of its own. `ours` is our widget in half blocks,
and `kitty` the same in pixels. CPU time per frame and frames per second are written to the file OUTPUT as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from textual.app import App, ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from core.runs.directory import builtin_directories
from core.runs.trajectory import RECORDING, load_recording
from tui.terminal.kitty import ImageStore
from tui.widgets.image_grid import ImageGrid

WIDGETS = ("ours", "kitty", "rich-pixels", "textual-image")
KINDS = ("noise", "rgb-noise", "clean", "rgb-clean", "delta", "rgb-delta")
TINTS = [(15 * (i % 3) + 2, 8 + i, 32 - 4 * i) for i in range(8)]  # in 32nds of a digit's pixels
DIGITS, COLUMNS, SIDE, GAP = 8, 4, 28, 2
WIDTH, HEIGHT = COLUMNS * SIDE + (COLUMNS - 1) * GAP, 2 * SIDE + GAP  # of the canvas in pixels, one per column
MAX_FPS = 30.0  # requested frame rate
SEED = 1


def frames(kind: str, count: int) -> list[bytes]:
    """`count` frames of eight images, uint8."""
    if kind == "rgb-noise":
        planes = frames("noise", 3 * count)
        return [interleaved(planes[i : i + 3]) for i in range(0, 3 * count, 3)]
    if kind.startswith("rgb-"):
        return [interleaved(tinted(frame)) for frame in frames(kind.removeprefix("rgb-"), count)]
    recording = load_recording(builtin_directories()["default-mnist"] / RECORDING)
    size = recording.height * recording.width
    if kind == "delta":
        steps = [frame.x[: DIGITS * size] for frame in recording.frames]
        return [steps[i % len(steps)] for i in range(count)]
    rng = random.Random(SEED)
    if kind == "noise":  # as at the start of the default recipe: Gaussian, in [-1, 1]
        return [
            bytes(min(255, max(0, round(127.5 + 127.5 * rng.gauss(0, 1)))) for _ in range(DIGITS * size))
            for _ in range(count)
        ]
    clean = recording.frames[-1].x
    digits = [clean[i * size : (i + 1) * size] for i in range(recording.n)]
    return [b"".join(digits[(i + shift) % len(digits)] for i in range(DIGITS)) for shift in range(count)]


def tinted(images: bytes) -> list[bytes]:
    """The three channels of eight gray images, each in its tint."""
    size = len(images) // DIGITS
    tables = [[bytes(value * tint // 32 for value in range(256)) for tint in tints] for tints in TINTS]
    return [
        b"".join(images[i * size : (i + 1) * size].translate(tables[i][channel]) for i in range(DIGITS))
        for channel in range(3)
    ]


def interleaved(planes: list[bytes]) -> bytes:
    """The channels of images, pixel by pixel."""
    pixels = bytearray(3 * len(planes[0]))
    for channel, plane in enumerate(planes):
        pixels[channel::3] = plane
    return bytes(pixels)


def canvas(images: bytes, channels: int) -> bytes:
    """The eight images on one canvas, uint8, in row-major order."""
    size = SIDE * channels
    rows = [bytearray(WIDTH * channels) for _ in range(HEIGHT)]
    for digit in range(DIGITS):
        top, left = digit // COLUMNS * (SIDE + GAP), digit % COLUMNS * (SIDE + GAP) * channels
        for y in range(SIDE):
            start = (digit * SIDE + y) * size
            rows[top + y][left : left + size] = images[start : start + size]
    return b"".join(rows)


class FrameApp(App[None]):
    """Draws the frames at the requested rate, and exits."""

    def __init__(self, widget: str, pictures: list[bytes], output: Path) -> None:
        super().__init__()
        self._kind = widget
        self.images = ImageStore(lambda data: self._driver and self._driver.write(data))
        self._pictures = pictures
        self._output = output
        self._next = 0
        self._began = (0.0, 0.0)

    def compose(self) -> ComposeResult:
        """Yield the widget."""
        yield self._made()

    def _made(self) -> Widget:
        if self._kind in ("ours", "kitty"):
            grid = ImageGrid(COLUMNS, id="shown")
            grid.drawing = "half" if self._kind == "ours" else "kitty"
            return grid
        if self._kind == "rich-pixels":
            return Static(id="shown")
        from textual_image.widget import HalfcellImage

        image: Widget = HalfcellImage(id="shown")
        image.styles.width, image.styles.height = WIDTH, HEIGHT // 2
        return image

    def on_mount(self) -> None:
        """Start once the first frame is drawn."""
        self._show()
        self.set_timer(0.5, self._begin)

    def _begin(self) -> None:
        self._began = time.monotonic(), time.process_time()
        self._next = 0
        self.set_interval(1 / MAX_FPS, self._tick)

    def _tick(self) -> None:
        if self._next < len(self._pictures):
            self._show()
            return
        seconds, spent = time.monotonic() - self._began[0], time.process_time() - self._began[1]
        count = len(self._pictures)
        self._output.write_text(json.dumps({"cpu": spent / count, "frames_per_second": count / seconds}))
        self.exit()

    def _show(self) -> None:
        picture = self._pictures[self._next]
        self._next += 1
        shown, channels = self.query_one("#shown"), len(picture) // (DIGITS * SIDE * SIDE)
        if isinstance(shown, ImageGrid):
            shown.set_images(picture, DIGITS, channels=channels)
            return
        from PIL import Image

        image = Image.frombytes("L" if channels == 1 else "RGB", (WIDTH, HEIGHT), canvas(picture, channels)).convert(
            "RGB"
        )
        if isinstance(shown, Static):
            from rich_pixels import Pixels

            shown.update(Pixels.from_image(image))
        else:
            shown.image = image  # type: ignore[attr-defined] # from textual-image


if __name__ == "__main__":
    widget, kind, count, output = sys.argv[1:]
    FrameApp(widget, frames(kind, int(count)), Path(output)).run()
