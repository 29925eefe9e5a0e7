"""Rasterizes curves into cells for plotext (braille or quarter cells) and converts its output to Text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.style import Style
from rich.text import Span, Text

from tui.terminal.blocks import QUADRANTS

DOTS_PER_COLUMN = 2
# Bits of the dots in the left and right column of a cell, from the bottom up.
BRAILLE_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
QUARTER_DOTS = ((4, 1), (8, 2))  # the bits of `QUADRANTS`
SGR, RESET = re.compile(r"(\x1b\[[0-9;]*m)"), "\x1b[0m"  # sequences that set and reset colours
RGB = tuple[int, int, int]


def _characters(dots: tuple[tuple[int, ...], tuple[int, ...]], alphabet: Sequence[str]) -> list[list[str]]:
    """Return the characters by the dot patterns of the left and right column, bit 0 at the bottom."""
    left, right = (
        [sum(dot for i, dot in enumerate(side) if bits >> i & 1) for bits in range(1 << len(side))] for side in dots
    )
    return [[alphabet[a + b] for b in right] for a in left]


BRAILLE = _characters(BRAILLE_DOTS, [chr(0x2800 + number) for number in range(256)])
QUARTERS = _characters(QUARTER_DOTS, QUADRANTS)


class StyledCell(NamedTuple):
    """A drawn cell."""

    column: int
    line: int  # from the bottom
    text: str
    color: RGB


class Raster:
    """A grid of `columns` by `lines` cells that covers `x_range` and `y_range`."""

    def __init__(self, columns: int, lines: int, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._columns, self._lines = columns, lines
        self._x_range, self._y_range = x_range, y_range
        self._cells: dict[tuple[int, int], StyledCell] = {}

    def position(self, cell: StyledCell) -> tuple[float, float]:
        """Return the x and y value at the centre of a cell."""
        (left, right), (low, high) = self._x_range, self._y_range
        x = left + (right - left) * cell.column / max(1, self._columns - 1)
        return x, low + (high - low) * cell.line / max(1, self._lines - 1)

    def draw(self, xs: Sequence[float], ys: Sequence[float], color: RGB, *, coarse: bool = False) -> None:
        """Draw a line through points of ascending x; `coarse` uses quarter cells, which fill a range."""
        characters = QUARTERS if coarse else BRAILLE
        dots_per_line = 2 if coarse else 4
        dots = self._dots(xs, ys, self._lines * dots_per_line)
        mask = (1 << dots_per_line) - 1
        for column in range(self._columns):
            left, right = dots[DOTS_PER_COLUMN * column : DOTS_PER_COLUMN * (column + 1)]
            both, line = left | right, 0
            while both:
                if both & mask:
                    text = characters[left & mask][right & mask]
                    self._cells[column, line] = StyledCell(column, line, text, color)
                both, left, right = both >> dots_per_line, left >> dots_per_line, right >> dots_per_line
                line += 1

    def cells(self) -> Iterator[StyledCell]:
        """Yield all cells that are not empty."""
        yield from self._cells.values()

    def _dots(self, xs: Sequence[float], ys: Sequence[float], height: int) -> list[int]:
        """Return the dots of each column as an integer, bit 0 at the bottom."""
        width = self._columns * DOTS_PER_COLUMN
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


def ansi_to_text(drawn: str) -> Text:
    """Convert plotext's output with escape sequences to Text; each distinct style is parsed once."""
    text, spans, style, at = [], [], "", 0
    for number, part in enumerate(SGR.split(drawn)):
        if number % 2:
            style = "" if part == RESET else style + part
        elif part:
            text.append(part)
            if style:
                spans.append(Span(at, at + len(part), _style(style)))
            at += len(part)
    return Text("".join(text).rstrip("\n"), spans=spans)


@functools.lru_cache(1 << 10)
def _style(sequences: str) -> str | Style:
    """Return the style that the escape sequences set."""
    return Text.from_ansi(f"{sequences}x").spans[0].style
