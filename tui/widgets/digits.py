"""A grid of greyscale images, drawn in character cells."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import product
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from tui.terminal.cells import (
    CODES,
    GAP,
    INVERTED,
    MARK,
    NEAREST,
    RAMPS,
    CellPalette,
    CellStrip,
    half,
    palette,
    quadrant,
    ramp,
)

HALVES = {pair: half(*pair) for pair in product(range(CODES), repeat=2)}
MAX_GAP = 2  # pixels between images
SMALLEST = 6  # minimum side in pixels; if images would be smaller, fewer are drawn


class DigitGrid(Widget):
    """Displays greyscale images in a grid, as large as they fit; posts no messages.

    Below full size, each drawn pixel is the mean of the pixels it covers. Captions are shown below the images if that
    does not make the images smaller. Borders and padding are not supported.

    Attributes:
        columns: Number of columns; None chooses the number that makes the images largest.
        drawing: One of `tui.terminal.cells.DRAWINGS`, or "auto": half blocks at full size, quadrants below it, shades
            without colours, or what the app's `best_drawing` says if the terminal cannot show these.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"digit-grid--caption"}
    DEFAULT_CSS = """
    DigitGrid { width: 1fr; height: 1fr; }
    DigitGrid > .digit-grid--caption { color: $foreground 60%; }
    """

    def __init__(self, columns: int | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = columns
        self._drawing = "auto"
        self._drawn = "half"  # the drawing in use
        self._images: list[bytes] = []
        self._height = self._width = 28
        self._captions: Sequence[str] = ()
        self._marker: tuple[int, int] | None = None
        self._rows: list[bytes] = []  # the canvas: one level per byte, two rows per screen line
        self._lines: dict[int, str] = {}  # caption lines by screen line
        self._strips: dict[int, Strip] = {}

    @property
    def drawing(self) -> str:
        """How pixels are drawn."""
        return self._drawing

    @drawing.setter
    def drawing(self, drawing: str) -> None:
        if drawing != self._drawing:
            self._drawing = drawing
            self.notify_style_update()
            self.refresh()

    @property
    def captions_visible(self) -> bool:
        """Whether the captions are shown."""
        return bool(self._lines)

    def set_images(
        self, images: bytes, n: int, height: int = 28, width: int = 28, captions: Sequence[str] | None = None
    ) -> None:
        """Display `n` images and optional captions; only lines that changed are redrawn.

        Args:
            images: uint8 pixels of shape (n, height, width).
            n: Number of images.
            height: Height of an image.
            width: Width of an image.
            captions: One text per image.

        Raises:
            ValueError: `images` has the wrong length.
        """
        size = height * width
        if len(images) != n * size:
            raise ValueError(f"{n} images of {height}x{width} take {n * size} bytes, not {len(images)}")
        self._height, self._width = height, width
        self._images = [images[i * size : (i + 1) * size] for i in range(n)]
        self._captions = captions or ()
        self._draw()

    def set_marker(self, x: int, y: int) -> None:
        """Mark the pixel at column `x` and row `y` of every image."""
        self._marker = x, y
        self._draw()

    def clear(self) -> None:
        """Remove all images."""
        self._images = []
        self._draw()

    def on_mount(self) -> None:
        if hasattr(self.app, "drawing"):
            self.watch(self.app, "drawing", self._drawing_changed)

    def _drawing_changed(self, drawing: str) -> None:
        self.drawing = drawing

    def on_resize(self) -> None:
        self._draw()

    def notify_style_update(self) -> None:
        """Redraw in the colours of the theme."""
        super().notify_style_update()
        self._strips.clear()
        self.__dict__.pop("_palette", None)
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        old_rows, old_lines = self._rows, self._lines
        width, height = self.size
        self._lines = {}
        self._rows = list(self._canvas(width, height * 2))
        if list(map(len, old_rows)) != list(map(len, self._rows)) or old_lines != self._lines:
            self._strips.clear()
            self.refresh()
            return
        changed = {y // 2 for y, (old, new) in enumerate(zip(old_rows, self._rows, strict=True)) if old != new}
        for line in changed:
            self._strips.pop(line, None)
        if changed:
            self.refresh(*(Region(0, line, width, 1) for line in changed))

    def _canvas(self, width: int, height: int) -> Iterator[bytes]:
        """Yield `height` rows of `width` levels (2 * `width` for quadrants), with the grid centred."""
        columns, scale_x, scale_y, gap_x, gap_y = fit(
            len(self._images), Size(width, height), self._height, self._width, self.columns
        )
        self._drawn = self._choose(shrunk=scale_x < self._width)
        density = 2 if self._drawn == "quadrant" else 1  # pixels per cell, horizontally
        row_length = width * density
        empty = bytes([GAP]) * row_length
        if not columns:
            yield from [empty] * height
            return
        levels = NEAREST if self.app.current_theme.dark else INVERTED
        tiles = [
            [row.translate(levels) for row in rescale(image, self._height, self._width, scale_y, scale_x * density)]
            for image in self._images
        ]
        if self._marker is not None:
            for tile in tiles:
                _draw_marker(tile, self._marker, self._width, self._height)
        bands = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
        bands = bands[: (height + gap_y) // (scale_y + gap_y)]
        used_x = columns * scale_x + (columns - 1) * gap_x
        foot = 2 + scale_y % 2  # pixels below a band, so that captions get a full screen line
        captioned = bool(self._captions) and len(bands) * (scale_y + foot) <= height
        if captioned:
            gap_y = 0
        used_y = len(bands) * (scale_y + foot * captioned) + (len(bands) - 1) * gap_y
        left, top = (width - used_x) // 2, (height - used_y) // 2
        top -= top % 2 * captioned
        margin, separator = bytes([GAP]) * left * density, bytes([GAP]) * gap_x * density
        yield from [empty] * top
        for number, band in enumerate(bands):
            if number:
                yield from [empty] * gap_y
            for y in range(scale_y):
                yield (margin + separator.join(tile[y] for tile in band)).ljust(row_length, bytes([GAP]))
            if captioned:
                yield from [empty] * foot
                line = (top + (number + 1) * (scale_y + foot)) // 2 - 1
                captions = self._captions[number * columns : number * columns + len(band)]
                self._lines[line] = " " * left + (" " * gap_x).join(f"{text:^{scale_x}.{scale_x}}" for text in captions)
        yield from [empty] * (height - top - used_y)

    def _choose(self, *, shrunk: bool) -> str:
        if self._drawing != "auto":
            return self._drawing
        best = getattr(self.app, "best_drawing", "auto")
        if best == "ascii":
            return "ascii"
        if self.app.no_color:
            return "shade"
        return "quadrant" if shrunk and best == "auto" else "half"

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the lines without the base class's passes for borders, tints and ANSI colours."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        """Render one line of cells."""
        strip = self._strips.get(y)
        if strip is None:
            if 2 * y + 1 >= len(self._rows):
                return Strip.blank(self.size.width, self.rich_style)
            strip = self._strips[y] = self._strip(y)
        return strip

    def _strip(self, y: int) -> Strip:
        if y in self._lines:
            text = self._lines[y].ljust(self.size.width)
            return Strip([Segment(text, self.get_component_rich_style("digit-grid--caption"))], self.size.width)
        upper, lower = self._rows[2 * y : 2 * y + 2]
        if self._drawn in RAMPS:
            text = ramp(self._drawn, upper, lower, dark=self.app.current_theme.dark)
            return Strip([Segment(text, self.rich_style)], self.size.width)
        if self._drawn == "quadrant":
            cells = list(map(quadrant, zip(upper[::2], upper[1::2], lower[::2], lower[1::2], strict=True)))
        else:
            cells = [HALVES[pair] for pair in zip(upper, lower, strict=True)]
        return CellStrip(cells, self._palette)

    @functools.cached_property
    def _palette(self) -> CellPalette:
        """The palette for the background colour, cached until the theme changes."""
        background = self.background_colors[1]
        if background.ansi is None:
            return palette(background.rgb)
        return palette((0, 0, 0) if self.app.current_theme.dark else (255, 255, 255), transparent=True)


def fit(n: int, size: Size, height: int, width: int, columns: int | None = None) -> tuple[int, int, int, int, int]:
    """Compute the grid in which `n` images are largest within `size` pixels.

    Above full size, only whole multiples are used. Gaps between images are one or two pixels.

    Returns:
        Number of columns, tile width, tile height, horizontal gap and vertical gap, in pixels.
    """
    best = (0, 0, 0, 0, 0)
    if not n or size.width < 1 or size.height < 2:
        return best
    for count in [columns] if columns else range(1, n + 1):
        rows = -(-n // count)
        scale = min((size.width - count + 1) / (count * width), (size.height - rows + 1) / (rows * height))
        scale = float(int(scale)) if scale >= 1 else scale
        tile_x, tile_y = int(width * scale), int(height * scale)
        if min(tile_x, tile_y) >= SMALLEST and tile_y > best[2]:
            gap_x = (size.width - count * tile_x) // max(1, count - 1)
            gap_y = (size.height - rows * tile_y) // max(1, rows - 1)
            best = (count, tile_x, tile_y, min(MAX_GAP, gap_x), min(MAX_GAP, gap_y))
    if best[0]:
        return best
    # Not all fit: draw as many as fit at half size, or one at the size that fits.
    side = min(size.width, size.height // 2 * 2, max(SMALLEST, height // 2))
    return max(1, (size.width + 1) // (side + 1)), side, side, 1, 1


def rescale(image: bytes, height: int, width: int, new_height: int, new_width: int) -> list[bytes]:
    """Return the rows of `image` at a new size: repeated pixels when larger, means when smaller."""
    rows = [image[y * width : (y + 1) * width] for y in range(height)]
    if (new_height, new_width) == (height, width):
        return rows
    if new_height >= height:
        factor_x, factor_y = new_width // width, new_height // height
        wide = [bytes(value for value in row for _ in range(factor_x)) for row in rows]
        return [row for row in wide for _ in range(factor_y)]
    spans_x, spans_y = _spans(width, new_width), _spans(height, new_height)
    smaller = []
    for top, bottom in spans_y:
        sums = [sum(column) for column in zip(*rows[top:bottom], strict=True)]
        smaller.append(bytes(sum(sums[a:b]) // ((b - a) * (bottom - top)) for a, b in spans_x))
    return smaller


def _draw_marker(tile: list[bytes], pixel: tuple[int, int], width: int, height: int) -> None:
    """Mark a pixel of a `width` by `height` image in its scaled rows."""
    left, right = _scaled_span(pixel[0], width, len(tile[0]))
    top, bottom = _scaled_span(pixel[1], height, len(tile))
    for y in range(top, bottom):
        tile[y] = tile[y][:left] + bytes([MARK]) * (right - left) + tile[y][right:]


def _scaled_span(index: int, old: int, new: int) -> tuple[int, int]:
    first = index * new // old
    return first, max(first + 1, (index + 1) * new // old)


@functools.cache
def _spans(old: int, new: int) -> list[tuple[int, int]]:
    return [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
