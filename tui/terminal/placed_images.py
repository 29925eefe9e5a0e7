"""Images of a widget that the terminal draws in pixels, and the lines of cells that they replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Console
from textual.geometry import Region
from textual.strip import Strip

from tui.terminal.cells import CellPalette, CellStrip, CellTuple, halves
from tui.terminal.internals import color_system
from tui.terminal.kitty import COARSE, ImageStore, png
from tui.terminal.rgb import RGB_GAP, RGBPalette, pack, unpack


class Pixels(NamedTuple):
    """How the rows of a widget become images; see `png`.

    Attributes:
        density: Pixels in a cell, across and down.
        factor: How often each is repeated across and down.
        colors: The palette of gray images.
        gap: The pixel outside of images.
    """

    density: tuple[int, int]
    factor: int
    colors: bytes
    gap: bytes


class PlacedImages:
    """The images of a widget, each in an area of its own. They are transmitted when drawn, not while it is hidden."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._images: list[_Image] = []
        self._pixels: Pixels | None = None

    def update(self, areas: Sequence[Region], rows: Sequence[bytes], pixels: Pixels) -> list[Region]:
        """Set the areas, in cells, and the rows of pixels of the whole widget. Returns the areas that changed."""
        across, down = pixels.density[0] * len(pixels.gap), pixels.density[1]
        for image in self._images[len(areas) :]:
            self._store.delete(image.number)
        del self._images[len(areas) :]
        while len(self._images) < len(areas):
            self._images.append(_Image(self._store.new_number()))
        changed = []
        for image, area in zip(self._images, areas, strict=True):
            span = slice(area.x * across, area.right * across)
            content = [row[span] for row in rows[area.y * down : area.bottom * down]]
            if (area, content, pixels) != (image.area, image.rows, self._pixels):
                image.area, image.rows, image.sent = area, content, None
                changed.append(area)
        self._pixels = pixels
        return changed

    def transmit(self) -> None:
        """Transmit the images that the terminal does not have."""
        for image in self._images:
            if image.sent != self._store.generation and self._pixels is not None:
                image.sent = self._store.generation
                _, factor, colors, gap = self._pixels
                self._store.transmit(image.number, *image.area.size, png(image.rows, factor, colors, gap))

    def strip(self, y: int, width: int, rows: Sequence[bytes], colors: CellPalette) -> Strip:
        """Line `y` of the widget, of these rows of pixels. Half blocks have the colors of `colors`."""
        blocks = partial(self._half_blocks, rows, colors)
        for number, area in ((image.number, image.area) for image in self._images):
            if area.y <= y < area.bottom:
                inside = self._store.placeholders(y - area.y, area.width)
                cells = [*" " * area.x, *inside, *" " * (width - area.right)]
                return PlacedStrip(cells, number, blocks, colors)
        return PlacedStrip(" " * width, 0, blocks, colors)

    def _half_blocks(self, rows: Sequence[bytes], colors: CellPalette) -> list[CellTuple]:
        """A line in half blocks, each of the pixel in its middle."""
        assert self._pixels is not None
        (across, down), middle = self._pixels.density, self._pixels.density[0] // 2
        pair = rows[down // 4], rows[down * 3 // 4]
        if not isinstance(colors, RGBPalette):
            return halves(*(row[middle::across].translate(COARSE) for row in pair))
        (gap,) = unpack(pack(self._pixels.gap))
        levels = (
            colors.levels([RGB_GAP if color == gap else color for color in unpack(pack(row))[middle::across]])
            for row in pair
        )
        return halves(*levels)

    def delete(self) -> None:
        """Delete all images."""
        for image in self._images:
            self._store.delete(image.number)
        self._images.clear()


class _Image:
    def __init__(self, number: int) -> None:
        self.number = number
        self.area = Region()
        self.rows: Sequence[bytes] = ()
        self.sent: int | None = None  # the generation in which it was transmitted


class PlacedStrip(CellStrip):
    """A line of cells that the terminal replaces by pixels.

    Behind dialogs, where Textual changes colors, and in screenshots it is a line of `blocks`.
    """

    __slots__ = ("_blocks", "_number", "_placeholders")

    def __init__(
        self, placeholders: Sequence[str], number: int, blocks: Callable[[], Sequence[CellTuple]], colors: CellPalette
    ) -> None:
        super().__init__((), colors)
        self._cell_length = len(placeholders)
        self._placeholders = placeholders
        self._number = number
        self._blocks = blocks
        del self._cells

    def __getattr__(self, name: str) -> object:
        """Draw the blocks on first access."""
        if name == "_cells":
            self._cells = self._blocks()
            return self._cells
        return super().__getattr__(name)

    def crop(self, start: int, end: int | None = None) -> Strip:
        """The cells from `start` to before `end`."""
        length = len(self._placeholders)
        end = length if end is None else min(end, length)
        if start == 0 and end == length:
            return self
        return PlacedStrip(
            self._placeholders[start:end], self._number, lambda: self._blocks()[start:end], self._palette
        )

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        """Divide the strip at `cuts`."""
        ends = list(cuts)
        return [self.crop(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def render(self, console: Console) -> str:
        """Render the line with the escape sequences of the console's color system."""
        background = self._palette.codes(color_system(console))[1][self._palette.gap]
        return f"\x1b[0;38;5;{self._number};{background}m{''.join(self._placeholders)}\x1b[0m"
