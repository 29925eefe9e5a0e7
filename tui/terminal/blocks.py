"""Cells of 2x2, 2x3 or 2x4 pixels (quadrants, sextants, octants) in two colors each, many cells at once.

The pixels of all cells at one position are a plane: bytes, or an integer with a byte for each cell, so that one
operation computes all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import count
from operator import and_, or_
from typing import NamedTuple

from tui.terminal.cells import GAP, LEVELS, MARK, CellTuple
from tui.terminal.rgb import channels, luminance, merge, unpack

COLUMNS = 2  # of pixels in a cell
_as_integer = partial(int.from_bytes, byteorder="little")


def _table(values: Iterable[int]) -> bytes:
    return bytes(values).ljust(256, b"\0")


_PLAIN = _table(range(LEVELS))  # 0 outside of images
_IS_GAP = _table(level == GAP for level in range(256))
_IS_MARK = _table(level == MARK for level in range(256))
_GAP_LEVEL, _MARK_LEVEL = _table([0, GAP]), _table([0, MARK])
_HIGH = _table([0, 128])  # of the bytes of `RGB_GAP` and `RGB_MARK`
_MAXIMUM = 8  # pixels in a cell
_IS_COUNT = [_table(255 * (value == number) for value in range(256)) for number in range(1, _MAXIMUM + 1)]
# Means of `number` pixels by their sum, of gray levels and channels.
_MEANS = [
    _table((total + number // 2) // number for total in range(31 * number + 1)) for number in range(1, _MAXIMUM + 1)
]


def _sextant(shape: int) -> str:
    """The character of a set of pixels, in reading order with the first as the lowest bit."""
    blocks = {0: " ", 0b010101: "▌", 0b101010: "▐", 0b111111: "█"}
    return blocks.get(shape) or chr(0x1FB00 + shape - 1 - (shape > 0b010101) - (shape > 0b101010))


def _octants() -> str:
    """The characters of all sets of pixels, likewise (Unicode 16): those that older characters have come first."""
    blocks = dict(zip((0x03, 0x3F, 0xC0, 0xFC, 0x14, 0x28), "\U0001fb82\U0001fb85▂▆\U0001fbe6\U0001fbe7", strict=True))
    blocks |= dict(zip((0x01, 0x02, 0x40, 0x80), "\U0001cea8\U0001ceab\U0001cea3\U0001cea0", strict=True))
    for shape, block in enumerate(QUADRANTS):
        blocks[0x05 * (shape & 1) | 0x0A * (shape >> 1 & 1) | 0x50 * (shape >> 2 & 1) | 0xA0 * (shape >> 3)] = block
    others = map(chr, count(0x1CD00))
    return "".join(blocks.get(shape) or next(others) for shape in range(256))


QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # by the set of pixels, likewise
SEXTANTS = "".join(map(_sextant, range(64)))
OCTANTS = _octants()
_BLOCKS = {2: QUADRANTS, 3: SEXTANTS, 4: OCTANTS}  # by the rows of pixels


class Blocks(NamedTuple):
    """How cells are drawn, by cell: the sets of bright pixels, and the colors of these and of the others."""

    shapes: bytes
    foregrounds: Sequence[int]
    backgrounds: Sequence[int]

    def cells(self, rows: int, levels: Callable[[Sequence[int]], Sequence[int]] = bytes) -> list[CellTuple]:
        """The cells, of `rows` rows of pixels each; `levels` converts colors to a palette's levels."""
        blocks = _BLOCKS[rows]
        texts, inverses = (map(characters.__getitem__, self.shapes) for characters in (blocks, blocks[::-1]))
        return list(zip(texts, levels(self.foregrounds), levels(self.backgrounds), inverses, strict=True))


def gray_blocks(rows: Sequence[bytes]) -> Blocks:
    """Split the cells of rows of gray levels.

    Args:
        rows: Two to four rows of an even number of levels, as `tui.terminal.cells` numbers them.
    """
    levels = _planes(rows)
    split = _split(levels)
    (means,) = split.means([[level.translate(_PLAIN) for level in levels]])
    n = len(levels[0])
    foregrounds = _either(means[:n], split.marked.translate(_MARK_LEVEL), split.empty.translate(_GAP_LEVEL))
    backgrounds = _either(means[n:], split.back_marked.translate(_MARK_LEVEL), split.back_gap.translate(_GAP_LEVEL))
    return Blocks(split.shapes, foregrounds, backgrounds)


def rgb_blocks(rows: Sequence[bytes]) -> Blocks:
    """Split the cells of packed rows, by luminance; a color is the mean of its pixels."""
    split = _split(_planes([luminance(row) for row in rows]))
    red, green, blue = split.means([_planes(values) for values in zip(*(channels(row) for row in rows), strict=True)])
    marks = split.marked + split.back_marked
    outside = _either(marks, split.empty + split.back_gap)
    colors = unpack(merge(red, green, blue, marks, outside.translate(_HIGH)))
    n = len(split.shapes)
    return Blocks(split.shapes, colors[:n], colors[n:])


