"""Converts gray pixels to text cells (half blocks, shades or ASCII), encoded in few bytes per line.

`tui.terminal.rgb` does the same for RGB pixels, and `tui.terminal.blocks` has finer cells for both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Generic, NamedTuple, TypeVar

from rich.color import Color, ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from core.system.terminal import RAMPS
from tui.terminal.color_maps import GREY, colors_of
from tui.terminal.internals import color_system, set_cell_length

# The 26 grays of a 256-color terminal. The brighter ones are up to 2 higher, because Rich assumes evenly spaced grays
# and would choose the next darker one. Images are drawn in 16 of them.
TERMINAL_GRAYS = (0, *(max(8 + 10 * i, math.ceil(10.2 * (i + 0.5))) for i in range(24)), 255)
LEVELS = 16
GRAYS = tuple(TERMINAL_GRAYS[round(level * (len(TERMINAL_GRAYS) - 1) / (LEVELS - 1))] for level in range(LEVELS))
# Level of the nearest gray for each pixel value: white on black, and black on white.
NEAREST = bytes(min(range(LEVELS), key=lambda level: abs(GRAYS[level] - value)) for value in range(256))
INVERTED = bytes(LEVELS - 1 - level for level in NEAREST)
GAP = LEVELS  # background, outside of any image
MARK = LEVELS + 1  # a marked pixel
TINTED = LEVELS + 2  # first of 16 levels for framed pixels, in amber instead of gray
CODES = TINTED + LEVELS  # number of levels in total
DRAWINGS = ("half", "quadrant", "sextant", "octant", "kitty", "shade", "ascii")
RGB = tuple[int, int, int]
MARK_RGB = (255, 175, 95)
Codes = Sequence[str] | Mapping[int, str]  # SGR parameters by level
CellTuple = tuple[str, int, int, str]  # the fields of a `Cell`
KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Cell(NamedTuple):
    """A character with foreground and background levels; `inverse` looks the same with the two swapped."""

    text: str
    foreground: int
    background: int
    inverse: str


class Computed(dict[KeyT, ValueT], Generic[KeyT, ValueT]):
    """Computes the value of a key on first access; forgets all values when it holds `LIMIT` of them."""

    LIMIT = 1 << 16

    def __init__(self, compute: Callable[[KeyT], ValueT]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: KeyT) -> ValueT:
        if len(self) >= self.LIMIT:
            self.clear()
        value = self[key] = self._compute(key)
        return value


def half(upper: int, lower: int) -> Cell:
    """Return the cell for two pixels, one above the other."""
    return Cell(" ", upper, upper, "█") if upper == lower else Cell("▀", upper, lower, "▄")


def halves(upper: Iterable[int], lower: Iterable[int]) -> list[CellTuple]:
    """Return a line of half blocks; a cell of two equal levels is drawn as `half` says."""
    return list(zip(repeat("▀"), upper, lower, repeat("▄")))  # two are endless


def amber(gray: int) -> RGB:
    """Return the color of a framed pixel."""
    return 95 + 160 * gray // 255, 48 + 167 * gray // 255, 95 * gray // 255


class CellPalette:
    """The color of each level; create it with `palette`, which caches. Gray levels have the colors of a map.

    With `transparent`, empty cells keep the terminal's default background. That color cannot be a foreground, so a
    cell that is half empty uses `gap`.

    Attributes:
        gap: Level of the background.
        foreground: Foreground color of each level.
        background: Background color of each level.
        segments: Segment of each cell.
    """

    gap = GAP

    def __init__(self, gap: RGB, mark: RGB, *, transparent: bool = False, color_map: str = GREY) -> None:
        levels = enumerate([*(colors_of(color_map)[gray] for gray in GRAYS), gap, mark, *map(amber, GRAYS)])
        self.foreground = {level: Color.from_rgb(*rgb) for level, rgb in levels}
        self.background = self.foreground | ({GAP: Color.default()} if transparent else {})
        self.segments = Computed(self._segment)
        self._codes: dict[ColorSystem, tuple[Codes, Codes]] = {}

    def codes(self, system: ColorSystem) -> tuple[Codes, Codes]:
        """Return the SGR parameters of each level, as foreground and as background."""
        if system not in self._codes:
            foreground = [sgr_parameters(color, system) for color in self.foreground.values()]
            background = [sgr_parameters(color, system, foreground=False) for color in self.background.values()]
            self._codes[system] = foreground, background
        return self._codes[system]

    def _segment(self, cell: CellTuple) -> Segment:
        text, foreground, background, _ = cell
        style = Style(color=self.foreground[foreground], bgcolor=self.background[background])
        return Segment(" " if foreground == background else text, style)


def sgr_parameters(color: Color, system: ColorSystem, *, foreground: bool = True) -> str:
    """The parameters of the escape sequence that sets a color."""
    return ";".join(color.downgrade(system).get_ansi_codes(foreground=foreground))


@functools.cache
def palette(gap: RGB, mark: RGB = MARK_RGB, *, transparent: bool = False, color_map: str = GREY) -> CellPalette:
    """Return the palette for a background color and a color map."""
    return CellPalette(gap, mark, transparent=transparent, color_map=color_map)


class CellStrip(Strip):
    """A line of cells, rendered with as few color changes as possible.

    A cell can be drawn as a character or as its inverse with the colors swapped; the one that needs fewer color
    changes is used. That takes two thirds of the bytes of one style per cell. The segments and caches of `Strip` are
    created on first access: a line that is drawn whole and once needs none of them.
    """

    __slots__ = ("_cells", "_palette", "_rendered")

    def __init__(self, cells: Sequence[CellTuple], colors: CellPalette) -> None:
        self._cells = cells
        set_cell_length(self, len(cells))
        self._palette = colors
        self._rendered: tuple[ColorSystem, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """Initialize the base class on first access to one of its attributes."""
        if name not in Strip.__slots__:
            raise AttributeError(f"a CellStrip has no {name}")
        super().__init__(map(self._palette.segments.__getitem__, self._cells), len(self._cells))
        return getattr(self, name)

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        """Divide the strip at `cuts`; returns the strip itself if nothing is cut."""
        ends = list(cuts)
        return [self] if ends == [len(self._cells)] else super().divide(ends)

    def render(self, console: Console) -> str:
        """Render the line with the escape sequences of the console's color system."""
        system = color_system(console)
        if self._rendered is None or self._rendered[0] is not system:
            self._rendered = system, encode_cells(self._cells, *self._palette.codes(system), self._palette.gap)
        return self._rendered[1]


