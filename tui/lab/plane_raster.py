"""Points and lines of the plane as braille dots, and a density as levels of the pixels behind them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from core.engine.protocol import Array

RGB = tuple[int, int, int]
Place = tuple[int, int]  # column and row of a dot or a pixel
BRAILLE = 0x2800
# Bit of each dot of a cell, by row from the top and column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ARROWS = "→↗↑↖←↙↓↘"  # counterclockwise from the direction of x
FAR = 8  # trails are drawn up to this multiple of the extent; longer lines would take too long
LEVELS = 16  # of the density
GAMMA = 0.6  # below 1, so that low densities are visible
_SHADES = bytes(round((value / 255) ** GAMMA * (LEVELS - 1)) for value in range(256))
ARROW_LINES = 15  # lines of arrows at most


class Points(NamedTuple):
    """Points and their colors. Later ones are drawn over earlier ones."""

    values: Sequence[float] = ()  # x, y, x, y, ...; x points to the right and y up
    colors: Sequence[int] = ()  # number of the color of each point, from 1


class Trail(NamedTuple):
    """The positions of one point, oldest first."""

    values: Sequence[float]  # x, y, x, y, ...
    color: int  # of its newer half
    faded: int  # of its older half


class Arrow(NamedTuple):
    """An arrow in a cell."""

    cell: int  # index, row by row
    text: str
    strength: float  # length of the vector relative to the longest, 0 to 1


class Square(NamedTuple):
    """The cells of a canvas that show the plane: as many columns and lines as make it a square."""

    left: int
    top: int
    columns: int
    lines: int


def square(width: int, height: int) -> Square:
    """The largest square in `width` columns and `height` lines; a cell is twice as high as wide."""
    lines = min(height, width // 2)
    return Square((width - 2 * lines) // 2, (height - lines) // 2, 2 * lines, lines)


class Dots:
    """The braille dots of a square of `lines` lines that shows [-extent, extent] in both directions.

    Attributes:
        bits: The dots of each cell, row by row.
        colors: The number of the color of each cell, that of its last dot; 0 for none.
    """

    def __init__(self, lines: int, extent: float) -> None:
        self._columns, self._extent = 2 * lines, extent
        self._scale = 2 * lines / extent  # dots per unit; a line has 4 dots, and the square 2 * extent units
        self._side = 4 * lines
        self.bits = bytearray(2 * lines * lines)
        self.colors = bytearray(2 * lines * lines)

    def draw_points(self, points: Points) -> None:
        """Draw points; those outside and those that are not finite are left out."""
        bits, colors, columns = self.bits, self.colors, self._columns
        extent, scale = self._extent, self._scale
        values = iter(points.values)
        for x, y, color in zip(values, values, points.colors, strict=True):
            if -extent < x < extent and -extent < y < extent:
                across, down = int((x + extent) * scale), int((extent - y) * scale)
                at = (down >> 2) * columns + (across >> 1)
                bits[at] |= DOTS[down & 3][across & 1]
                colors[at] = color

    def draw_trail(self, trail: Trail) -> None:
        """Draw straight lines from each position to the next."""
        for start, end, color in trail_lines(trail, self._extent, self._scale):
            self._draw_line(start, end, color)

    def _draw_line(self, start: Place, end: Place, color: int) -> None:
        bits, colors, columns, side = self.bits, self.colors, self._columns, self._side
        (x, y), (to_x, to_y) = start, end
        across, down = to_x - x, to_y - y
        steps = max(abs(across), abs(down), 1)
        for step in range(steps + 1):
            column, row = x + across * step // steps, y + down * step // steps
            if 0 <= column < side and 0 <= row < side:
                at = (row >> 2) * columns + (column >> 1)
                bits[at] |= DOTS[row & 3][column & 1]
                colors[at] = color


def trail_lines(trail: Trail, extent: float, scale: float) -> Iterator[tuple[Place, Place, int]]:
    """The lines of a trail: start, end and color.

    Args:
        trail: The trail; positions that are far outside or not finite are left out.
        extent: Half the side of the square on display; (0, 0) is its top left corner.
        scale: Dots or pixels per unit.
    """
    far = FAR * extent
    places = [
        (int((x + extent) * scale), int((extent - y) * scale)) if abs(x) < far and abs(y) < far else None
        for x, y in zip(trail.values[::2], trail.values[1::2], strict=True)
    ]
    middle = (len(places) - 1) // 2
    for number, (start, end) in enumerate(pairwise(places), start=1):
        if start is not None and end is not None:
            yield start, end, trail.color if number > middle else trail.faded


def density_levels(density: Array | None, side: int, part: float = 1.0) -> bytes:
    """The level of each of `side` by `side` pixels, row by row, relative to the highest density.

    Args:
        density: (rows, columns), the top row first.
        side: Pixels of a side.
        part: Side of the middle part that is drawn, relative to the whole.
    """
    if density is None or side < 2:
        return bytes(side * side)
    rows, columns = density.shape
    values = _pick(rows, columns, side, part)(density.values)
    highest = max(values)
    if not 0 < highest < math.inf:
        return bytes(side * side)
    scale = 255 / highest
    return bytes([_SHADES[int(value * scale)] for value in values])


@functools.lru_cache(maxsize=16)
def _pick(rows: int, columns: int, side: int, part: float) -> itemgetter[Any]:
    """Picks the nearest value of a density for each of at least 2 by 2 pixels."""
    places = [0.5 + part * ((pixel + 0.5) / side - 0.5) for pixel in range(side)]  # 0 to 1
    return itemgetter(*(int(y * rows) * columns + int(x * columns) for y in places for x in places))


def arrows(field: Array | None, lines: int) -> list[Arrow]:
    """Arrows in the direction of a vector field, evenly spaced in a square of `lines` lines.

    Args:
        field: (rows, columns, 2), the top row first; vectors that are not finite have no arrow.
        lines: Lines of the square.
    """
    if field is None or lines < 2:
        return []
    rows, columns, _ = field.shape
    values, across = field.values, 2 * lines
    down = max(2, round(lines / ARROW_LINES))
    found = []
    for line in range((lines - 1) % down // 2, lines, down):
        row = (2 * line + 1) * rows // (2 * lines)
        for column in range((across - 1) % (2 * down) // 2, across, 2 * down):
            at = 2 * (row * columns + (2 * column + 1) * columns // (2 * across))
            x, y = values[at], values[at + 1]
            length = math.hypot(x, y)
            if 0 < length < math.inf:
                found.append((line * across + column, ARROWS[round(math.atan2(y, x) / (math.pi / 4)) % 8], length))
    longest = max((length for *_, length in found), default=1.0)
    return [Arrow(cell, text, length / longest) for cell, text, length in found]


def mixed(first: RGB, second: RGB, amount: float) -> RGB:
    """A color between two: 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue
