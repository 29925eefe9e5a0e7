"""What a figure of `core.data.sprites` consists of, and the colors.

A part is text with a pattern per variant, side by side, on a grid of 12 x 12 pixels. Its characters:

    a to e  a material, shaded by its place      k  outline
    A to E  the highlight of a material          w  white
    1 to 5  the shadow of a material             x  near black
    .       transparent                          y  yellow
                                                 p  pink
"""

from __future__ import annotations

from typing import NamedTuple

GRID = 12  # height and width of the patterns, in pixels

# fmt: off
COLORS = {
    "red": 0xDC3B42, "orange": 0xF0803A, "gold": 0xF5B83A, "lemon": 0xF6E070, "lime": 0x9CCB45, "green": 0x4AA84F,
    "forest": 0x2F7D55, "teal": 0x2FA597, "cyan": 0x4CC5DA, "sky": 0x62AEF2, "blue": 0x3F72DA, "indigo": 0x5457BE,
    "purple": 0x8E54C6, "magenta": 0xC655B4, "pink": 0xF48FB0, "rose": 0xE85D78, "peach": 0xF4B48C, "tan": 0xD0A068,
    "brown": 0x96603F, "umber": 0x6E4836, "cream": 0xF2E4C4, "white": 0xE9EDF4, "silver": 0xBAC5D4, "steel": 0x8A98AE,
    "slate": 0x5E6980, "coal": 0x444A5E, "mint": 0xA6E3C4, "ice": 0xB9DFF5, "lavender": 0xC9BDF0,
}

BACKGROUNDS = (
    *(0x2B2F4A, 0x3A2B4C, 0x243F45, 0x33403A, 0x4A2F3A, 0x2A3D5C, 0x4A3B30, 0x3A3F4B),  # dark
    *(0xF4EBD9, 0xCFE6F5, 0xD3EFDC, 0xE4DCF5, 0xFADFD2, 0xE6E8EC, 0xF7EDB8, 0xBFE3E0),  # light
)

# fmt: on


class Part(NamedTuple):
    """Variants of one part of a figure, of which each image has one.

    Args:
        text: The variants, side by side.
        top: Row of the grid where they begin.
        left: Column of the grid where they begin.
        on: Materials that it may cover, if it is a detail; empty if it is a form, with edges and an outline.
        none: Number of further variants that are empty.
    """

    text: str
    top: int = 0
    left: int = 0
    on: str = ""
    none: int = 0


class Figure(NamedTuple):
    """A class of figures.

    Args:
        parts: From back to front.
        colors: Names of the colors that each material may have, the first material's first.
        rows: Choices of rows of the grid to leave out.
        columns: Choices of columns of the grid to leave out.
        mirrored: Whether half of the images are mirrored.
    """

    parts: tuple[Part, ...]
    colors: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...] = ((),)
    columns: tuple[tuple[int, ...], ...] = ((),)
    mirrored: bool = True