def encode_cells(cells: Iterable[CellTuple], foreground_codes: Codes, background_codes: Codes, gap: int) -> str:
    """Return the cells as text with escape sequences, ending in a reset; a cell of one color is a space or a block."""
    output: list[str] = []
    append = output.append
    foreground = background = -1  # levels that are set
    for text, front, back, inverse in cells:
        if front == back:
            if front == background:
                append(" ")
            elif front == foreground and front != gap:  # as a foreground, the gap may have another color
                append("█")
            else:
                background = front
                append(f"\x1b[{background_codes[front]}m ")
        elif front == foreground:
            if back != background:
                background = back
                append(f"\x1b[{background_codes[back]}m")
            append(text)
        elif back == foreground:
            if front != background:
                background = front
                append(f"\x1b[{background_codes[front]}m")
            append(inverse)
        elif back == background:
            foreground = front
            append(f"\x1b[{foreground_codes[front]}m{text}")
        elif front == background:
            foreground = back
            append(f"\x1b[{foreground_codes[back]}m{inverse}")
        else:
            foreground, background = front, back
            append(f"\x1b[{foreground_codes[front]};{background_codes[back]}m{text}")
    append("\x1b[0m")
    return "".join(output)


def ramp(drawing: str, upper: bytes, lower: bytes, *, dark: bool) -> str:
    """Render a line without colors: denser characters for brighter pixels, or for darker ones on a light background.

    Brackets replace the first and last character of a framed part.
    """
    characters = RAMPS[drawing]
    line = []
    framed = [max(pair) >= TINTED for pair in zip(upper, lower, strict=True)]
    for at, pair in enumerate(zip(upper, lower, strict=True)):
        if framed[at] and not (at and framed[at - 1]):
            line.append("[")
        elif framed[at] and framed[at + 1 : at + 2] != [True]:
            line.append("]")
        elif MARK in pair:
            line.append("X")
        elif GAP in pair:
            line.append(" ")
        else:
            total = sum(level - TINTED if level >= TINTED else level for level in pair)
            line.append(characters[_density(total, len(characters), dark)])
    return "".join(line)


def _density(total: int, count: int, dark: bool) -> int:
    maximum = 2 * (LEVELS - 1)
    return round((total if dark else maximum - total) / maximum * (count - 1))
