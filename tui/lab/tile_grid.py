"""Tiles of equal size: their gray levels, how many fit, one of them chosen, and all of them as one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from textual import events
from textual.message import Message

from core.engine.protocol import Array
from tui.grayscale import normalized
from tui.lab.bench import ExportPanel
from tui.terminal.cells import MARK
from tui.widgets.grid_layout import SMALLEST
from tui.widgets.image_grid import ImageGrid

TILE = 8  # pixels of a tile's side, at least; smaller ones are enlarged


class TileGrid(ImageGrid):
    """A grid of tiles, one of which is framed; a click chooses another."""

    @dataclass
    class Chosen(Message):
        """A tile was clicked."""

        index: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(always_grey=True, id=id)
        self.chosen = 0
        """Index of the framed tile; set it before the tiles."""

    def _tiles(self, height: int, width: int) -> list[list[bytes]]:
        tiles = super()._tiles(height, width)
        if len(tiles) > 1 and self.chosen < len(tiles):
            tile, mark = tiles[self.chosen], bytes([MARK])
            framed = [mark + row[1:-1] + mark for row in tile]
            framed[0] = framed[-1] = mark * len(tile[0])
            tiles[self.chosen] = framed
        return tiles

    def on_click(self, event: events.Click) -> None:
        n = len(self._images)
        layout = self.layout_of(n, self.size, self._height, self._width)
        left, across, gap = layout.placement(self.size.width)
        lines, down = layout.all_lines(n), layout.height + layout.gap_y
        top = (self.size.height - lines) // 2
        row, column = layout.density[1] * (event.y - top) // max(1, down), (event.x - left) // max(1, across + gap)
        index = row * layout.columns + column
        if 0 <= column < layout.columns and 0 <= index < n:
            self.post_message(self.Chosen(index))


def scaled(tiles: Array, n: int, *, common: bool) -> bytes:
    """The gray levels of the first `n` tiles of an array (N, h, w).

    Args:
        tiles: If any value that is scaled together is negative, 0 is middle gray.
        n: Number of tiles.
        common: Whether all N tiles are scaled together, by their largest absolute value; otherwise each by its own.
    """
    if not common:
        return b"".join(normalized(tiles[index].values) for index in range(n))
    size = math.prod(tiles.shape[1:])
    return normalized(tiles.values)[: n * size]


def count_fitting(shape: tuple[int, ...], width: int, height: int) -> int:
    """How many tiles of shape (n, h, w) fit into so many columns and rows of cells."""
    n, *sides = shape
    side = max(sides)
    side = TILE if side >= TILE else side * -(-SMALLEST // side)
    return max(1, min(n, (width + 1) // (side + 1) * ((2 * height + 1) // (side + 1))))


def tile_sheet(title: str, shape: tuple[int, ...], tiles: bytes) -> ExportPanel:
    """Tiles of shape (n, h, w), uint8, in a grid with a line between them."""
    n, height, width = shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    across, down = columns * (width + 1) - 1, rows * (height + 1) - 1
    sheet = bytearray(across * down)
    for index in range(n):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        for y in range(height):
            at, start = (top + y) * across + left, (index * height + y) * width
            sheet[at : at + width] = tiles[start : start + width]
    return ExportPanel(title, (down, across), bytes(sheet))
