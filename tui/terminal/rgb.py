"""RGB pixels as 15-bit colours, in any terminal: packed rows, cells of two colours, and palettes."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise, product

from rich.color import Color, ColorSystem

from tui.terminal.cells import (
    GAP,
    MARK,
    MARK_RGB,
    NEAREST,
    QUADRANTS,
    RGB,
    Cell,
    CellPalette,
    CellTuple,
    Codes,
    Computed,
    half,
    quadrant,
    sgr_parameters,
)

# A colour has 5 bits per channel, red first; a packed row has two bytes per pixel, the low one first.
CHANNEL_LEVELS = 32
COLORS = CHANNEL_LEVELS**3
RGB_GAP = COLORS  # background, outside of any image
RGB_MARK = COLORS + 1  # a marked pixel
PIXEL_BYTES = 2

_VALUES = bytes(round(level * 255 / (CHANNEL_LEVELS - 1)) for level in range(CHANNEL_LEVELS))
_NEAREST_LEVEL = bytes(round(value * (CHANNEL_LEVELS - 1) / 255) for value in range(256))
# Contributions of the channels to the high and the low byte.
_RED_HIGH = bytes(level << 2 for level in _NEAREST_LEVEL)
_GREEN_HIGH = bytes(level >> 3 for level in _NEAREST_LEVEL)
_GREEN_LOW = bytes((level & 7) << 5 for level in _NEAREST_LEVEL)
_CUBE = (0, 95, 135, 175, 215, 255)  # channel values of xterm's colours 16 to 231; 232 to 255 are greys
_IN_CUBE = bytes(sum(value > (a + b) // 2 for a, b in pairwise(_CUBE)) for value in range(256))  # the nearest


def pack(pixels: bytes) -> bytes:
    """Pack RGB pixels, three bytes each, as 15-bit colours of the nearest levels."""
    red, green, blue = pixels[::3], pixels[1::3], pixels[2::3]
    packed = bytearray(PIXEL_BYTES * len(red))
    packed[::2] = _either(green.translate(_GREEN_LOW), blue.translate(_NEAREST_LEVEL))
    packed[1::2] = _either(red.translate(_RED_HIGH), green.translate(_GREEN_HIGH))
    return bytes(packed)


def _either(a: bytes, b: bytes) -> bytes:
    """`a | b`, byte by byte."""
    return (int.from_bytes(a, "little") | int.from_bytes(b, "little")).to_bytes(len(a), "little")


def packed(color: int, count: int = 1) -> bytes:
    """A packed row of `count` pixels of one colour."""
    return struct.pack("<H", color) * count


def unpack(row: bytes) -> tuple[int, ...]:
    """The colours of a packed row."""
    return struct.unpack(f"<{len(row) // PIXEL_BYTES}H", row)


def to_rgb(color: int) -> RGB:
    """The 8-bit channel values of a colour."""
    return _VALUES[color >> 10], _VALUES[color >> 5 & 31], _VALUES[color & 31]


@functools.cache
def _luminances() -> bytes:
    """The grey level of each colour (ITU-R BT.601), then of `RGB_GAP` and `RGB_MARK`."""
    red, green, blue = ([weight * value for value in _VALUES] for weight in (0.299, 0.587, 0.114))
    return bytes(NEAREST[round(r + g + b)] for r, g, b in product(red, green, blue)) + bytes([GAP, MARK])


def luminance(colors: Iterable[int]) -> bytes:
    """The grey levels of colours, as `tui.terminal.cells` numbers them."""
    return bytes(map(_luminances().__getitem__, colors))


@functools.lru_cache(1 << 14)
def rgb_quadrant(pixels: tuple[int, int, int, int]) -> Cell:
    """Return 2x2 pixels in reading order as two colours, split as their grey levels are best split."""
    text, foreground, background, _ = quadrant(tuple(luminance(pixels)))
    if foreground == background:
        return half(*[_mean(pixels, foreground)] * 2)
    shape = QUADRANTS.index(text)
    groups: tuple[list[int], list[int]] = [], []
    for bit, pixel in zip((8, 4, 2, 1), pixels, strict=True):
        groups[not shape & bit].append(pixel)
    return Cell(text, _mean(groups[0], foreground), _mean(groups[1], background), QUADRANTS[15 - shape])


def _mean(pixels: Sequence[int], level: int) -> int:
    """The mean of the colours among `pixels`, which have the mean grey `level`."""
    if level in (GAP, MARK):
        return RGB_GAP if level == GAP else RGB_MARK
    colors = [pixel for pixel in pixels if pixel < COLORS]
    count = len(colors)
    if count == 1:
        return colors[0]
    red = (sum([color >> 10 for color in colors]) + count // 2) // count
    green = (sum([color >> 5 & 31 for color in colors]) + count // 2) // count
    return red << 10 | green << 5 | (sum([color & 31 for color in colors]) + count // 2) // count


def xterm_number(color: int) -> int:
    """The nearest colour of a 256-colour terminal, 16 to 255: of its 6x6x6 cube or its 24 greys."""
    red, green, blue = _VALUES[color >> 10], _VALUES[color >> 5 & 31], _VALUES[color & 31]
    grey = min(max((2 * red + 4 * green + 3 * blue - 27) // 90, 0), 23)  # of the mean, weighted as in `_distance`
    r, g, b = _IN_CUBE[red], _IN_CUBE[green], _IN_CUBE[blue]
    level = 8 + 10 * grey
    if _distance(red - level, green - level, blue - level) < _distance(
        red - _CUBE[r], green - _CUBE[g], blue - _CUBE[b]
    ):
        return 232 + grey
    return 16 + 36 * r + 6 * g + b


def _distance(red: int, green: int, blue: int) -> int:
    """The squared distance of colours that differ by these values, weighted by how well the eye sees them."""
    return 2 * red * red + 4 * green * green + 3 * blue * blue


@functools.cache
def _xterm_levels() -> list[int]:
    """The nearest colour of a 256-colour terminal for each colour, all at once as noise has most of them."""
    return [*map(xterm_number, range(COLORS)), RGB_GAP, RGB_MARK]


class RGBPalette(CellPalette):
    """The colours that RGB images have in a terminal; create it with `rgb_palette`, which caches.

    In a terminal with at most 256 colours, levels are the numbers of its colours; `levels` converts.
    """

    gap = RGB_GAP

    def __init__(self, gap: RGB, mark: RGB, system: ColorSystem, *, transparent: bool = False) -> None:
        super().__init__(gap, mark)
        self._system = system
        self._numbers: Sequence[int] | Mapping[int, int]
        self._numbers = _xterm_levels() if system is ColorSystem.EIGHT_BIT else Computed(self._number)
        own = {RGB_GAP: Color.from_rgb(*gap), RGB_MARK: Color.from_rgb(*mark)}
        self.foreground: Computed[int, Color] = Computed(self._color)
        self.background: Computed[int, Color] = Computed(self._color)
        self.foreground.update(own)
        self.background.update(own | ({RGB_GAP: Color.default()} if transparent else {}))

    def levels(self, colors: Sequence[int]) -> Sequence[int]:
        """The levels of colours in this terminal; colours that look the same have the same."""
        return colors if self._system is ColorSystem.TRUECOLOR else tuple(map(self._numbers.__getitem__, colors))

    def cells(self, cells: Sequence[Cell]) -> Sequence[CellTuple]:
        """Cells of colours as cells of this terminal's levels."""
        if self._system is ColorSystem.TRUECOLOR:
            return cells
        numbers = self._numbers
        return [(text, numbers[front], numbers[back], inverse) for text, front, back, inverse in cells]

    def codes(self, system: ColorSystem) -> tuple[Codes, Codes]:
        """Return the SGR parameters of each level, as foreground and as background."""
        if system not in self._codes:
            self._codes[system] = (
                self._codes_of(38, self.foreground, system),
                self._codes_of(48, self.background, system),
            )
        return self._codes[system]

    def _codes_of(self, first: int, colors: Mapping[int, Color], system: ColorSystem) -> Codes:
        """SGR parameters: 38 is the first of a foreground colour, 48 that of a background colour."""
        code = partial(sgr_parameters, system=system, foreground=first == 38)
        if system is self._system is ColorSystem.TRUECOLOR:  # all at once: noise has most of the colours
            rgb = product(_VALUES, repeat=3)
            return [*(f"{first};2;{r};{g};{b}" for r, g, b in rgb), code(colors[RGB_GAP]), code(colors[RGB_MARK])]
        return Computed(lambda level: code(colors[level]))

    def _number(self, color: int) -> int:
        if color >= COLORS:
            return color
        number = Color.from_rgb(*to_rgb(color)).downgrade(self._system).number
        assert number is not None
        return number

    def _color(self, level: int) -> Color:
        return Color.from_rgb(*to_rgb(level)) if self._system is ColorSystem.TRUECOLOR else Color.from_ansi(level)


@functools.cache
def rgb_palette(gap: RGB, system: ColorSystem, *, mark: RGB = MARK_RGB, transparent: bool = False) -> RGBPalette:
    """Return the palette for a background colour and a color system."""
    return RGBPalette(gap, mark, system, transparent=transparent)
