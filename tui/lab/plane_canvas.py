"""Draws points and trails of the plane as braille dots, over a density and the arrows of a vector field."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from core.config.plane import EXTENT
from core.engine.protocol import Array
from core.system.terminal import RAMPS
from tui.lab.plane_raster import (
    BRAILLE,
    LEVELS,
    RGB,
    Dots,
    Points,
    Square,
    Trail,
    arrows,
    density_levels,
    mixed,
    square,
)
from tui.terminal.internals import color_system
from tui.themes import theme_color
from tui.widgets.curve_plot import RUN_COLORS

TINT = "plot-run-6"  # color of the density
NEUTRAL = "plot-smoothed"  # color of arrows, and of points of no class
# Opacities of colors over the background.
DENSEST = 0.42  # of the tint, at the highest density
DARKER = 0.5  # of the second use of a class color
TRAIL, FADED = 0.52, 0.28  # of the newer and the older half of a trail
ARROW_SHADES = (0.3, 0.45, 0.62)  # of arrows, from short to long
MAX_CLASSES = 2 * len(RUN_COLORS)
# Numbers of colors: the levels of the density, arrows, points of no class, and three for each class.
_ARROW = LEVELS
_NEUTRAL = _ARROW + len(ARROW_SHADES)
ARROW_COLOR = _NEUTRAL - 1  # of the longest arrows
_SHADES = 3  # of each class: points, and both halves of trails


def class_color(label: int, shade: int = 0) -> int:
    """The number of the color of a class; -1 is no class.

    Args:
        label: The class.
        shade: 0 for points, 1 for trails, 2 for their older half.
    """
    return _NEUTRAL + _SHADES * (label % MAX_CLASSES + 1 if label >= 0 else 0) + shade


def class_style(label: int) -> str:
    """The color of a class as a style of `Content`."""
    place = label % MAX_CLASSES
    return f"${RUN_COLORS[place % len(RUN_COLORS)]}" + ("" if place < len(RUN_COLORS) else f" {DARKER:.0%}")


def plane_colors(variables: Mapping[str, str], background: RGB, *, reduced: bool = False) -> list[RGB]:
    """The colors by their numbers.

    Args:
        variables: The colors of the theme.
        background: The background.
        reduced: Whether there are 256 colors. Densities are gray then, since these have no such dark blues.
    """
    foreground, tint = (theme_color(variables, name).rgb for name in (NEUTRAL, TINT))
    if reduced:
        tint = (round(sum(tint) / 3),) * 3
    colors = [mixed(background, tint, DENSEST * level / (LEVELS - 1)) for level in range(LEVELS)]
    colors += [mixed(background, foreground, shade) for shade in ARROW_SHADES]
    classes = [theme_color(variables, name).rgb for name in RUN_COLORS]
    for color in (foreground, *classes, *(mixed(background, color, DARKER) for color in classes)):
        colors += [color, mixed(background, color, TRAIL), mixed(background, color, FADED)]
    return colors


class PlaneCanvas(Widget):
    """Displays the square [-extent, extent] of the plane; borders and padding are not supported.

    Args:
        extent: Half the side of the square, at most `EXTENT`.
    """

    DEFAULT_CSS = """
    PlaneCanvas { width: 1fr; height: 1fr; }
    """

    def __init__(self, extent: float = EXTENT, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.extent = extent
        self._points = Points()
        self._trails: Sequence[Trail] = ()
        self._density: Array | None = None
        self._field: Array | None = None
        self._strips: list[Strip] | None = None

    def show(
        self,
        points: Points,
        density: Array | None = None,
        field: Array | None = None,
        trails: Sequence[Trail] = (),
    ) -> None:
        """Draw a picture.

        Args:
            points: The points, over the trails.
            density: (rows, columns) of the square [-EXTENT, EXTENT], the top row first; behind everything else, with
                two pixels in each cell.
            field: (rows, columns, 2), the top row first: vectors, drawn as arrows in cells without dots.
            trails: Lines behind the points.
        """
        self._points, self._trails, self._density, self._field = points, trails, density, field
        self._redraw()

    def on_mount(self) -> None:
        for name in ("drawing", "best_drawing"):
            if hasattr(self.app, name):
                self.watch(self.app, name, self._redraw, init=False)

    def _redraw(self) -> None:
        self._strips = None
        self.refresh()

    def notify_style_update(self) -> None:
        self._strips = None
        self.__dict__.pop("_palette", None)
        super().notify_style_update()

    def on_resize(self) -> None:
        self._strips = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the lines without the base class's passes for borders, tints and ANSI colors."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        if self._strips is None or len(self._strips) != self.size.height:
            self._strips = self._draw()
        return self._strips[y].adjust_cell_length(self.size.width)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        shown = square(width, height)
        texts, codes = self._cells(shown)
        blank = self._segment(" " * width, 0)
        margin, rest = (self._segment(" " * n, 0) for n in (shown.left, width - shown.left - shown.columns))
        strips = [Strip([blank], width)] * shown.top
        for line in range(shown.lines):
            first = line * shown.columns
            segments = [margin] if margin.text else []
            for code, run in groupby(codes[first : (line + 1) * shown.columns]):
                last = first + len(list(run))
                segments.append(self._segment("".join(texts[first:last]), code))
                first = last
            if rest.text:
                segments.append(rest)
            strips.append(Strip(segments, width))
        return strips + [Strip([blank], width)] * (height - len(strips))

    def _cells(self, shown: Square) -> tuple[list[str], list[int]]:
        """The characters of the square, and their colors: 256 times the foreground, plus the background."""
        columns, lines = shown.columns, shown.lines
        halves, shaded = self._shading
        levels = density_levels(self._density if shaded else None, columns, self.extent / EXTENT)
        texts, codes, backs = list[str](), list[int](), list[int]()
        for line in range(lines):
            upper, lower = (levels[row * columns : (row + 1) * columns] for row in (2 * line, 2 * line + 1))
            backs += [(a + b) // 2 for a, b in zip(upper, lower, strict=True)]
            if halves:
                texts += [" " if a == b else "▀" for a, b in zip(upper, lower, strict=True)]
                codes += [a << 8 | b for a, b in zip(upper, lower, strict=True)]
        if not halves:
            texts, codes = [" "] * len(backs), [back << 8 | back for back in backs]
        for arrow in arrows(self._field, lines):
            texts[arrow.cell] = arrow.text
            shade = min(len(ARROW_SHADES) - 1, int(arrow.strength * len(ARROW_SHADES)))
            codes[arrow.cell] = _ARROW + shade << 8 | backs[arrow.cell]
        dots = Dots(lines, self.extent)
        for trail in self._trails:
            dots.draw_trail(trail)
        dots.draw_points(self._points)
        for at, bits in enumerate(dots.bits):
            if bits:
                texts[at], codes[at] = chr(BRAILLE + bits), dots.colors[at] << 8 | backs[at]
        return texts, codes

    @property
    def _shading(self) -> tuple[bool, bool]:
        """Whether half blocks can be used, and whether the density is drawn at all: it is not without colors."""
        if self.app.no_color:
            return False, False
        drawing = getattr(self.app, "drawing", "auto")
        if drawing == "auto":
            drawing = getattr(self.app, "best_drawing", "half")
        return drawing not in RAMPS, drawing != "shade"

    def _segment(self, text: str, code: int) -> Segment:
        front, back = divmod(code, 256)
        colors, transparent = self._palette
        behind = None if transparent and not back else colors[back]
        return Segment(text, _style(colors[front], behind))

    @functools.cached_property
    def _palette(self) -> tuple[list[RGB], bool]:
        """The colors by their numbers, and whether the background is the terminal's own; until the theme changes."""
        background = self.background_colors[1]
        transparent = background.ansi is not None
        rgb = background.rgb
        if transparent:
            rgb = (0, 0, 0) if self.app.current_theme.dark else (255, 255, 255)
        reduced = color_system(self.app.console) is not ColorSystem.TRUECOLOR
        return plane_colors(self.app.theme_variables, rgb, reduced=reduced), transparent


@functools.lru_cache(maxsize=4096)
def _style(front: RGB, back: RGB | None) -> Style:
    background = Color.default() if back is None else Color.from_rgb(*back)
    return Style(color=Color.from_rgb(*front), bgcolor=background)
