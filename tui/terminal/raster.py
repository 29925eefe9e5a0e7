"""Curves as cells of dots, for plotext to place: lines in braille, ranges in quarter cells; and its drawing as text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.style import Style
from rich.text import Span, Text

from tui.terminal.cells import QUADRANTS

ACROSS = 2  # dots across a cell
# What each dot of a cell's left and right column adds to the number of its character, from the bottom up.
BRAILLE_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
QUARTER_DOTS = ((2, 8), (1, 4))  # as tui.terminal.cells.QUADRANTS counts them
SEQUENCES, END = re.compile(r"(\x1b\[[0-9;]*m)"), "\x1b[0m"  # what sets colours, and what resets them
RGB = tuple[int, int, int]


def _characters(dots: tuple[tuple[int, ...], tuple[int, ...]], alphabet: Sequence[str]) -> list[list[str]]:
    """The character for each pattern of the left column and each of the right, bit 0 at the bottom."""
    left, right = (
        [sum(dot for i, dot in enumerate(side) if bits >> i & 1) for bits in range(1 << len(side))] for side in dots
    )
    return [[alphabet[one + other] for other in right] for one in left]


BRAILLE = _characters(BRAILLE_DOTS, [chr(0x2800 + number) for number in range(256)])
QUARTERS = _characters(QUARTER_DOTS, QUADRANTS)


class StyledCell(NamedTuple):
    """A cell that something was drawn in."""

    column: int
    line: int  # from the bottom
    text: str
    color: RGB


class Raster:
    """`columns` by `lines` cells that stand for the values from `left` to `right` and from `low` to `high`."""

    def __init__(self, columns: int, lines: int, across: tuple[float, float], upwards: tuple[float, float]) -> None:
        self._columns, self._lines = columns, lines
        self._across, self._upwards = across, upwards
        self._spots: dict[tuple[int, int], StyledCell] = {}

    def place(self, spot: StyledCell) -> tuple[float, float]:
        """The values that stand in the middle of a cell."""
        (left, right), (low, high) = self._across, self._upwards
        x = left + (right - left) * spot.column / max(1, self._columns - 1)
        return x, low + (high - low) * spot.line / max(1, self._lines - 1)

    def draw(self, xs: Sequence[float], ys: Sequence[float], color: RGB, *, coarse: bool = False) -> None:
        """Draw the line through points of ascending x; `coarse` in quarter cells, which make a field of a range."""
        characters = QUARTERS if coarse else BRAILLE
        up = 2 if coarse else 4
        drawn = self._dots(xs, ys, self._lines * up)
        mask = (1 << up) - 1
        for column in range(self._columns):
            left, right = drawn[ACROSS * column : ACROSS * column + ACROSS]
            both, line = left | right, 0
            while both:
                if both & mask:
                    text = characters[left & mask][right & mask]
                    self._spots[column, line] = StyledCell(column, line, text, color)
                both, left, right, line = both >> up, left >> up, right >> up, line + 1

    def spots(self) -> Iterator[StyledCell]:
        """All cells that are not empty."""
        yield from self._spots.values()

    def _dots(self, xs: Sequence[float], ys: Sequence[float], high: int) -> list[int]:
        """The dots of each column as the bits of a number, the lowest of them at the bottom."""
        wide = self._columns * ACROSS
        dots = [0] * wide
        (left, right), (bottom, top) = self._across, self._upwards
        scale_x, scale_y = (wide - 1) / (right - left), (high - 1) / (top - bottom)
        points = [((x - left) * scale_x, (y - bottom) * scale_y) for x, y in zip(xs, ys, strict=True)]
        for (x, y), (next_x, next_y) in pairwise(points):
            first, last = round(x), round(next_x)
            if first == last:
                if 0 <= first < wide:
                    dots[first] |= _span(round(y), round(next_y), high)
                continue
            slope = (next_y - y) / (next_x - x)
            begin = max(0, first)
            before = round(y + (max(x, begin - 1) - x) * slope)
            for column in range(begin, min(wide, last + 1)):
                row = round(next_y if column == last else y + (max(x, column) - x) * slope)
                middle = (before + row) // 2  # half of a steep way up or down stands in either column
                if column > 0:
                    dots[column - 1] |= _span(before, middle + (row < before), high)
                dots[column] |= _span(middle + (row > before), row, high)
                before = row
        return dots


def _span(one: int, other: int, high: int) -> int:
    """The bits from one row to another, as far as they lie in `high` rows."""
    low, top = (one, other) if one <= other else (other, one)
    low, top = max(0, low), min(high - 1, top)
    return ((1 << (top - low + 1)) - 1) << low if top >= low else 0


def styled(drawn: str) -> Text:
    """Text with escape sequences for its colours, as plotext builds it; Rich reads each sequence once."""
    text, spans, style, at = [], [], "", 0
    for number, part in enumerate(SEQUENCES.split(drawn)):
        if number % 2:
            style = "" if part == END else style + part
        elif part:
            text.append(part)
            if style:
                spans.append(Span(at, at + len(part), _style(style)))
            at += len(part)
    return Text("".join(text).rstrip("\n"), spans=spans)


@functools.lru_cache(1 << 10)
def _style(sequences: str) -> str | Style:
    """The style that escape sequences set."""
    return Text.from_ansi(f"{sequences}x").spans[0].style
