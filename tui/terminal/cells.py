"""From grey pixels to cells of text: half blocks, quadrants, shades or ASCII, in as few bytes as a line can be told."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.color import Color, ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

# The 26 greys that a 256-colour terminal has, the brighter ones up to 2 more, so that Rich, which takes the 26 for
# evenly spaced, does not choose their darker neighbours. Sixteen of them are the levels drawn.
TERMINAL_GREYS = (0, *(max(8 + 10 * i, math.ceil(10.2 * (i + 0.5))) for i in range(24)), 255)
LEVELS = 16
GREYS = tuple(TERMINAL_GREYS[round(level * (len(TERMINAL_GREYS) - 1) / (LEVELS - 1))] for level in range(LEVELS))
# From an image's byte to the level of the nearest grey, for ink that is white and for ink that is black.
NEAREST = bytes(min(range(LEVELS), key=lambda level: abs(GREYS[level] - value)) for value in range(256))
INVERTED = bytes(LEVELS - 1 - level for level in NEAREST)
GAP = LEVELS  # the level that stands for "no image here", and
MARK = LEVELS + 1  # the one for a pixel that is pointed at
TINTED = LEVELS + 2  # the first of the levels once more, for pixels that are framed: in amber instead of grey
CODES = TINTED + LEVELS  # of all these
DRAWINGS = ("half", "quadrant", "shade", "ascii")
RAMPS = {"shade": " ░▒▓█", "ascii": " .:-=+*#%@"}
# By which of upper left, upper right, lower left and lower right are in front: 8, 4, 2, 1.
QUADRANTS = " ▗▖▄▝▐▞▟▘▚▌▙▀▜▛█"
RGB = tuple[int, int, int]


class Cell(NamedTuple):
    """A character and its two levels, and the character that shows the same with the two exchanged."""

    text: str
    front: int
    behind: int
    exchanged: str


def half(upper: int, lower: int) -> Cell:
    """The cell of two pixels, one above the other."""
    return Cell(" ", upper, upper, "█") if upper == lower else Cell("▀", upper, lower, "▄")


@functools.lru_cache(1 << 14)
def quadrant(pixels: tuple[int, int, int, int]) -> Cell:
    """The cell nearest to two times two pixels, in reading order: of two levels, the means of what they stand for.

    What is no image, or marked, keeps its colour.
    """
    if MARK in pixels:
        others = [pixel for pixel in pixels if pixel < GAP]
        behind = round(sum(others) / len(others)) if others else MARK if GAP not in pixels else GAP
        return _split(pixels, [pixel == MARK for pixel in pixels], MARK, behind)
    there = [pixel for pixel in pixels if pixel != GAP]
    if not there:
        return half(GAP, GAP)
    if len(there) < len(pixels):
        return _split(pixels, [pixel != GAP for pixel in pixels], round(sum(there) / len(there)), GAP)
    if min(pixels) == max(pixels):
        return half(pixels[0], pixels[0])
    best, error = half(0, 0), math.inf
    for least in sorted(set(pixels))[1:]:
        bright = [pixel for pixel in pixels if pixel >= least]
        dark = [pixel for pixel in pixels if pixel < least]
        front, behind = round(sum(bright) / len(bright)), round(sum(dark) / len(dark))
        found = sum((pixel - (front if pixel >= least else behind)) ** 2 for pixel in pixels)
        if found < error:
            best, error = _split(pixels, [pixel >= least for pixel in pixels], front, behind), found
    return best


def _split(pixels: Sequence[int], in_front: Sequence[bool], front: int, behind: int) -> Cell:
    if front == behind:
        return half(front, front)
    shape = sum(bit for bit, inside in zip((8, 4, 2, 1), in_front, strict=True) if inside)
    return Cell(QUADRANTS[shape], front, behind, QUADRANTS[15 - shape])


def amber(grey: int) -> RGB:
    """The colour of a grey in a frame."""
    return 95 + 160 * grey // 255, 48 + 167 * grey // 255, 95 * grey // 255


class _Segments(dict[Cell, Segment]):
    """Makes the segment of a cell when it is first asked for."""

    def __init__(self, front: Sequence[Color], behind: Sequence[Color]) -> None:
        super().__init__()
        self._front, self._behind = front, behind

    def __missing__(self, cell: Cell) -> Segment:
        style = Style(color=self._front[cell.front], bgcolor=self._behind[cell.behind])
        segment = self[cell] = Segment(cell.text, style)
        return segment


class CellPalette:
    """The levels as colours: `back` where no image is, and `mark`. `palette` keeps one for each pair.

    `through` leaves the terminal's own background where no image is, in whole cells; a character cannot have that
    colour in front, so half a cell has `back`.
    """

    def __init__(self, back: RGB, mark: RGB, *, through: bool = False) -> None:
        self.front = [
            Color.from_rgb(*rgb) for rgb in (*((grey,) * 3 for grey in GREYS), back, mark, *map(amber, GREYS))
        ]
        self.behind = list(self.front)
        if through:
            self.behind[GAP] = Color.default()
        self.segments = _Segments(self.front, self.behind)  # each cell as Rich has it
        self._codes: dict[ColorSystem, tuple[list[str], list[str]]] = {}

    def codes(self, system: ColorSystem) -> tuple[list[str], list[str]]:
        """What comes between `ESC [` and `m` for each level, in front and behind."""
        if system not in self._codes:
            front = [";".join(color.downgrade(system).get_ansi_codes()) for color in self.front]
            behind = [";".join(color.downgrade(system).get_ansi_codes(foreground=False)) for color in self.behind]
            self._codes[system] = front, behind
        return self._codes[system]


@functools.cache
def palette(back: RGB, mark: RGB = (255, 175, 95), *, through: bool = False) -> CellPalette:
    """The palette on a background."""
    return CellPalette(back, mark, through=through)


class CellStrip(Strip):
    """A line of cells, told to the terminal without naming again a colour that is still set.

    Of the two ways to draw a cell, a character or its counterpart with the colours exchanged, the one is taken that
    needs fewer new colours. That takes two thirds of the bytes that a style for each cell takes. What Textual has in a
    strip besides, a segment for each cell and seven caches, is made when it is first asked for: a line that is drawn
    whole and once needs none of it.
    """

    __slots__ = ("_cells", "_palette", "_told")

    def __init__(self, cells: Sequence[Cell], colors: CellPalette) -> None:
        self._cells = cells
        self._cell_length = len(cells)
        self._palette = colors
        self._told: tuple[ColorSystem, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """What is not there yet of a strip."""
        if name not in Strip.__slots__:
            raise AttributeError(f"a CellStrip has no {name}")
        super().__init__(map(self._palette.segments.__getitem__, self._cells), len(self._cells))
        return getattr(self, name)

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        """The strip in parts that end at `cuts`; itself where that is the whole."""
        ends = list(cuts)
        return [self] if ends == [len(self._cells)] else super().divide(ends)

    def render(self, console: Console) -> str:
        """The line as it is sent to `console`'s terminal."""
        system = console._color_system or ColorSystem.TRUECOLOR  # as Strip has it
        if self._told is None or self._told[0] is not system:
            self._told = system, tell(self._cells, *self._palette.codes(system))
        return self._told[1]


