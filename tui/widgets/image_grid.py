"""A grid of grey or RGB images, drawn in character cells."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from tui.terminal.cells import (
    GAP,
    INVERTED,
    MARK,
    NEAREST,
    RAMPS,
    RGB,
    CellPalette,
    CellStrip,
    halves,
    palette,
    quadrant,
    ramp,
)
from tui.terminal.internals import color_system
from tui.terminal.rgb import (
    PIXEL_BYTES,
    RGB_GAP,
    RGB_MARK,
    RGBPalette,
    luminance,
    pack,
    packed,
    rgb_palette,
    unpack,
)
from tui.terminal.rgb_quadrants import rgb_quadrants
from tui.widgets.text_line import centered

MAX_GAP = 2  # pixels between images
SMALLEST = 6  # minimum side in pixels; if images would be smaller, fewer are drawn
LANE = 4  # bytes, as of an item "I" of a memoryview
FOOT = 3  # pixels below images with captions, at most
Caption = str | tuple[str, str]


class ImageGrid(Widget):
    """Displays images in a grid, as large as they fit; posts no messages.

    Grey images of characters are inverted on a light theme, others are not. Below full size, each drawn pixel is the
    mean of the pixels it covers. Captions are shown below the images if that does not make the images smaller. Borders
    and padding are not supported; of the alignments, only `content-align-vertical: top` is.

    Attributes:
        columns: Number of columns; None chooses the number that makes the images largest.
        captions_first: Whether images are made smaller if their captions do not fit otherwise.
        characters: Whether grey images are light characters on black, not photographs; set it before the images.
        drawing: One of `tui.terminal.cells.DRAWINGS`, or "auto": half blocks at full size, quadrants below it, shades
            without colours, or what the app's `best_drawing` says if the terminal cannot show these.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"image-grid--caption"}
    DEFAULT_CSS = """
    ImageGrid { width: 1fr; height: 1fr; content-align-vertical: middle; }
    ImageGrid > .image-grid--caption { color: $foreground 60%; }
    """

    def __init__(self, columns: int | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = columns
        self.captions_first = False
        self.characters = True
        self._drawing = "auto"
        self._drawn = "half"  # the drawing in use
        self._images: list[bytes] = []
        self._height = self._width = 28
        self._channels = 1
        self._captions: Sequence[Caption] = ()
        self._marker: tuple[int, int] | None = None
        # The canvas, two rows per screen line: one level per byte, or packed colours.
        self._rows: list[bytes] = []
        self._lines: dict[int, str] = {}  # caption lines by screen line
        self._strips: dict[int, Strip] = {}

    @property
    def drawing(self) -> str:
        """How pixels are drawn."""
        return self._drawing

    @drawing.setter
    def drawing(self, drawing: str) -> None:
        if drawing != self._drawing:
            self._drawing = drawing
            self.notify_style_update()
            self.refresh()

    @property
    def captions_visible(self) -> bool:
        """Whether the captions are shown."""
        return bool(self._lines)

    def set_images(
        self,
        images: bytes,
        n: int,
        height: int = 28,
        width: int = 28,
        captions: Sequence[Caption] | None = None,
        *,
        channels: int = 1,
    ) -> None:
        """Display `n` images and optional captions; only lines that changed are redrawn.

        Args:
            images: uint8 pixels of shape (n, height, width, channels).
            n: Number of images.
            height: Height of an image.
            width: Width of an image.
            captions: One text per image, or a text and its end, which stays if the text has to be shortened.
            channels: 1 for grey, 3 for RGB.

        Raises:
            ValueError: `images` has the wrong length.
        """
        size = height * width * channels
        if len(images) != n * size:
            raise ValueError(f"{n} images of {height}x{width} take {n * size} bytes, not {len(images)}")
        if channels != self._channels:
            self._strips.clear()
        self._height, self._width, self._channels = height, width, channels
        self._images = [images[i * size : (i + 1) * size] for i in range(n)]
        self._captions = captions or ()
        self._draw()

    def set_marker(self, x: int, y: int) -> None:
        """Mark the pixel at column `x` and row `y` of every image."""
        self._marker = x, y
        self._draw()

    def clear(self) -> None:
        """Remove all images."""
        self._images = []
        self._draw()

    def on_mount(self) -> None:
        if hasattr(self.app, "drawing"):
            self.watch(self.app, "drawing", self._drawing_changed)

    def _drawing_changed(self, drawing: str) -> None:
        self.drawing = drawing

    def on_resize(self) -> None:
        self._draw()

    def notify_style_update(self) -> None:
        """Redraw in the colours of the theme."""
        super().notify_style_update()
        self._strips.clear()
        self.__dict__.pop("_palette", None)
        self.__dict__.pop("_rgb_palette", None)
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        old_rows, old_lines = self._rows, self._lines
        width, height = self.size
        self._lines = {}
        self._rows = list(self._canvas(width, height * 2))
        if list(map(len, old_rows)) != list(map(len, self._rows)) or old_lines != self._lines:
            self._strips.clear()
            self.refresh()
            return
        changed = {y // 2 for y, (old, new) in enumerate(zip(old_rows, self._rows, strict=True)) if old != new}
        for line in changed:
            self._strips.pop(line, None)
        if changed:
            self.refresh(*(Region(0, line, width, 1) for line in changed))

    def _canvas(self, width: int, height: int) -> Iterator[bytes]:
        """Yield `height` rows of `width` pixels (2 * `width` for quadrants), with the grid centred."""
        columns, scale_x, scale_y, gap_x, gap_y = self._layout(Size(width, height))
        self._drawn = self._choose(shrunk=scale_x < self._width)
        density = 2 if self._drawn == "quadrant" else 1  # pixels per cell, horizontally
        gap, mark = self._canvas_pixel(GAP, RGB_GAP), self._canvas_pixel(MARK, RGB_MARK)
        row_length = width * density * len(gap)
        empty = gap * (width * density)
        if not columns:
            yield from [empty] * height
            return
        tiles = self._tiles(scale_y, scale_x * density)
        if self._marker is not None:
            for tile in tiles:
                _draw_marker(tile, mark, self._marker, self._width, self._height)
        bands = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
        bands = bands[: (height + gap_y) // (scale_y + gap_y)]
        used_x = columns * scale_x + (columns - 1) * gap_x
        foot = 2 + scale_y % 2  # pixels below a band, so that captions get a full screen line
        captioned = bool(self._captions) and len(bands) * (scale_y + foot) <= height
        if captioned:
            gap_y = 0
        used_y = len(bands) * (scale_y + foot * captioned) + (len(bands) - 1) * gap_y
        left = (width - used_x) // 2
        top = 0 if self.styles.content_align_vertical == "top" else (height - used_y) // 2
        top -= top % 2 * captioned
        margin, separator = gap * left * density, gap * gap_x * density
        yield from [empty] * top
        for number, band in enumerate(bands):
            if number:
                yield from [empty] * gap_y
            for y in range(scale_y):
                row = margin + separator.join([tile[y] for tile in band])
                yield row + gap * ((row_length - len(row)) // len(gap))
            if captioned:
                yield from [empty] * foot
                line = (top + (number + 1) * (scale_y + foot)) // 2 - 1
                captions = self._captions[number * columns : number * columns + len(band)]
                pairs = [(caption, "") if isinstance(caption, str) else caption for caption in captions]
                self._lines[line] = " " * left + (" " * gap_x).join(centered(text, scale_x, end) for text, end in pairs)
        yield from [empty] * (height - top - used_y)

    def _layout(self, size: Size) -> tuple[int, int, int, int, int]:
        """The largest layout as returned by `fit`; with `captions_first`, the largest one with room for captions."""
        n = len(self._images)
        layout = fit(n, size, self._height, self._width, self.columns)
        if not self.captions_first or not self._captions:
            return layout
        best = (0, 0, 0, 0, 0)
        for count in range(1, n + 1):
            rows = -(-n // count)
            room = Size(size.width, max(0, size.height - FOOT * rows))
            tried = fit(n, room, self._height, self._width, count)
            if tried[0] == count and tried[2] > best[2] and rows * (tried[2] + FOOT) <= size.height:
                best = tried
        return best if best[0] else layout

    def _canvas_pixel(self, level: int, color: int) -> bytes:
        """A pixel of the canvas: the level among greys, the colour among RGB images."""
        return packed(color) if self._channels > 1 else bytes([level])

    def _tiles(self, height: int, width: int) -> list[list[bytes]]:
        """The rows of each image on the canvas, `height` by `width` pixels large."""
        n, old_height, old_width = len(self._images), self._height, self._width
        pixels, shrinks = b"".join(self._images), height < old_height or width < old_width
        if shrinks:
            pixels = shrink(pixels, n, old_height, old_width, height, width, self._channels)
            old_height, old_width = height, width
        if self._channels > 1:
            pixels, size = pack(pixels), PIXEL_BYTES * old_width
        else:
            pixels, size = pixels.translate(self._grey_levels), old_width
        rows = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        tiles = [rows[start : start + old_height] for start in range(0, len(rows), old_height)]
        if shrinks:
            return tiles
        return [enlarge(tile, old_width, height // old_height, width // old_width) for tile in tiles]

    @property
    def _grey_levels(self) -> bytes:
        """The level of each pixel value of grey images."""
        return INVERTED if self.characters and not self.app.current_theme.dark else NEAREST

    def _choose(self, *, shrunk: bool) -> str:
        if self._drawing != "auto":
            return self._drawing
        best = getattr(self.app, "best_drawing", "auto")
        if best == "ascii":
            return "ascii"
        if self.app.no_color:
            return "shade"
        return "quadrant" if shrunk and best == "auto" else "half"

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the lines without the base class's passes for borders, tints and ANSI colours."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        """Render one line of cells."""
        strip = self._strips.get(y)
        if strip is None:
            if 2 * y + 1 >= len(self._rows):
                return Strip.blank(self.size.width, self.rich_style)
            strip = self._strips[y] = self._strip(y)
        return strip

    def _strip(self, y: int) -> Strip:
        if y in self._lines:
            text = set_cell_size(self._lines[y], self.size.width)
            return Strip([Segment(text, self.get_component_rich_style("image-grid--caption"))], self.size.width)
        upper, lower = self._rows[2 * y : 2 * y + 2]
        if self._drawn in RAMPS:
            levels = (luminance(row) if self._channels > 1 else row for row in (upper, lower))
            return self._ramp_strip(*levels)
        if self._channels > 1:
            self._strips |= self._rgb_strips()
            return self._strips[y]
        if self._drawn == "quadrant":
            return CellStrip(list(map(quadrant, _quarters(upper, lower))), self._palette)
        return CellStrip(halves(upper, lower), self._palette)

    def _rgb_strips(self) -> dict[int, Strip]:
        """All lines of cells that are not cached; at once, which is faster."""
        lines = [y for y in range(len(self._rows) // 2) if y not in self._strips and y not in self._lines]
        upper, lower = (b"".join(self._rows[2 * y + below] for y in lines) for below in (0, 1))
        colors, width = self._rgb_palette, self.size.width
        if self._drawn == "quadrant":
            texts, foregrounds, backgrounds, inverses = rgb_quadrants(upper, lower)
            cells = list(zip(texts, colors.levels(foregrounds), colors.levels(backgrounds), inverses, strict=True))
        else:
            cells = halves(colors.levels(unpack(upper)), colors.levels(unpack(lower)))
        return {y: CellStrip(cells[i * width : (i + 1) * width], colors) for i, y in enumerate(lines)}

    def _ramp_strip(self, upper: bytes, lower: bytes) -> Strip:
        text = ramp(self._drawn, upper, lower, dark=self.app.current_theme.dark)
        return Strip([Segment(text, self.rich_style)], self.size.width)

    @functools.cached_property
    def _palette(self) -> CellPalette:
        """The palette for the background colour, cached until the theme changes."""
        gap, transparent = self._gap_color
        return palette(gap, transparent=transparent)

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
            return background.rgb, False
        return (0, 0, 0) if self.app.current_theme.dark else (255, 255, 255), True


def _quarters(upper: Sequence[int], lower: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """The 2x2 pixels of each cell, in reading order."""
    return zip(upper[::2], upper[1::2], lower[::2], lower[1::2], strict=True)


def fit(n: int, size: Size, height: int, width: int, columns: int | None = None) -> tuple[int, int, int, int, int]:
    """Compute the grid in which `n` images are largest within `size` pixels.

    Above full size, only whole multiples are used. Gaps between images are one or two pixels.

    Returns:
        Number of columns, tile width, tile height, horizontal gap and vertical gap, in pixels.
    """
    best = (0, 0, 0, 0, 0)
    if not n or size.width < 1 or size.height < 2:
        return best
    for count in [columns] if columns else range(1, n + 1):
        rows = -(-n // count)
        scale = min((size.width - count + 1) / (count * width), (size.height - rows + 1) / (rows * height))
        scale = float(int(scale)) if scale >= 1 else scale
        tile_x, tile_y = int(width * scale), int(height * scale)
        if max(tile_x, tile_y) >= SMALLEST and min(tile_x, tile_y) >= 1 and tile_y > best[2]:
            gap_x = (size.width - count * tile_x) // max(1, count - 1)
            gap_y = (size.height - rows * tile_y) // max(1, rows - 1)
            best = (count, tile_x, tile_y, min(MAX_GAP, gap_x), min(MAX_GAP, gap_y))
    if best[0]:
        return best
    # Not all fit: draw as many as fit at half size, or one at the size that fits.
    longest = max(height, width)
    side = min(longest * size.width // width, longest * (size.height // 2 * 2) // height, max(SMALLEST, longest // 2))
    tile_x, tile_y = (max(1, side * old // longest) for old in (width, height))
    return max(1, (size.width + 1) // (tile_x + 1)), tile_x, tile_y, 1, 1


def shrink(images: bytes, n: int, height: int, width: int, new_height: int, new_width: int, channels: int = 1) -> bytes:
    """Return `n` images at a smaller size; each pixel is the mean of those it covers, rounded down.

    Rows and columns of all images are added at once. Means of 256 and more pixels can be higher by one.
    """
    columns = [
        _lanes(b"".join(images[x * channels + c :: width * channels] for c in range(channels))) for x in range(width)
    ]  # each with the channels, images and rows
    across = _spans(width, new_width)
    size = n * height * channels
    sums = b"".join(sum(columns[left:right]).to_bytes(LANE * size, "little") for left, right in across)
    items = memoryview(sums).cast("I")
    rows = [int.from_bytes(items[y::height].tobytes(), "little") for y in range(height)]  # columns, channels, images
    widths = [right - left for left, right in across]
    of_width = {
        wide: int.from_bytes(
            b"".join((b"\xff" if width == wide else b"\0") * (LANE * n * channels) for width in widths), "little"
        )
        for wide in set(widths)
    }
    smaller = [b""] * (n * new_height)
    for y, (top, bottom) in enumerate(_spans(height, new_height)):
        total = sum(rows[top:bottom])
        # Times 2^24 / area, so that a lane's highest byte is the mean.
        means = sum((total & lanes) * -(-(1 << 24) // (wide * (bottom - top))) for wide, lanes in of_width.items())
        row = means.to_bytes(LANE * n * channels * new_width, "little")[LANE - 1 :: LANE]
        smaller[y::new_height] = [row[image::n] for image in range(n)]
    return b"".join(smaller)


def _lanes(values: bytes) -> int:
    """Bytes as one integer with `LANE` bytes for each of them, so that they can be added."""
    lanes = bytearray(LANE * len(values))
    lanes[::LANE] = values
    return int.from_bytes(lanes, "little")


def enlarge(rows: list[bytes], width: int, factor_y: int, factor_x: int) -> list[bytes]:
    """Return rows of `width` pixels with every pixel repeated."""
    if factor_x > 1:
        rows = [_repeated(row, len(row) // width, factor_x) for row in rows]
    return [row for row in rows for _ in range(factor_y)]


def _repeated(row: bytes, pixel_bytes: int, factor: int) -> bytes:
    repeated = bytearray(len(row) * factor)
    step = pixel_bytes * factor
    for byte in range(pixel_bytes):
        values = row[byte::pixel_bytes]
        for number in range(factor):
            repeated[pixel_bytes * number + byte :: step] = values
    return bytes(repeated)


def _draw_marker(tile: list[bytes], mark: bytes, pixel: tuple[int, int], width: int, height: int) -> None:
    """Mark a pixel of a `width` by `height` image in its scaled rows."""
    size = len(mark)
    left, right = _scaled_span(pixel[0], width, len(tile[0]) // size)
    top, bottom = _scaled_span(pixel[1], height, len(tile))
    for y in range(top, bottom):
        tile[y] = tile[y][: left * size] + mark * (right - left) + tile[y][right * size :]


def _scaled_span(index: int, old: int, new: int) -> tuple[int, int]:
    first = index * new // old
    return first, max(first + 1, (index + 1) * new // old)


@functools.cache
def _spans(old: int, new: int) -> list[tuple[int, int]]:
    return [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
