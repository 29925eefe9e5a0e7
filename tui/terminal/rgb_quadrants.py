"""RGB pixels as quadrant blocks, a line at a time: every channel of every cell is one byte of the same integers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from tui.terminal.cells import GAP, MARK, QUADRANTS, Computed, quadrant
from tui.terminal.rgb import PIXEL_BYTES, channels, luminance, merge, unpack

# A set of a cell's pixels, with the bits of `QUADRANTS`; or a colour outside of images.
_ALL, _GAPS, _MARKS = 15, 16, 32
_BITS = (8, 4, 2, 1)
_as_integer = partial(int.from_bytes, byteorder="little")


def _table(value: dict[int, int]) -> bytes:
    return bytes(value.get(byte, 0) for byte in range(256))


_HAS = [_table({pixels: 255 for pixels in range(16) if pixels & bit}) for bit in _BITS]
_COUNTS = [_table({pixels: 255 for pixels in range(16) if pixels.bit_count() == count}) for count in range(1, 5)]
_MEANS = [_table({total: (total + count // 2) // count for total in range(32 * count)}) for count in range(1, 5)]
_IS_ALL = _table({_ALL: 255})
_OUTSIDE_HIGH = _table({_GAPS: 128, _MARKS: 128})  # of the bytes of `RGB_GAP` and `RGB_MARK`
_OUTSIDE_LOW = _table({_MARKS: 1})


class _Split(NamedTuple):
    """How a cell is drawn: the text and its inverse, and the pixels with the foreground and the background colour."""

    text: str
    inverse: str
    front: int
    back: int


def _split(levels: tuple[int, int, int, int]) -> _Split:
    """Split 2x2 pixels as their grey levels are best split."""
    text, foreground, background, inverse = quadrant(levels)
    inside = sum(bit for bit, level in zip(_BITS, levels, strict=True) if level < GAP)
    if foreground == background:
        pixels = _outside(foreground) or _ALL
        return _Split(text, inverse, pixels, pixels)
    shape = QUADRANTS.index(text)
    return _Split(text, inverse, _outside(foreground) or shape, _outside(background) or (_ALL - shape) & inside)


def _outside(level: int) -> int:
    return _GAPS if level == GAP else _MARKS if level == MARK else 0


class _Splits:
    """All ways to split a cell that occurred, fewer than 256, by number; and the number for each cell's grey levels."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.inverses: list[str] = []
        self.fronts, self.backs = bytearray(256), bytearray(256)
        self._numbers: dict[_Split, int] = {}
        self.numbers: Computed[int, int] = Computed(self._number)

    def _number(self, levels: int) -> int:
        """The number for the grey levels of 2x2 pixels, one byte each."""
        upper_left, upper_right, lower_left, lower_right = levels.to_bytes(4, sys.byteorder)
        split = _split((upper_left, upper_right, lower_left, lower_right))
        if split not in self._numbers:
            number = self._numbers[split] = len(self.texts)
            self.texts.append(split.text)
            self.inverses.append(split.inverse)
            self.fronts[number], self.backs[number] = split.front, split.back
        return self._numbers[split]


_splits = _Splits()


class QuadrantLine(NamedTuple):
    """The cells of a line, column by column; a colour is the mean of its pixels."""

    texts: Iterable[str]
    foregrounds: Sequence[int]
    backgrounds: Sequence[int]
    inverses: Iterable[str]


def rgb_quadrants(upper: bytes, lower: bytes) -> QuadrantLine:
    """Two packed rows as a line of cells, each of 2x2 pixels in two colours."""
    above, below = luminance(upper), luminance(lower)
    n = len(above) // 2
    levels = bytearray(4 * n)
    levels[::4], levels[1::4], levels[2::4], levels[3::4] = above[::2], above[1::2], below[::2], below[1::2]
    splits = bytes(map(_splits.numbers.__getitem__, memoryview(levels).cast("I")))
    front, back = splits.translate(_splits.fronts), splits.translate(_splits.backs)
    # Sums of the pixels' channels: all red ones, then green, then blue, one byte for each cell.
    total = in_front = 0
    for pixel, has in zip(_quarters(upper, lower), _HAS, strict=True):
        total += (values := _as_integer(pixel))
        in_front += values & _as_integer(front.translate(has) * 3)
    in_back = total - in_front + (in_front & _as_integer(front.translate(_IS_ALL) * 3))
    sums = in_front | in_back << 24 * n
    means = 0
    for counted, divided in zip(_COUNTS, _MEANS, strict=True):
        some = sums & _as_integer(front.translate(counted) * 3 + back.translate(counted) * 3)
        means |= _as_integer(some.to_bytes(6 * n, "little").translate(divided))
    mean = means.to_bytes(6 * n, "little")
    red, green, blue = (mean[n * c : n * (c + 1)] + mean[n * (c + 3) : n * (c + 4)] for c in range(3))
    outside = front + back
    colors = unpack(merge(red, green, blue, outside.translate(_OUTSIDE_LOW), outside.translate(_OUTSIDE_HIGH)))
    texts, inverses = (map(text.__getitem__, splits) for text in (_splits.texts, _splits.inverses))
    return QuadrantLine(texts, colors[:n], colors[n:], inverses)


def _quarters(upper: bytes, lower: bytes) -> list[bytes]:
    """The channels of the cells' upper left, upper right, lower left and lower right pixels."""
    red, green, blue = channels(upper + lower)
    size = len(upper) // PIXEL_BYTES
    places = [slice(first + second, first + size, 2) for first in (0, size) for second in (0, 1)]
    return [red[place] + green[place] + blue[place] for place in places]