def tell(cells: Iterable[Cell], front_codes: Sequence[str], back_codes: Sequence[str]) -> str:
    """The cells as text with escape sequences, ending in a reset."""
    said: list[str] = []
    say = said.append
    front = behind = -1
    for text, one, other, exchanged in cells:
        if one == other:
            if one == behind:
                say(text)
            elif one == front and one != GAP:  # whose colour in front may be another
                say(exchanged)
            else:
                behind = one
                say(f"\x1b[{back_codes[one]}m{text}")
        elif one == front:
            if other != behind:
                behind = other
                say(f"\x1b[{back_codes[other]}m")
            say(text)
        elif other == front:
            if one != behind:
                behind = one
                say(f"\x1b[{back_codes[one]}m")
            say(exchanged)
        elif other == behind:
            front = one
            say(f"\x1b[{front_codes[one]}m{text}")
        elif one == behind:
            front = other
            say(f"\x1b[{front_codes[other]}m{exchanged}")
        else:
            front, behind = one, other
            say(f"\x1b[{front_codes[one]};{back_codes[other]}m{text}")
    say("\x1b[0m")
    return "".join(said)


def ramp(drawing: str, upper: bytes, lower: bytes, *, dark: bool) -> str:
    """A line without colours: each character as dense as its two pixels are bright, or dark on a light background.

    What is framed stands between brackets, which take the place of its first and last character.
    """
    letters = RAMPS[drawing]
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
            line.append(letters[_density(total, len(letters), dark)])
    return "".join(line)


def _density(total: int, count: int, dark: bool) -> int:
    most = 2 * (LEVELS - 1)
    return round((total if dark else most - total) / most * (count - 1))
