"""Tiles of equal size: how many fit, and all of them as one image."""

from __future__ import annotations

import math

from tui.lab.bench import Panel
from tui.widgets.grid_layout import SMALLEST

TILE = 8  # pixels of a tile's side, at least; smaller ones are enlarged


def count_fitting(shape: tuple[int, ...], width: int, height: int) -> int:
    """How many tiles of shape (n, h, w) fit into so many columns and rows of cells."""
    n, *sides = shape
    side = max(sides)
    side = TILE if side >= TILE else side * -(-SMALLEST // side)
    return max(1, min(n, (width + 1) // (side + 1) * ((2 * height + 1) // (side + 1))))


def tile_sheet(title: str, shape: tuple[int, ...], tiles: bytes) -> Panel:
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
    return Panel(title, (down, across), bytes(sheet))
