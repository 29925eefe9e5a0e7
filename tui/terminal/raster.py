"""Rasterizes curves into quarter cells: continuous lines, and bands between two curves behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tui.terminal.blocks import QUADRANTS

DOTS_PER_COLUMN = DOTS_PER_LINE = 2
MASK = (1 << DOTS_PER_LINE) - 1
RULE = "│"
RGB = tuple[int, int, int]


def _characters(left: int) -> list[str]:
    """Return the characters by the bits of the right column, given those of the left one; bit 0 is at the bottom."""
    bottom_left, top_left, bottom_right, top_right = 4, 1, 8, 2  # the bits of `QUADRANTS`
    code = bottom_left * (left & 1) + top_left * (left >> 1)
    return [QUADRANTS[code + bottom_right * (right & 1) + top_right * (right >> 1)] for right in range(4)]


# By the bits of the left and right column of a cell, bit 0 at the bottom.
QUARTERS = [_characters(left) for left in range(4)]


class StyledCell(NamedTuple):
    """A drawn cell."""

    column: int
    line: int  # from the bottom
    text: str
    color: RGB
    background: RGB | None = None  # None: the plot's background


class _Dots(NamedTuple):
    """The dots of a cell: the bits of its left and right column, from the bottom up."""

    left: int
    right: int
    color: RGB


class Raster:
    """A grid of `columns` by `lines` cells that covers `x_range` and `y_range`."""

    def __init__(self, columns: int, lines: int, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._columns, self._lines = columns, lines
        self._x_range, self._y_range = x_range, y_range
        self._bands: dict[tuple[int, int], _Dots] = {}
        self._curves: dict[tuple[int, int], _Dots] = {}
        self._signs: dict[tuple[int, int], tuple[str, RGB]] = {}

    def draw(self, xs: Sequence[float], ys: Sequence[float], color: RGB) -> None:
        """Draw a line through points of ascending x, over earlier lines."""
        self._curves.update(self._split(self._dots(xs, ys), color))

    def fill(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], color: RGB) -> None:
        """Fill the range between two curves, behind all lines."""
        below, above = self._dots(xs, lows), self._dots(xs, highs)
        filled = [_between(low | high) for low, high in zip(below, above, strict=True)]
        self._bands.update(self._split(filled, color))

    def mark(self, xs: Sequence[float], ys: Sequence[float], sign: str, color: RGB) -> None:
        """Draw `sign` at each point, in front of all lines."""
        (left, right), (low, high) = self._x_range, self._y_range
        for x, y in zip(xs, ys, strict=True):
            if left <= x <= right and low <= y <= high:
                line = round((y - low) / (high - low) * (self._lines - 1))
                self._signs[self._column(x), line] = sign, color

    def rule(self, x: float, color: RGB) -> None:
        """Draw a vertical line at `x`, behind lines and signs that are already drawn."""
        column = self._column(x)
        for line in range(self._lines):
            if (column, line) not in self._curves:
                self._signs.setdefault((column, line), (RULE, color))

    def cells(self) -> Iterator[StyledCell]:
        """Yield all cells that are not empty. Behind lines and signs, a band is the background color."""
        for place in self._bands.keys() | self._curves.keys() | self._signs.keys():
            band = self._bands.get(place)
            curve = self._curves.get(place)
            background = band.color if band and (band.left.bit_count() + band.right.bit_count()) >= 2 else None
            if place in self._signs:
                yield StyledCell(*place, *self._signs[place], background)
            elif curve:
                yield StyledCell(*place, QUARTERS[curve.left][curve.right], curve.color, background)
            elif band:
                yield StyledCell(*place, QUARTERS[band.left][band.right], band.color)

    def _column(self, x: float) -> int:
        left, right = self._x_range
        return round((x - left) / (right - left) * (self._columns - 1))

    def _split(self, dots: Sequence[int], color: RGB) -> Iterator[tuple[tuple[int, int], _Dots]]:
        """Yield the cells with dots by column and line."""
        for column in range(self._columns):
            left, right = dots[DOTS_PER_COLUMN * column : DOTS_PER_COLUMN * (column + 1)]
            line = 0
            while left or right:
                if (left | right) & MASK:
                    yield (column, line), _Dots(left & MASK, right & MASK, color)
                left, right, line = left >> DOTS_PER_LINE, right >> DOTS_PER_LINE, line + 1

    def _dots(self, xs: Sequence[float], ys: Sequence[float]) -> list[int]:
        """Return the dots of each column as an integer, bit 0 at the bottom."""
        width, height = self._columns * DOTS_PER_COLUMN, self._lines * DOTS_PER_LINE
        dots = [0] * width
        (left, right), (bottom, top) = self._x_range, self._y_range
        scale_x, scale_y = (width - 1) / (right - left), (height - 1) / (top - bottom)
        points = [((x - left) * scale_x, (y - bottom) * scale_y) for x, y in zip(xs, ys, strict=True)]
        for (x, y), (next_x, next_y) in pairwise(points):
            first, last = round(x), round(next_x)
            if first == last:
                if 0 <= first < width:
                    dots[first] |= _span(round(y), round(next_y), height)
                continue
            slope = (next_y - y) / (next_x - x)
            begin = max(0, first)
            before = round(y + (max(x, begin - 1) - x) * slope)
            for column in range(begin, min(width, last + 1)):
                row = round(next_y if column == last else y + (max(x, column) - x) * slope)
                middle = (before + row) // 2  # each column takes half of a steep segment
                if column > 0:
                    dots[column - 1] |= _span(before, middle + (row < before), height)
                dots[column] |= _span(middle + (row > before), row, height)
                before = row
        return dots


def _span(start: int, end: int, height: int) -> int:
    """Return the bits of the rows from `start` to `end`, clipped to `height` rows."""
    low, top = (start, end) if start <= end else (end, start)
    low, top = max(0, low), min(height - 1, top)
    return ((1 << (top - low + 1)) - 1) << low if top >= low else 0


def _between(bits: int) -> int:
    """Return the bits from the lowest to the highest that is set."""
    return (1 << bits.bit_length()) - (bits & -bits) if bits else 0
