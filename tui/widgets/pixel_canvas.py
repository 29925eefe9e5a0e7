"""Rows of gray or RGB pixels, drawn in character cells or as images of the terminal."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

from rich.color import ColorSystem
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from core.system.terminal import RAMPS
from tui.terminal.blocks import gray_blocks, rgb_blocks
from tui.terminal.cells import (
    GAP,
    INVERTED,
    MARK_RGB,
    NEAREST,
    RGB,
    CellPalette,
    CellStrip,
    halves,
    palette,
    ramp,
)
from tui.terminal.color_maps import GREY
from tui.terminal.contrast import nearest
from tui.terminal.internals import color_system
from tui.terminal.kitty import FINE, FINE_INVERTED, MAX_CELLS, gray_colors
from tui.terminal.placed_images import Pixels, PlacedImages
from tui.terminal.rgb import RGB_GAP, RGBPalette, luminance, pack, packed, rgb_palette, unpack
from tui.widgets.grid_layout import HALF_BLOCKS

# Pixels in a cell, across and down, of drawings below full size.
DENSITIES = {"quadrant": (2, 2), "sextant": (2, 3), "octant": (2, 4), "kitty": (4, 8)}


class PixelCanvas(Widget):
    """Draws the rows of pixels that a subclass returns, and lines of text between them; posts no messages.

    Gray images of characters are inverted on a light theme, others are not. Borders and padding are not supported; of
    the alignments, only `content-align-vertical: top` is.

    Attributes:
        characters: Whether gray images are light characters on black, not photographs; set it before the images.
        always_grey: Whether the app's color map is not used, as for numbers that are no image.
        drawing: One of `tui.terminal.cells.DRAWINGS`, or "auto": half blocks at full size, below it what the app's
            `best_drawing` says (quadrants by default), shades without colors. Above full size, quadrants, sextants and
            octants are half blocks. "kitty" is always pixels, if the app has `images`, an `ImageStore`.
    """

    PLACES_IMAGES: ClassVar[bool] = True  # whether the drawing "kitty" is possible
    COMPONENT_CLASSES: ClassVar[set[str]] = {"pixel-canvas--text", "pixel-canvas--warning"}
    DEFAULT_CSS = """
    PixelCanvas { width: 1fr; height: 1fr; content-align-vertical: middle; }
    PixelCanvas > .pixel-canvas--text { color: $foreground 60%; }
    PixelCanvas > .pixel-canvas--warning { color: $text-warning; }
    """

    def __init__(self, *, always_grey: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.characters = True
        self.always_grey = always_grey
        self._drawing = "auto"
        self._drawn = "half"  # the drawing in use
        self._channels = 1
        # The canvas: one level per byte, or packed colors; for the drawing "kitty" as `png` describes.
        self._rows: list[bytes] = []
        self._placed: PlacedImages | None = None  # with "kitty", in these cells, enlarged by this factor
        self._areas, self._factor = list[Region](), 1
        self._density = HALF_BLOCKS  # pixels of the canvas in a cell, across and down
        self._lines: dict[int, list[tuple[str, bool]]] = {}  # text by screen line, and whether it warns
        self._strips: dict[int, Strip] = {}

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        """Yield the rows of a canvas of `columns` by `lines` cells.

        Before the first, `_drawn` and `_density` are set; `_lines` are those drawn as text, and `_areas` and `_factor`
        say how images of the terminal are placed.
        """
        raise NotImplementedError

    @property
    def drawing(self) -> str:
        """How pixels are drawn."""
        return self._drawing

    @drawing.setter
    def drawing(self, drawing: str) -> None:
        if drawing != self._drawing:
            self._drawing = drawing
            self._redraw()

    def on_mount(self) -> None:
        if hasattr(self.app, "drawing"):
            self.watch(self.app, "drawing", functools.partial(setattr, self, "drawing"))
        for name in ("best_drawing", "color_map"):
            if hasattr(self.app, name):
                self.watch(self.app, name, self._redraw, init=False)

    def on_unmount(self) -> None:
        if self._placed is not None:
            self._placed.delete()

    def _redraw(self) -> None:
        self.notify_style_update()
        self.refresh()

    def on_resize(self) -> None:
        self._draw()

    def notify_style_update(self) -> None:
        """Redraw in the colors of the theme."""
        super().notify_style_update()
        self._strips.clear()
        for name in ("_palette", "_rgb_palette"):
            self.__dict__.pop(name, None)
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        old_rows, old_lines, old_density = self._rows, self._lines, self._density
        width, height = self.size
        self._lines, self._density, self._areas = {}, HALF_BLOCKS, []
        self._rows = list(self._canvas(width, height))
        changed_areas = self._place()
        sizes = [
            (list(map(len, rows)), density) for rows, density in ((old_rows, old_density), (self._rows, self._density))
        ]
        if sizes[0] != sizes[1] or old_lines != self._lines:
            self._strips.clear()
            self.refresh()
            return
        if self._placed is not None:
            self._strips.clear()
            if self.screen.is_current:  # drawing any cell transmits the image
                changed_areas = [Region(area.x, area.y, 1, 1) for area in changed_areas]
            if changed_areas:
                self.refresh(*changed_areas)
            return
        down = self._density[1]
        changed = {y // down for y, (old, new) in enumerate(zip(old_rows, self._rows, strict=True)) if old != new}
        for line in changed:
            self._strips.pop(line, None)
        if changed:
            self.refresh(*(Region(0, line, width, 1) for line in changed))

    def _place(self) -> list[Region]:
        """Pass the canvas to the terminal's images. Returns the areas that changed."""
        if self._drawn != "kitty":
            if self._placed is not None:
                self._placed.delete()
                self._placed = None
                self._strips.clear()
                self.refresh()
            return []
        if self._placed is None:
            self._placed = PlacedImages(self.app.images)  # type: ignore[attr-defined] # `_choose` has checked that
            self._strips.clear()
            self.refresh()
        colors = b"" if self._channels > 1 else gray_colors(self._color_map, MARK_RGB)
        pixels = Pixels(self._density, self._factor, colors, self._canvas_pixel(GAP, RGB_GAP))
        return self._placed.update(self._areas, self._rows, pixels)

    def _canvas_pixel(self, level: int, color: int) -> bytes:
        """A pixel of the canvas: the level among grays, the color among RGB images."""
        if self._channels == 1:
            return bytes([level])
        if self._drawn == "kitty":
            return bytes(self._gap_color[0] if color == RGB_GAP else MARK_RGB)
        return packed(color)

    def _canvas_pixels(self, pixels: bytes) -> bytes:
        """Pixels of the images in the form that they have on the canvas."""
        if self._channels == 1:
            return pixels.translate(self._grey_levels)
        return pixels if self._drawn == "kitty" else pack(pixels)

    @property
    def _grey_levels(self) -> bytes:
        """The level of each pixel value of gray images."""
        inverted = self.characters and not self.app.current_theme.dark and self._color_map == GREY
        if self._drawn == "kitty":
            return FINE_INVERTED if inverted else FINE
        return INVERTED if inverted else NEAREST

    @property
    def _color_map(self) -> str:
        return GREY if self.always_grey else str(getattr(self.app, "color_map", GREY))

    def _choose(self, *, shrunk: bool) -> str:
        """How images are drawn: smaller than their pixels, or not."""
        drawing = self._drawing
        if drawing == "auto":
            drawing = getattr(self.app, "best_drawing", "quadrant")
            if self.app.no_color and drawing not in RAMPS:
                drawing = "shade"
        if drawing == "kitty":
            possible = self.PLACES_IMAGES and self.is_attached and max(self.size) <= MAX_CELLS
            if possible and getattr(self.app, "images", None) is not None:
                return drawing
            drawing = "sextant"  # which the terminals in question draw themselves
        return drawing if shrunk or drawing not in DENSITIES else "half"

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the lines without the base class's passes for borders, tints and ANSI colors."""
        if self._placed is not None and self.screen.is_current:
            self._placed.transmit()
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        """Render one line of cells."""
        strip = self._strips.get(y)
        if strip is None:
            if y >= len(self._rows) // self._density[1]:
                return self._filtered(Strip.blank(self.size.width, self.rich_style))
            self._draw_strips(y)
            strip = self._strips[y]
        return strip

    def _draw_strips(self, y: int) -> None:
        """Draw line `y` and, if it has cells, all lines of cells that are not cached: at once, which is faster."""
        colors: CellPalette
        if y in self._lines:
            self._strips[y] = self._text_strip(self._lines[y])
            return
        down, width = self._density[1], self.size.width
        if self._placed is not None:
            colors = self._rgb_palette if self._channels > 1 else self._palette
            self._strips[y] = self._placed.strip(y, width, self._rows[down * y : down * (y + 1)], colors)
            return
        if self._drawn in RAMPS:
            rows = [luminance(row) if self._channels > 1 else row for row in self._rows[2 * y : 2 * y + 2]]
            text = ramp(self._drawn, rows[0], rows[1], dark=self.app.current_theme.dark)
            self._strips[y] = self._filtered(Strip([Segment(text, self.rich_style)], width))
            return
        lines = [y for y in range(len(self._rows) // down) if y not in self._strips and y not in self._lines]
        rows = [b"".join(self._rows[down * y + row] for y in lines) for row in range(down)]
        if self._channels > 1:
            colors = rgb = self._rgb_palette
            if self._drawn in DENSITIES:
                cells = rgb_blocks(rows).cells(down, rgb.levels)
            else:
                cells = halves(rgb.levels(unpack(rows[0])), rgb.levels(unpack(rows[1])))
        else:
            colors = self._palette
            cells = gray_blocks(rows).cells(down) if self._drawn in DENSITIES else halves(rows[0], rows[1])
        for i, line in enumerate(lines):
            self._strips[line] = CellStrip(cells[i * width : (i + 1) * width], colors)

    def _text_strip(self, parts: list[tuple[str, bool]]) -> Strip:
        plain, warning = (self.get_component_rich_style(f"pixel-canvas--{name}") for name in ("text", "warning"))
        segments = [Segment(text, warning if warns else plain) for text, warns in parts]
        return self._filtered(Strip(segments).adjust_cell_length(self.size.width, plain))

    def _filtered(self, strip: Strip) -> Strip:
        """A line of text in the colors of the terminal, as those of other widgets."""
        for line_filter in self.get_line_filters():
            strip = strip.apply_filter(line_filter, self.background_colors[1])
        return strip

    @functools.cached_property
    def _palette(self) -> CellPalette:
        """The palette for the background color, cached until the theme changes."""
        gap, transparent = self._gap_color
        return palette(gap, transparent=transparent, color_map=self._color_map)

    @functools.cached_property
    def _rgb_palette(self) -> RGBPalette:
        """The same for RGB images."""
        gap, transparent = self._gap_color
        return rgb_palette(gap, color_system(self.app.console), transparent=transparent)

    @property
    def _gap_color(self) -> tuple[RGB, bool]:
        """The background, and whether it is the terminal's own."""
        background = self.background_colors[1]
        if background.ansi is None:
            is_reduced = color_system(self.app.console) is ColorSystem.EIGHT_BIT
            return nearest(background.rgb) if is_reduced else background.rgb, False
        return (0, 0, 0) if self.app.current_theme.dark else (255, 255, 255), True
