"""Draws points of the plane as braille dots, over a density and the arrows of a vector field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from core.engine.protocol import Array
from tui.themes import theme_color

RGB = tuple[int, int, int]
BRAILLE = 0x2800
# Bit of each dot of a cell, by row from the top and column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ARROWS = "→↗↑↖←↙↓↘"  # from x to the right, counterclockwise
LEVELS = 16  # of the density
DENSEST = 0.55  # how much of the foreground color the highest density has
ARROW_COLOR = "plot-axes"


class Points(NamedTuple):
    """Points with one color. Later ones are drawn over earlier ones."""

    values: Sequence[float]  # x, y, x, y, ...; x points to the right and y up
    color: str  # a variable of the theme


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


class PlaneCanvas(Widget):
    """Displays the square [-extent, extent] of the plane."""

    DEFAULT_CSS = """
    PlaneCanvas { width: 1fr; height: 1fr; }
    """

    def __init__(self, extent: float = 1.5, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.extent = extent
        self._points: Sequence[Points] = ()
        self._density: Array | None = None
        self._field: Array | None = None
        self._strips: list[Strip] | None = None

    @property
    def cells(self) -> tuple[int, int]:
        """Columns and lines of the square: the size of a density map with a value for each cell."""
        shown = square(*self.size)
        return shown.columns, shown.lines

    def show(self, points: Sequence[Points], density: Array | None = None, field: Array | None = None) -> None:
        """Draw a picture.

        Args:
            points: The points of each color.
            density: (rows, columns), the top row first; the background of the cells.
            field: (rows, columns, 2), vectors whose directions are drawn in cells without points.
        """
        self._points, self._density, self._field, self._strips = points, density, field, None
        self.refresh()

    def notify_style_update(self) -> None:
        self._strips = None
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        if self._strips is None or len(self._strips) != self.size.height:
            self._strips = self._draw()
        strip = self._strips[y]
        return strip if strip.cell_length == self.size.width else strip.adjust_cell_length(self.size.width)

    def on_resize(self) -> None:
        self._strips = None

    def _draw(self) -> list[Strip]:
        width, height = self.size
        shown = square(width, height)
        variables = self.app.theme_variables
        ground = self.background_colors[1].rgb
        bits, colors = self._dots(shown)
        texts = [chr(BRAILLE + value) if value else " " for value in bits]
        named = [theme_color(variables, points.color).rgb for points in self._points]
        fronts: list[RGB | None] = [named[color - 1] if color else None for color in colors]
        for at, sign in self._arrows(shown):
            if not bits[at]:
                texts[at], fronts[at] = sign, theme_color(variables, ARROW_COLOR).rgb
        backs = self._shades(shown, ground, theme_color(variables, "foreground").rgb)
        blank = Strip([Segment(" " * width, _style(None, ground))], width)
        margin, rest = shown.left, width - shown.left - shown.columns
        strips = [blank] * shown.top
        for line in range(shown.lines):
            part = slice(line * shown.columns, (line + 1) * shown.columns)
            segments = [Segment(" " * margin, _style(None, ground))] if margin else []
            cells = zip(texts[part], fronts[part], backs[part], strict=True)
            for (front, back), run in groupby(cells, key=lambda cell: cell[1:]):
                segments.append(Segment("".join(cell[0] for cell in run), _style(front, back)))
            if rest:
                segments.append(Segment(" " * rest, _style(None, ground)))
            strips.append(Strip(segments, width))
        return strips + [blank] * (height - len(strips))

    def _dots(self, shown: Square) -> tuple[bytearray, bytearray]:
        """The dots of each cell, and the number of its color from 1, 0 for none."""
        columns, extent = shown.columns, self.extent
        bits, colors = bytearray(columns * shown.lines), bytearray(columns * shown.lines)
        scale = columns / extent  # dots per unit
        for color, (values, _) in enumerate(self._points, start=1):
            for x, y in zip(values[::2], values[1::2], strict=True):
                if -extent < x < extent and -extent < y < extent:
                    across, down = int((x + extent) * scale), int((extent - y) * scale)
                    at = (down >> 2) * columns + (across >> 1)
                    bits[at] |= DOTS[down & 3][across & 1]
                    colors[at] = color
        return bits, colors

    def _arrows(self, shown: Square) -> list[tuple[int, str]]:
        """The cells at the centres of the field's vectors, and the arrow in each."""
        if self._field is None or not shown.lines:
            return []
        rows, columns, _ = self._field.shape
        values, arrows = self._field.values, []
        for index in range(rows * columns):
            row, column = divmod(index, columns)
            x, y = values[2 * index], values[2 * index + 1]
            at = int((row + 0.5) / rows * shown.lines) * shown.columns + int((column + 0.5) / columns * shown.columns)
            arrows.append((at, ARROWS[round(math.atan2(y, x) / (math.pi / 4)) % 8]))
        return arrows

    def _shades(self, shown: Square, ground: RGB, foreground: RGB) -> list[RGB]:
        """The background of each cell."""
        count, density = shown.columns * shown.lines, self._density
        if density is None or not count or not density.max_abs:
            return [ground] * count
        mixed = [_mix(ground, foreground, DENSEST * level / (LEVELS - 1)) for level in range(LEVELS)]
        scale = (LEVELS - 1) / density.max_abs
        shades = [mixed[int(value * scale + 0.5)] for value in density.values]
        rows, columns = density.shape
        if (columns, rows) == (shown.columns, shown.lines):
            return shades
        return [
            shades[line * rows // shown.lines * columns + column * columns // shown.columns]
            for line in range(shown.lines)
            for column in range(shown.columns)
        ]


def _mix(first: RGB, second: RGB, amount: float) -> RGB:
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue


@lru_cache(maxsize=4096)
def _style(front: RGB | None, back: RGB) -> Style:
    return Style(color=None if front is None else Color.from_rgb(*front), bgcolor=Color.from_rgb(*back))
