"""Where the images of a grid are: the number of columns, the images' size and the gaps between them."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

from textual.geometry import Region, Size

HALF_BLOCKS = (1, 2)  # drawn pixels in a cell, across and down
SMALLEST = 6  # minimum side in half blocks; if images would be smaller, fewer are drawn
FULL_ROWS = 0.5  # full rows are used unless they make the sides of images shorter than by this factor
EQUAL_ROWS = 0.9  # the same, where rows can differ by one image
SHARP = 4  # times each pixel of an image, in images that the terminal enlarges
MAX_PIXELS = 300_000  # of all images in a grid, enlarged so
CAPTIONS = 0.85  # images with captions may be smaller than those without by this factor


class Layout(NamedTuple):
    """A grid of images, in drawn pixels. Images start at whole cells, unless the gaps are smaller than cells."""

    columns: int = 0  # 0: no images
    width: int = 0  # of an image
    height: int = 0
    gap_x: int = 0
    gap_y: int = 0
    captioned: bool = False  # whether there is a line below each image
    density: tuple[int, int] = HALF_BLOCKS  # drawn pixels in a cell, across and down
    balanced: bool = False  # whether rows differ by at most one image and are centered

    @property
    def side(self) -> float:
        """The side, in columns, of a square as large as an image."""
        across, down = self.density
        return float((2 * self.width * self.height / (across * down)) ** 0.5)

    @property
    def rank(self) -> float:
        """The side, less if there are no captions, to choose among layouts."""
        return self.side * (1 if self.captioned else CAPTIONS)

    @property
    def lines(self) -> int:
        """Lines from one row of images to the next, if these are whole."""
        return -(-self.height // self.density[1]) + self.captioned

    def all_lines(self, n: int) -> int:
        """Lines of `n` images."""
        rows = -(-n // max(1, self.columns))
        if self.captioned:
            return rows * self.lines
        return -(-(rows * (self.height + self.gap_y) - self.gap_y) // self.density[1])

    def rows(self, n: int) -> list[range]:
        """The indices of the images in each row; only the last one can be shorter, unless the rows are balanced."""
        if not self.balanced:
            return [range(first, min(n, first + self.columns)) for first in range(0, n, self.columns)]
        count = -(-n // self.columns)
        ends = itertools.accumulate(n // count + longer for longer in _symmetric(n % count, count))
        return [range(first, end) for first, end in itertools.pairwise([0, *ends])]

    def offset(self, length: int) -> int:
        """How many pixels a row of `length` images begins after the longest one, in whole cells."""
        missing = self.columns - length if self.balanced else 0
        return missing * (self.width + self.gap_x) // 2 // self.density[0] * self.density[0]

    def placement(self, width: int) -> tuple[int, int, int]:
        """The columns before the first image of a full row in a grid of `width` columns, of an image, and of a gap."""
        across = self.density[0]
        used = self.columns * self.width + (self.columns - 1) * self.gap_x
        return max(0, width * across - used) // 2 // across, self.width // across, -(-self.gap_x // across)


@functools.lru_cache(256)
def best_layout(
    n: int,
    size: Size,
    height: int,
    width: int,
    columns: int | None = None,
    *,
    density: tuple[int, int] = HALF_BLOCKS,
    captions: bool = False,
    captions_first: bool = False,
    balanced: bool = False,
) -> Layout:
    """The layout in which `n` images are largest; with `captions`, there is a line for them if that costs little.

    With `captions_first`, there is a line for them whenever possible.
    """
    plain = fit(n, size, height, width, columns, density=density, balanced=balanced)
    if captions:
        captioned = fit(n, size, height, width, columns, density=density, captioned=True, balanced=balanced)
        without = fit(n, size, height, width, columns, density=density) if balanced else plain
        full = without.width >= width * density[0]  # not made smaller
        enough = without.side if full else CAPTIONS * without.side
        if captioned.columns and (captions_first or captioned.side >= enough):
            return captioned
    return plain


def fit(
    n: int,
    size: Size,
    height: int,
    width: int,
    columns: int | None = None,
    *,
    density: tuple[int, int] = HALF_BLOCKS,
    captioned: bool = False,
    balanced: bool = False,
) -> Layout:
    """Compute the grid in which `n` images are largest within `size` cells.

    All rows are full, unless the number of images is a prime or that makes images less than half as large; with
    `balanced`, unless it makes them smaller by more than a tenth. Above full size, a column for each pixel, only whole
    multiples are used. Gaps are one drawn pixel to two columns or one line.

    Args:
        n: Number of images.
        size: In cells.
        height: Of an image, in pixels.
        width: Of an image, in pixels.
        columns: Number of columns; None chooses.
        density: Drawn pixels in a cell, across and down.
        captioned: Whether there is a line below each image. If not all images fit, the result has no columns.
        balanced: Whether rows may differ by one image. They are centered: 3, 2 and 3 images, for example.
    """
    if not n or size.width < 1 or size.height < 1:
        return Layout(density=density)
    across, down = density
    layouts = []
    for count in [columns] if columns else range(1, n + 1):
        rows = -(-n // count)
        if balanced and -(-n // rows) != count:
            continue  # the same rows as of fewer columns
        room_x = (size.width * across - count + 1) // count
        room_y = (size.height // rows - 1) * down if captioned else (size.height * down - rows + 1) // rows
        scale = min(room_x / (width * across), room_y / (height * down / 2))
        scale = float(int(scale)) if scale >= 1 else scale
        tile_x, tile_y = int(width * across * scale + 1e-9), int(height * down / 2 * scale + 1e-9)
        image = Layout(count, tile_x, tile_y, 0, 0, captioned, density, balanced)
        if min(image.width, image.height) >= 1 and max(image.width / across, 2 * image.height / down) >= SMALLEST:
            gap_x = _gap(size.width * across - count * image.width, count, 2 * across, image.width, across)
            gap_y = _gap(size.height * down - rows * image.height, rows, down, image.height, down)
            layouts.append(image._replace(gap_x=gap_x, gap_y=gap_y))
    if layouts:
        largest = max(layouts, key=_area)
        full = max((layout for layout in layouts if n % layout.columns == 0), key=_area, default=largest)
        enough = (EQUAL_ROWS if balanced else FULL_ROWS) * largest.side
        return full if _has_full_rows(n) and full.side >= enough else largest
    if captioned:
        return Layout(density=density)
    # Not all fit: draw as many as fit at half size, or one at the size that fits.
    longest = max(height, width)
    side = min(longest * size.width // width, longest * size.height * 2 // height, max(SMALLEST, longest // 2))
    tile_x, tile_y = (max(1, side * old // longest) for old in (width, height))
    count = max(1, (size.width + 1) // (tile_x + 1))
    return Layout(count, tile_x * across, max(1, tile_y * down // 2), across, max(1, down // 2), False, density)


def enlargement(layout: Layout, width: int, pixels: int) -> int:
    """How often pixels are repeated, across and down, before the terminal enlarges them and smooths their edges.

    Args:
        layout: The grid.
        width: Of an image, in its own pixels.
        pixels: All drawn pixels.
    """
    if layout.density != HALF_BLOCKS:
        return 1
    factors = range(SHARP * width // layout.width, 1, -1)
    return next((factor for factor in factors if pixels * factor**2 <= MAX_PIXELS), 1)


def areas(layout: Layout, used: Region, rows: int, lines: int) -> list[Region]:
    """The cells of each row of images, or of all rows if there are no captions between them.

    Args:
        layout: The grid.
        used: The drawn pixels from the first image to the last.
        rows: Rows of images.
        lines: Lines of the screen; what is below them is left out.
    """
    across, down = layout.density
    left, top = used.x // across, used.y // down
    width = -(-used.right // across) - left
    if not layout.captioned:
        return [Region(left, top, width, min(lines, -(-used.bottom // down)) - top)]
    height = layout.lines - 1
    tops = range(top, top + rows * layout.lines, layout.lines)
    return [Region(left, y, width, min(height, lines - y)) for y in tops]


def _symmetric(marked: int, count: int) -> list[bool]:
    """`count` flags of which `marked` are set: the outer ones first, and the middle one if that leaves an odd one."""
    outer, odd = divmod(marked, 2)
    flags = [min(place, count - 1 - place) < outer for place in range(count)]
    if odd:
        flags[count // 2 if count % 2 else outer] = True
    return flags


def _has_full_rows(n: int) -> bool:
    """Whether `n` images fill several rows of several images, or are few."""
    return n < 4 or any(n % count == 0 for count in range(2, n))


def _area(layout: Layout) -> int:
    return layout.width * layout.height


def _gap(room: int, count: int, maximum: int, side: int, cell: int) -> int:
    """The gap between `count` images, of at most `maximum` pixels, so that images start at whole cells if possible."""
    gap = min(maximum, room // max(1, count - 1))
    return gap - (side + gap) % cell if gap > (side + gap) % cell else gap
