"""Tiles: how many of them fit, and all of them as one picture."""

from __future__ import annotations

import math

from tui.arrays import Array
from tui.lab.bench import Panel
from tui.widgets.digits import SMALLEST

TILE = 8  # pixels of a tile's side, at least; smaller ones are enlarged


def fitting(tiles: Array, width: int, height: int) -> int:
    """How many tiles fit into so many cells without getting too small."""
    n, tall, wide = tiles.shape
    side = max(tall, wide)
    side = TILE if side >= TILE else side * -(-SMALLEST // side)
    return max(1, min(n, (width + 1) // (side + 1) * ((2 * height + 1) // (side + 1))))


def sheet(title: str, shape: tuple[int, ...], tones: bytes) -> Panel:
    """Tiles side by side as one picture, with a line between them."""
    n, height, width = shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    across, down = columns * (width + 1) - 1, rows * (height + 1) - 1
    whole = bytearray(across * down)
    for index in range(n):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        for y in range(height):
            at, start = (top + y) * across + left, (index * height + y) * width
            whole[at : at + width] = tones[start : start + width]
    return Panel(title, (down, across), bytes(whole))