def _planes(rows: Sequence[bytes]) -> list[bytes]:
    """The values of the cells' pixels in reading order, of rows with a byte for each pixel."""
    return [row[column::COLUMNS] for row in rows for column in range(COLUMNS)]


def _either(*planes: bytes) -> bytes:
    return reduce(or_, map(_as_integer, planes)).to_bytes(len(planes[0]), "little")


class _Split(NamedTuple):
    """The pixels of each cell that count for its colors, as planes of 0 and 1, and which colors are not means."""

    front: list[int]
    back: list[int]
    shapes: bytes
    marked: bytes  # the foreground is the color of marked pixels
    empty: bytes  # the foreground is the background of the grid, as are all pixels
    back_marked: bytes
    back_gap: bytes

    def means(self, channels: Iterable[Sequence[bytes]]) -> list[bytes]:
        """The mean values of the foregrounds, then the backgrounds, of each channel; 0 of no pixels."""
        n = len(self.shapes)
        counts = (sum(self.front) | sum(self.back) << 8 * n).to_bytes(2 * n, "little")
        selections = [_as_integer(counts.translate(is_count)) for is_count in _IS_COUNT]
        return [self._means(planes, selections) for planes in channels]

    def _means(self, planes: Sequence[bytes], selections: Sequence[int]) -> bytes:
        n, values = len(self.shapes), list(map(_as_integer, planes))
        sums, behind = (
            sum(value & _whole(bits) for value, bits in zip(values, chosen, strict=True))
            for chosen in (self.front, self.back)
        )
        sums |= behind << 8 * n
        means = 0
        for selected, table in zip(selections, _MEANS, strict=True):
            means |= _as_integer((sums & selected).to_bytes(2 * n, "little").translate(table))
        return means.to_bytes(2 * n, "little")


def _whole(bits: int) -> int:
    """A plane of 0 and 255 of one of 0 and 1."""
    return (bits << 8) - bits


def _split(planes: Sequence[bytes]) -> _Split:
    """Split the pixels of each cell into bright and dark ones, in the middle between its extremes.

    The squared error is about 3% above the least possible in noise. Pixels outside of images and marked ones are groups
    of their own.
    """
    n = len(planes[0])
    ones = _as_integer(b"\1" * n)
    levels = [_as_integer(plane.translate(_PLAIN)) for plane in planes]
    brightest = darkest = levels[0]
    for level in levels[1:]:
        brightest ^= (brightest ^ level) & _whole(_at_least(level, brightest, ones))
        darkest ^= (darkest ^ level) & _whole(_at_least(darkest, level, ones))
    front = [_at_least(2 * level, brightest + darkest, ones) for level in levels]
    flat = reduce(and_, front)  # one color
    back = [bits ^ ones | flat for bits in front]
    shape = [bits & (flat ^ ones) for bits in front]
    marked = empty = back_marked = back_gap = bytes(n)
    if max(map(max, planes)) >= GAP:
        gaps = [_as_integer(plane.translate(_IS_GAP)) for plane in planes]
        marks = [_as_integer(plane.translate(_IS_MARK)) for plane in planes]
        inside = [(gap | mark) ^ ones for gap, mark in zip(gaps, marks, strict=True)]
        has_gap, has_mark, has_image = (reduce(or_, masks) for masks in (gaps, marks, inside))
        mixed = has_gap | has_mark
        # Image pixels are the background of marked pixels, and in front of those outside of images.
        front = [_chosen(mixed, mask & (has_mark ^ ones), bits) for mask, bits in zip(inside, front, strict=True)]
        back = [_chosen(mixed, mask & has_mark, bits) for mask, bits in zip(inside, back, strict=True)]
        shape = [_chosen(mixed, f | m, bits) for f, m, bits in zip(front, marks, shape, strict=True)]
        marked = has_mark.to_bytes(n, "little")
        empty = (has_gap & ((has_mark | has_image) ^ ones)).to_bytes(n, "little")
        back_gap = (has_gap & ((has_mark & has_image) ^ ones)).to_bytes(n, "little")
        back_marked = (has_mark & ((has_image | has_gap) ^ ones)).to_bytes(n, "little")
    shapes = sum(bits << place for place, bits in enumerate(shape)).to_bytes(n, "little")
    return _Split(front, back, shapes, marked, empty, back_marked, back_gap)


def _chosen(condition: int, yes: int, no: int) -> int:
    """The bits of `yes` where `condition` is 1, of `no` elsewhere."""
    return no ^ (no ^ yes) & condition


def _at_least(first: int, second: int, ones: int) -> int:
    """Where the first values are at least the second ones; both are below 128."""
    return first + 128 * ones - second >> 7 & ones
