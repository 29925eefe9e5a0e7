"""A grid of greyscale images: two pixels a cell or four, in greys that 256 colours hold as well, or without colours."""

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
WIDEST_GAP = 2  # pixels between images
SMALLEST = 6  # pixels of a side; below this a digit is a blot, and fewer are drawn instead


class DigitGrid(Widget):
    """Draws `n` images as large as they fit; below full size each pixel drawn is the mean of those it covers.

    With `columns` the grid has that many columns; without, the number that makes the images largest. A caption stands
    below each image where that does not make the images smaller. `drawing` is one of `tui.terminal.cells.DRAWINGS`, or
    `auto`: half blocks at full size, quadrants below it, and shades where the terminal has no colours; in place of
    quadrants or of all blocks what the app's `best_drawing` says, where the terminal cannot show them. It takes no
    border and no padding.
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
        self._drawn = "half"  # what `auto` came to
        self._images: list[bytes] = []
        self._height = self._width = 28
        self._captions: Sequence[str] = ()
        self._mark: tuple[int, int] | None = None
        self._rows: list[bytes] = []  # the canvas: one level a byte, two of these rows a line of the screen
        self._lines: dict[int, str] = {}  # the lines of the screen that hold captions
        self._strips: dict[int, Strip] = {}

    @property
    def drawing(self) -> str:
        """How pixels become characters."""
        return self._drawing

    @drawing.setter
    def drawing(self, drawing: str) -> None:
        if drawing != self._drawing:
            self._drawing = drawing
            self.notify_style_update()
            self.refresh()

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

    def mark(self, x: int, y: int) -> None:
        """Point at a pixel of every image."""
        self._mark = x, y
        self._draw()

    def clear(self) -> None:
        """Draw nothing."""
        self._images = []
        self._draw()

    def on_mount(self) -> None:
        """Draw as the app says, where it says so."""
        if hasattr(self.app, "drawing"):
            self.watch(self.app, "drawing", self._follow)

    def _follow(self, drawing: str) -> None:
        self.drawing = drawing

    def on_resize(self) -> None:
        """Fit the images anew."""
        self._draw()

    def notify_style_update(self) -> None:
        """Follow a change of theme."""
        super().notify_style_update()
        self._strips.clear()
        self.__dict__.pop("_palette", None)
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        before, lines = self._rows, self._lines
        width, height = self.size
        self._lines = {}
        self._rows = list(self._canvas(width, height * 2))
        if list(map(len, before)) != list(map(len, self._rows)) or lines != self._lines:
            self._strips.clear()
            self.refresh()
            return
        changed = {y // 2 for y, (old, new) in enumerate(zip(before, self._rows, strict=True)) if old != new}
        for line in changed:
            self._strips.pop(line, None)
        if changed:
            self.refresh(*(Region(0, line, width, 1) for line in changed))

    def _canvas(self, width: int, height: int) -> Iterator[bytes]:
        """`height` rows of `width` levels, or twice as many in quadrants, the grid in the middle."""
        columns, scale_x, scale_y, gap_x, gap_y = fit(
            len(self._images), Size(width, height), self._height, self._width, self.columns
        )
        self._drawn = self._choose(shrunk=scale_x < self._width)
        dense = 2 if self._drawn == "quadrant" else 1  # pixels across a cell
        wide = width * dense
        empty = bytes([GAP]) * wide
        if not columns:
            yield from [empty] * height
            return
        levels = NEAREST if self.app.current_theme.dark else INVERTED
        tiles = [
            [row.translate(levels) for row in scaled(image, self._height, self._width, scale_y, scale_x * dense)]
            for image in self._images
        ]
        if self._mark is not None:
            for tile in tiles:
                _point(tile, self._mark, self._width, self._height)
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
        before, between = bytes([GAP]) * left * dense, bytes([GAP]) * gap_x * dense
        yield from [empty] * top
        for number, band in enumerate(bands):
            if number:
                yield from [empty] * gap_y
            for y in range(scale_y):
                yield (before + between.join(tile[y] for tile in band)).ljust(wide, bytes([GAP]))
            if captioned:
                yield from [empty] * foot
                below = (top + (number + 1) * (scale_y + foot)) // 2 - 1
                names = self._captions[number * columns : number * columns + len(band)]
                self._lines[below] = " " * left + (" " * gap_x).join(f"{name:^{scale_x}.{scale_x}}" for name in names)
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
        """The lines as they are, without the passes over each cell that borders, tints and foreign colours take."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        """One line of cells."""
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
        """The greys on the background there is, until the theme changes."""
        back = self.background_colors[1]
        if back.ansi is None:
            return palette(back.rgb)
        return palette((0, 0, 0) if self.app.current_theme.dark else (255, 255, 255), through=True)


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


def _point(tile: list[bytes], at: tuple[int, int], width: int, height: int) -> None:
    """Mark the place of a pixel of a `width` by `height` image in its scaled rows."""
    (left, right), (top, bottom) = _place(at[0], width, len(tile[0])), _place(at[1], height, len(tile))
    for y in range(top, bottom):
        tile[y] = tile[y][:left] + bytes([MARK]) * (right - left) + tile[y][right:]


def _place(at: int, old: int, new: int) -> tuple[int, int]:
    first = at * new // old
    return first, max(first + 1, (at + 1) * new // old)


@functools.cache
def _spans(old: int, new: int) -> list[tuple[int, int]]:
    return [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
