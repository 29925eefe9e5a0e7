"""Color maps of gray images: the color of each pixel value."""

from __future__ import annotations

import functools

GREY = "grey"
# Colors at 0, 1/8, ..., 1 of the maps of matplotlib (S. van der Walt and N. Smith, 2015, CC0); linear in between.
_POINTS = {
    GREY: "000000 ffffff",
    "viridis": "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
    "magma": "000004 1d1147 51127c 832681 b73779 e75263 fc8961 fec488 fcfdbf",
    "inferno": "000004 210c4a 57106e 8a226a bc3754 e45a31 f98e09 f9cb35 fcffa4",
}
COLOR_MAPS = tuple(_POINTS)


@functools.cache
def colors_of(name: str) -> tuple[tuple[int, int, int], ...]:
    """The RGB color of each pixel value, 0 to 255, in one of `COLOR_MAPS`."""
    points = [bytes.fromhex(point) for point in _POINTS[name].split()]
    colors = []
    for value in range(256):
        place, part = divmod(value * (len(points) - 1), 255)
        low, high = points[place], points[min(place + 1, len(points) - 1)]
        red, green, blue = (round(a + (b - a) * part / 255) for a, b in zip(low, high, strict=True))
        colors.append((red, green, blue))
    return tuple(colors)
