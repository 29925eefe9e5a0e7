"""Draws the plane as pixels, for exported images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from core.config.plane import EXTENT
from core.engine.protocol import Array
from tui.lab.plane_canvas import ARROW_COLOR, plane_colors
from tui.lab.plane_raster import RGB, Points, Trail, density_levels, trail_lines

SIDE = 280  # pixels
SCALE = SIDE / (2 * EXTENT)  # pixels per unit of the plane
DOT = 2  # pixels of a side of a point
ARROWS = 14  # in a row
ARROW = 0.4  # half the length of the longest arrow, in units of their spacing
HEAD = 0.45  # length of the lines of an arrow's head relative to the arrow
HEAD_ANGLE = 2.6  # radians between the arrow and a line of its head


class PlanePicture:
    """A picture of the square [-EXTENT, EXTENT], in the colors of `plane_canvas`.

    Args:
        variables: The colors of the theme.
        background: The background.
    """

    def __init__(self, variables: Mapping[str, str], background: RGB) -> None:
        self._colors = [bytes(color) for color in plane_colors(variables, background)]
        self._pixels = bytearray(bytes(background) * SIDE * SIDE)

    @property
    def pixels(self) -> bytes:
        """RGB, (SIDE, SIDE, 3) uint8."""
        return bytes(self._pixels)

    def draw(
        self,
        points: Points,
        density: Array | None = None,
        field: Array | None = None,
        trails: Sequence[Trail] = (),
    ) -> PlanePicture:
        """Draw what `PlaneCanvas.show` draws."""
        if density is not None:
            self._pixels[:] = b"".join(map(self._colors.__getitem__, density_levels(density, SIDE)))
        if field is not None:
            self._draw_field(field)
        for trail in trails:
            for start, end, color in trail_lines(trail, EXTENT, SCALE):
                self._draw_line(start, end, color)
        values = iter(points.values)
        for x, y, color in zip(values, values, points.colors, strict=True):
            if abs(x) < EXTENT and abs(y) < EXTENT:
                left, top = int((x + EXTENT) * SCALE), int((EXTENT - y) * SCALE)
                for column in range(left, left + DOT):
                    for row in range(top, top + DOT):
                        self._set(column, row, color)
        return self

    def _draw_field(self, field: Array) -> None:
        rows, columns, _ = field.shape
        count = min(ARROWS, rows, columns)
        spacing = SIDE / count
        found = []
        for row in range(count):
            for column in range(count):
                at = 2 * ((2 * row + 1) * rows // (2 * count) * columns + (2 * column + 1) * columns // (2 * count))
                x, y = field.values[at], field.values[at + 1]
                if 0 < math.hypot(x, y) < math.inf:
                    found.append(((column + 0.5) * spacing, (row + 0.5) * spacing, x, -y))
        longest = max((math.hypot(x, y) for *_, x, y in found), default=1.0)
        for left, top, x, y in found:
            length = ARROW * spacing * math.sqrt(math.hypot(x, y) / longest)  # so that short ones have a direction too
            angle = math.atan2(y, x)
            end = left + length * math.cos(angle), top + length * math.sin(angle)
            self._draw_line((2 * left - end[0], 2 * top - end[1]), end, ARROW_COLOR)
            for turn in (HEAD_ANGLE, -HEAD_ANGLE):
                tip = [HEAD * 2 * length * at for at in (math.cos(angle + turn), math.sin(angle + turn))]
                self._draw_line(end, (end[0] + tip[0], end[1] + tip[1]), ARROW_COLOR)

    def _draw_line(self, start: tuple[float, float], end: tuple[float, float], color: int) -> None:
        steps = max(1, *(math.ceil(abs(b - a)) for a, b in zip(start, end, strict=True)))
        for step in range(steps + 1):
            column, row = (round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))
            self._set(column, row, color)

    def _set(self, column: int, row: int, color: int) -> None:
        if 0 <= column < SIDE and 0 <= row < SIDE:
            at = 3 * (row * SIDE + column)
            self._pixels[at : at + 3] = self._colors[color]
