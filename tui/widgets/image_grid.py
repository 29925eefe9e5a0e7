"""A grid of gray or RGB images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.geometry import Region, Size

from tui.terminal.cells import GAP, MARK
from tui.terminal.resize import draw_marker, scaled_tiles
from tui.terminal.rgb import RGB_GAP, RGB_MARK
from tui.widgets.captions import Caption, caption_line
from tui.widgets.grid_layout import Layout, areas, best_layout, enlargement
from tui.widgets.pixel_canvas import DENSITIES, PixelCanvas
from tui.widgets.text_line import centered


class ImageGrid(PixelCanvas):
    """Displays images in a grid, as large as they fit; posts no messages.

    Captions are shown below the images if that makes the images little smaller.

    Attributes:
        columns: Number of columns; None chooses the number that makes the images largest.
        balanced: Whether rows may differ by one image, which are centered.
        captions_first: Whether images are made smaller if their captions do not fit otherwise.
    """

    def __init__(
        self,
        columns: int | None = None,
        *,
        balanced: bool = False,
        always_grey: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(always_grey=always_grey, id=id, classes=classes)
        self.columns = columns
        self.balanced = balanced
        self.captions_first = False
        self._images: list[bytes] = []
        self._height = self._width = 28
        self._captions: Sequence[Caption] = ()
        self._marker: tuple[int, int] | None = None
        self._message = ""

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
        captions: Sequence[Caption | str] | None = None,
        *,
        channels: int = 1,
    ) -> None:
        """Display `n` images and optional captions; only lines that changed are redrawn.

        Args:
            images: uint8 pixels of shape (n, height, width, channels).
            n: Number of images.
            height: Height of an image.
            width: Width of an image.
            captions: One per image.
            channels: 1 for gray, 3 for RGB.

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
        self._captions = [Caption(text) if isinstance(text, str) else text for text in captions or ()]
        self._message = ""
        self._draw()

    def set_marker(self, x: int, y: int) -> None:
        """Mark the pixel at column `x` and row `y` of every image."""
        self._marker = x, y
        self._draw()

    def show_message(self, message: str) -> None:
        """Show one line of text instead of images."""
        self._images, self._message = [], message
        self._draw()

    def clear(self) -> None:
        """Remove all images."""
        self.show_message("")

    def layout_of(self, n: int, size: Size, height: int, width: int, *, captions: bool = False) -> Layout:
        """The layout of `n` images of `height` by `width` pixels in a grid of `size` cells."""
        return self._layout_drawn(n, size, height, width, captions)[0]

    def _layout_drawn(self, n: int, size: Size, height: int, width: int, captions: bool) -> tuple[Layout, str]:
        """The layout, and how images are drawn in it."""
        arguments = n, size, height, width, self.columns
        options = {"captions": captions, "captions_first": self.captions_first, "balanced": self.balanced}
        layout = best_layout(*arguments, **options)
        shrunk = layout.width < width
        drawn = self._choose(shrunk=shrunk)
        if shrunk and drawn in DENSITIES:
            layout = best_layout(*arguments, density=DENSITIES[drawn], **options)
        return layout, drawn

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        """Yield the rows of a canvas of `columns` by `lines` cells, with the grid centered."""
        size = Size(columns, lines)
        layout, self._drawn = self._layout_drawn(
            len(self._images), size, self._height, self._width, bool(self._captions)
        )
        across, down = self._density = layout.density
        gap, mark = self._canvas_pixel(GAP, RGB_GAP), self._canvas_pixel(MARK, RGB_MARK)
        empty = gap * (columns * across)
        if not layout.columns:
            if self._message and lines:
                self._lines[(lines - 1) // 2] = [(centered(self._message, columns), False)]
            yield from [empty] * (lines * down)
            return
        tiles = self._tiles(layout.height, layout.width)
        if self._marker is not None:
            for tile in tiles:
                draw_marker(tile, mark, self._marker, self._width, self._height)
        foot = layout.lines * down - layout.height  # pixels below images with captions
        pitch = layout.height + (foot if layout.captioned else layout.gap_y)
        bands = layout.rows(len(tiles))[: (lines * down + pitch - layout.height) // pitch]
        used_x = layout.columns * layout.width + (layout.columns - 1) * layout.gap_x
        used_y = len(bands) * pitch - (0 if layout.captioned else layout.gap_y)
        left = (columns * across - used_x) // 2 // across * across
        top = 0 if self.styles.content_align_vertical == "top" else (lines * down - used_y) // 2 // down * down
        separator = gap * layout.gap_x
        self._areas = areas(layout, Region(left, top, used_x, used_y), len(bands), lines)
        self._factor = enlargement(layout, self._width, used_x * used_y)
        yield from [empty] * top
        for number, band in enumerate(bands):
            if number and not layout.captioned:
                yield from [empty] * layout.gap_y
            start = left + layout.offset(len(band))
            band_tiles = [tiles[index] for index in band]
            for y in range(layout.height):
                row = gap * start + separator.join([tile[y] for tile in band_tiles])
                yield row + gap * ((len(empty) - len(row)) // len(gap))
            if layout.captioned:
                yield from [empty] * foot
                line = (top + (number + 1) * pitch) // down - 1
                self._lines[line] = caption_line(self._captions[band.start : band.stop], layout, start)
        yield from [empty] * (lines * down - top - used_y)

    def _tiles(self, height: int, width: int) -> list[list[bytes]]:
        """The rows of each image, in this size."""
        images, n, old_size = b"".join(self._images), len(self._images), (self._height, self._width)
        return scaled_tiles(images, n, old_size, (height, width), self._channels, self._canvas_pixels)
