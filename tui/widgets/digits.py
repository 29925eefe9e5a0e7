"""A grid of greyscale images in half blocks: two pixels a cell, in greys that 256 colours hold as well."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

# The 26 greys that a 256-colour terminal has, the brighter ones up to 2 more, so that Rich, which takes the 26 for
# evenly spaced, does not choose their darker neighbours. Sixteen of them are the levels drawn.
TERMINAL_GREYS = (0, *(max(8 + 10 * i, math.ceil(10.2 * (i + 0.5))) for i in range(24)), 255)
LEVELS = 16
GREYS = tuple(TERMINAL_GREYS[round(level * (len(TERMINAL_GREYS) - 1) / (LEVELS - 1))] for level in range(LEVELS))
# From an image's byte to the level of the nearest grey, for ink that is white and for ink that is black.
NEAREST = bytes(min(range(LEVELS), key=lambda level: abs(GREYS[level] - value)) for value in range(256))
INVERTED = bytes(LEVELS - 1 - level for level in NEAREST)
GAP = LEVELS  # the level that stands for "no image here"
WIDEST_GAP = 2  # pixels between images
SMALLEST = 6  # pixels of a side; below this a digit is a blot, and fewer are drawn instead


class DigitGrid(Widget):
    """Draws `n` images as large as they fit; below full size each pixel drawn is the mean of those it covers.

    With `columns` the grid has that many columns; without, the number that makes the images largest. A caption stands
    below each image where that does not make the images smaller.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"digit-grid--caption"}
    DEFAULT_CSS = """
    DigitGrid { width: 1fr; height: 1fr; }
    DigitGrid > .digit-grid--caption { color: $foreground 60%; }
    """

    def __init__(self, columns: int | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = columns
        self._images: list[bytes] = []
        self._height = self._width = 28
        self._captions: Sequence[str] = ()
        self._rows: list[bytes] = []  # the canvas: one level a byte, two of these rows a line of the screen
        self._lines: dict[int, str] = {}  # the lines of the screen that hold captions
        self._strips: dict[int, Strip] = {}

    @property
    def captioned(self) -> bool:
        """Whether there is room for the captions."""
        return bool(self._lines)

    def show(
        self, images: bytes, n: int, height: int = 28, width: int = 28, captions: Sequence[str] | None = None
    ) -> None:
        """Draw `n` images, uint8, row by row, one after another; only lines that changed are drawn anew."""
        size = height * width
        if len(images) != n * size:
            raise ValueError(f"{n} images of {height}x{width} take {n * size} bytes, not {len(images)}")
        self._height, self._width = height, width
        self._images = [images[i * size : (i + 1) * size] for i in range(n)]
        self._captions = captions or ()
        self._draw()

    def clear(self) -> None:
        """Draw nothing."""
        self._images = []
        self._draw()

    def on_resize(self) -> None:
        """Fit the images anew."""
        self._draw()

    def notify_style_update(self) -> None:
        """Follow a change of theme."""
        super().notify_style_update()
        self._strips.clear()
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        before, lines = self._rows, self._lines
        width, height = self.size
        self._lines = {}
        self._rows = list(self._canvas(width, height * 2))
        if len(before) != len(self._rows) or (before and len(before[0]) != width) or lines != self._lines:
            self._strips.clear()
            self.refresh()
            return
        changed = {y // 2 for y, (old, new) in enumerate(zip(before, self._rows, strict=True)) if old != new}
        for line in changed:
            self._strips.pop(line, None)
        if changed:
            self.refresh(*(Region(0, line, width, 1) for line in changed))

    def _canvas(self, width: int, height: int) -> Iterator[bytes]:
        """`height` rows of `width` levels, the grid in the middle."""
        empty = bytes([GAP]) * width
        columns, scale_x, scale_y, gap_x, gap_y = fit(
            len(self._images), Size(width, height), self._height, self._width, self.columns
        )
        if not columns:
            yield from [empty] * height
            return
        levels = NEAREST if self.app.current_theme.dark else INVERTED
        tiles = [
            [row.translate(levels) for row in scaled(image, self._height, self._width, scale_y, scale_x)]
            for image in self._images
        ]
        bands = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
        bands = bands[: (height + gap_y) // (scale_y + gap_y)]
        used_x = columns * scale_x + (columns - 1) * gap_x
        foot = 2 + scale_y % 2  # pixels below a band: its captions have a line of the screen to themselves
        captioned = bool(self._captions) and len(bands) * (scale_y + foot) <= height
        if captioned:
            gap_y = 0
        used_y = len(bands) * (scale_y + foot * captioned) + (len(bands) - 1) * gap_y
        left, top = (width - used_x) // 2, (height - used_y) // 2
        top -= top % 2 * captioned
        gap = bytes([GAP]) * gap_x
        yield from [empty] * top
        for number, band in enumerate(bands):
            if number:
                yield from [empty] * gap_y
            for y in range(scale_y):
                yield (bytes([GAP]) * left + gap.join(tile[y] for tile in band)).ljust(width, bytes([GAP]))
            if captioned:
                yield from [empty] * foot
                below = (top + (number + 1) * (scale_y + foot)) // 2 - 1
                names = self._captions[number * columns : number * columns + len(band)]
                self._lines[below] = " " * left + (" " * gap_x).join(f"{name:^{scale_x}.{scale_x}}" for name in names)
        yield from [empty] * (height - top - used_y)

    def render_line(self, y: int) -> Strip:
        """One line of cells, each the upper and the lower of two pixels."""
        strip = self._strips.get(y)
        if strip is None:
            if 2 * y + 1 >= len(self._rows):
                return Strip.blank(self.size.width, self.rich_style)
            if y in self._lines:
                text = self._lines[y].ljust(self.size.width)
                return Strip([Segment(text, self.get_component_rich_style("digit-grid--caption"))], self.size.width)
            back = self.background_colors[1].rgb
            pairs = zip(self._rows[2 * y], self._rows[2 * y + 1], strict=True)
            runs = [(pair, sum(1 for _ in run)) for pair, run in groupby(pairs)]
            strip = Strip([_cells(upper, lower, count, back) for (upper, lower), count in runs], self.size.width)
            self._strips[y] = strip
        return strip


def fit(n: int, room: Size, height: int, width: int, columns: int | None = None) -> tuple[int, int, int, int, int]:
    """Columns, tile width and height, and gaps in pixels, with which `n` images are largest in `room` pixels.

    Above full size only whole multiples of it are taken. Between images lie one or two pixels.
    """
    best = (0, 0, 0, 0, 0)
    if not n or room.width < 1 or room.height < 2:
        return best
    for count in [columns] if columns else range(1, n + 1):
        rows = -(-n // count)
        scale = min((room.width - count + 1) / (count * width), (room.height - rows + 1) / (rows * height))
        scale = float(int(scale)) if scale >= 1 else scale
        tile_x, tile_y = int(width * scale), int(height * scale)
        if min(tile_x, tile_y) >= SMALLEST and tile_y > best[2]:
            gap_x = (room.width - count * tile_x) // max(1, count - 1)
            gap_y = (room.height - rows * tile_y) // max(1, rows - 1)
            best = (count, tile_x, tile_y, min(WIDEST_GAP, gap_x), min(WIDEST_GAP, gap_y))
    if best[0]:
        return best
    # Too little room for all: as many whole images as fit at half their size, or at whatever size one fits.
    side = min(room.width, room.height // 2 * 2, max(SMALLEST, height // 2))
    return max(1, (room.width + 1) // (side + 1)), side, side, 1, 1


def scaled(image: bytes, height: int, width: int, new_height: int, new_width: int) -> list[bytes]:
    """The rows of `image` at another size: repeated pixels when larger, means over the covered ones when smaller."""
    rows = [image[y * width : (y + 1) * width] for y in range(height)]
    if (new_height, new_width) == (height, width):
        return rows
    if new_height >= height:
        times_x, times_y = new_width // width, new_height // height
        wide = [bytes(value for value in row for _ in range(times_x)) for row in rows]
        return [row for row in wide for _ in range(times_y)]
    spans_x, spans_y = _spans(width, new_width), _spans(height, new_height)
    smaller = []
    for top, bottom in spans_y:
        sums = [sum(column) for column in zip(*rows[top:bottom], strict=True)]
        smaller.append(bytes(sum(sums[a:b]) // ((b - a) * (bottom - top)) for a, b in spans_x))
    return smaller


@functools.cache
def _spans(old: int, new: int) -> list[tuple[int, int]]:
    return [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]


@functools.cache
def _style(upper: int, lower: int, back: tuple[int, int, int]) -> Style:
    """The style of a cell whose upper and lower halves have these levels."""
    front, behind = (back if level == GAP else (GREYS[level],) * 3 for level in (upper, lower))
    return Style.parse(f"rgb({front[0]},{front[1]},{front[2]}) on rgb({behind[0]},{behind[1]},{behind[2]})")


def _cells(upper: int, lower: int, count: int, back: tuple[int, int, int]) -> Segment:
    return Segment((" " if upper == lower else "▀") * count, _style(upper, lower, back))
