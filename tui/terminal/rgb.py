"""RGB pixels as 15-bit colors, in any terminal: packed rows, cells of two colors, and palettes."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from itertools import pairwise, product
from operator import or_

from rich.color import Color, ColorSystem

from tui.terminal.cells import (
    GAP,
    MARK,
    MARK_RGB,
    NEAREST,
    RGB,
    CellPalette,
    Codes,
    Computed,
    sgr_parameters,
)

# A color has 5 bits per channel, red first; a packed row has two bytes per pixel, the low one first.
CHANNEL_LEVELS = 32
COLORS = CHANNEL_LEVELS**3
RGB_GAP = COLORS  # background, outside of any image
RGB_MARK = COLORS + 1  # a marked pixel
PIXEL_BYTES = 2
CUBE = (0, 95, 135, 175, 215, 255)  # channel values of xterm's colors 16 to 231; 232 to 255 are grays

_VALUES = bytes(round(level * 255 / (CHANNEL_LEVELS - 1)) for level in range(CHANNEL_LEVELS))
_NEAREST_LEVEL = bytes(round(value * (CHANNEL_LEVELS - 1) / 255) for value in range(256))
# Contributions of the channels to the high and the low byte, and the other way round.
_OUTSIDE = RGB_GAP >> 8  # high byte of both colors that are outside of images
_RED_HIGH = bytes((red & 31) << 2 for red in range(256))
_GREEN_HIGH = bytes((green & 31) >> 3 for green in range(256))
_GREEN_LOW = bytes((green & 7) << 5 for green in range(256))
_INSIDE = bytes(255 * (high < _OUTSIDE) for high in range(256))
_RED_OF_HIGH = bytes((high >> 2) * (high < _OUTSIDE) for high in range(256))
_GREEN_OF_HIGH = bytes((high & 3) << 3 for high in range(256))
_GREEN_OF_LOW, _BLUE_OF_LOW = bytes(low >> 5 for low in range(256)), bytes(low & 31 for low in range(256))
_WEIGHTS = [weight * 255 / (CHANNEL_LEVELS - 1) for weight in (0.299, 0.587, 0.114)]
_LUMINANCE_HIGH = bytes(
    round(_WEIGHTS[0] * red + _WEIGHTS[1] * green) for red, green in zip(_RED_OF_HIGH, _GREEN_OF_HIGH, strict=True)
)
_LUMINANCE_LOW = bytes(
    round(_WEIGHTS[1] * green + _WEIGHTS[2] * blue) for green, blue in zip(_GREEN_OF_LOW, _BLUE_OF_LOW, strict=True)
)
_OUTSIDE_LEVELS = bytes((GAP | MARK) * (high == _OUTSIDE) for high in range(256))
_LEVEL_OF_LOW = bytes((GAP, MARK)) + bytes(254)
_INCUBE = bytes(sum(value > (a + b) // 2 for a, b in pairwise(CUBE)) for value in range(256))  # the nearest


def pack(pixels: bytes) -> bytes:
    """Pack RGB pixels, three bytes each, as 15-bit colors of the nearest levels."""
    levels = pixels.translate(_NEAREST_LEVEL)
    return merge(levels[::3], levels[1::3], levels[2::3])


def merge(red: bytes, green: bytes, blue: bytes, low: bytes = b"", high: bytes = b"") -> bytes:
    """A packed row of channel levels; with `low` and `high`, these bits of its bytes are set, too."""
    row = bytearray(PIXEL_BYTES * len(red))
    row[::2] = _either(green.translate(_GREEN_LOW), blue, low)
    row[1::2] = _either(red.translate(_RED_HIGH), green.translate(_GREEN_HIGH), high)
    return bytes(row)


def channels(row: bytes) -> tuple[bytes, bytes, bytes]:
    """The levels of red, green and blue of a packed row; 0 outside of images."""
    low, high = row[::2], row[1::2]
    blue = int.from_bytes(low.translate(_BLUE_OF_LOW), "little")
    blue &= int.from_bytes(high.translate(_INSIDE), "little")
    green = _either(high.translate(_GREEN_OF_HIGH), low.translate(_GREEN_OF_LOW))
    return high.translate(_RED_OF_HIGH), green, blue.to_bytes(len(low), "little")


def _either(*rows: bytes) -> bytes:
    """The bitwise or of rows."""
    return reduce(or_, (int.from_bytes(row, "little") for row in rows)).to_bytes(len(rows[0]), "little")


def packed(color: int, count: int = 1) -> bytes:
    """A packed row of `count` pixels of one color."""
    return struct.pack("<H", color) * count


def unpack(row: bytes) -> tuple[int, ...]:
    """The colors of a packed row."""
    return struct.unpack(f"<{len(row) // PIXEL_BYTES}H", row)


def to_rgb(color: int) -> RGB:
    """The 8-bit channel values of a color."""
    return _VALUES[color >> 10], _VALUES[color >> 5 & 31], _VALUES[color & 31]


def luminance(row: bytes) -> bytes:
    """The gray levels of a packed row (ITU-R BT.601), as `tui.terminal.cells` numbers them."""
    low, high = row[::2], row[1::2]
    size = len(low)
    values = int.from_bytes(low.translate(_LUMINANCE_LOW), "little")
    values += int.from_bytes(high.translate(_LUMINANCE_HIGH), "little")
    levels = values.to_bytes(size, "little").translate(NEAREST)
    if _OUTSIDE not in high:
        return levels
    outside = int.from_bytes(high.translate(_OUTSIDE_LEVELS), "little")
    outside &= int.from_bytes(low.translate(_LEVEL_OF_LOW), "little")
    return _either(levels, outside.to_bytes(size, "little"))


def xterm_number(color: int) -> int:
    """The nearest color of a 256-color terminal, 16 to 255: of its 6x6x6 cube or its 24 grays."""
    red, green, blue = _VALUES[color >> 10], _VALUES[color >> 5 & 31], _VALUES[color & 31]
    gray = min(max((2 * red + 4 * green + 3 * blue - 27) // 90, 0), 23)  # of the mean, weighted as in `_distance`
    r, g, b = _INCUBE[red], _INCUBE[green], _INCUBE[blue]
    level = 8 + 10 * gray
    if _distance(red - level, green - level, blue - level) < _distance(red - CUBE[r], green - CUBE[g], blue - CUBE[b]):
        return 232 + gray
    return 16 + 36 * r + 6 * g + b


def _distance(red: int, green: int, blue: int) -> int:
    """The squared distance of colors whose channels differ by these values, weighted by how well the eye sees them."""
    return 2 * red * red + 4 * green * green + 3 * blue * blue


@functools.cache
def _xterm_levels() -> list[int]:
    """The nearest color of a 256-color terminal for each color, all at once as noise has most of them."""
    return [*map(xterm_number, range(COLORS)), RGB_GAP, RGB_MARK]


class RGBPalette(CellPalette):
    """The colors that RGB images have in a terminal; create it with `rgb_palette`, which caches.

    In a terminal with at most 256 colors, levels are the numbers of its colors; `levels` converts.
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
        """The levels of colors in this terminal; colors that look the same have the same."""
        return colors if self._system is ColorSystem.TRUECOLOR else tuple(map(self._numbers.__getitem__, colors))

    def codes(self, system: ColorSystem) -> tuple[Codes, Codes]:
        """Return the SGR parameters of each level, as foreground and as background."""
        if system not in self._codes:
            self._codes[system] = (
                self._codes_of(38, self.foreground, system),
                self._codes_of(48, self.background, system),
            )
        return self._codes[system]

    def _codes_of(self, first: int, colors: Mapping[int, Color], system: ColorSystem) -> Codes:
        """SGR parameters: 38 is the first of a foreground color, 48 that of a background color."""
        code = partial(sgr_parameters, system=system, foreground=first == 38)
        if system is self._system is ColorSystem.TRUECOLOR:  # all at once: noise has most of the colors
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
    """Return the palette for a background color and a color system."""
    return RGBPalette(gap, mark, system, transparent=transparent)
