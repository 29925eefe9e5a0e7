"""One image, as large as fits, of which a part can be framed and the end left blank."""

from __future__ import annotations

from collections.abc import Iterator

from textual.geometry import Region

from tui.terminal.cells import GAP, MARK, TINTED
from tui.widgets.image_grid import ImageGrid


class ImageCanvas(ImageGrid):
    """Displays an image pixel by pixel: each pixel is repeated, or, if the image does not fit, some are left out.

    Args:
        always_grey: As for `ImageGrid`.
    """

    PLACES_IMAGES = False
    DEFAULT_CSS = """
    ImageCanvas { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None, always_grey: bool = False) -> None:
        super().__init__(1, always_grey=always_grey, id=id)
        self._image = b""
        self._shape = (0, 0)
        self._known = 0
        self._frame: Region | None = None
        self._spacing = 1
        self._image_region = Region()  # in pixels of the screen

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self._shape

    @property
    def frame(self) -> Region | None:
        """The framed part of the image, in its pixels."""
        return self._frame

    def pixel_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Row and column of the pixel drawn at a cell, the upper one of two; None outside the image."""
        tall, wide = self._shape
        region = self._image_region
        if not region.contains(x, 2 * y):
            return None
        return (2 * y - region.y) * tall // region.height, (x - region.x) * wide // region.width

    def show_image(
        self,
        image: bytes,
        shape: tuple[int, ...],
        *,
        known: int | None = None,
        frame: Region | None = None,
        spacing: int = 1,
    ) -> None:
        """Display an image.

        Args:
            image: uint8 pixels, row by row.
            shape: height and width.
            known: how many pixels are drawn, row by row; the others stay blank. None draws all.
            frame: the part that is framed, in pixels.
            spacing: 1 frames every pixel of that part, 2 every second, and so on.
        """
        height, width = shape
        self._image, self._shape, self._frame, self._spacing = image, (height, width), frame, spacing
        self._known = len(image) if known is None else known
        self._draw()

    def clear(self) -> None:
        """Remove the image."""
        self._image, self._shape = b"", (0, 0)
        self._draw()

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        tall, wide = self._shape
        self._drawn = self._choose(shrunk=False)  # one pixel of the screen for each of the image
        width, height = columns, 2 * lines
        empty = bytes([GAP]) * width
        if not self._image or width < 1 or height < 1:
            self._image_region = Region()
            yield from [empty] * height
            return
        times = min(width / wide, height / tall)
        times = float(int(times)) if times >= 1 else times
        across, down = max(1, int(wide * times)), max(1, int(tall * times))
        xs = [at * wide // across for at in range(across)]
        ys = [at * tall // down for at in range(down)]
        left, top = (width - across) // 2, (height - down) // 2 // 2 * 2
        self._image_region = Region(left, top, across, down)
        if (frame := self._frame) is not None and frame.area == 1:  # never left out
            xs[frame.x * across // wide], ys[frame.y * down // tall] = frame.x, frame.y
        levels_ = self._levels(wide)
        yield from [empty] * top
        for y in ys:
            row = levels_[y]
            yield (bytes([GAP]) * left + bytes(row[x] for x in xs)).ljust(width, bytes([GAP]))
        yield from [empty] * (height - top - down)

    def _levels(self, wide: int) -> list[bytearray]:
        """The rows of the image as gray levels of the cells."""
        codes = bytearray(self._image.translate(self._grey_levels))
        codes[self._known :] = bytes([GAP]) * (len(codes) - self._known)
        rows = [codes[at : at + wide] for at in range(0, len(codes), wide)]
        if self._frame is not None:
            for y in _inside(self._frame.y, self._frame.bottom, self._spacing, len(rows)):
                for x in _inside(self._frame.x, self._frame.right, self._spacing, wide):
                    rows[y][x] = MARK if rows[y][x] == GAP else rows[y][x] + TINTED
        return rows


def _inside(start: int, stop: int, spacing: int, size: int) -> range:
    """Every `spacing`th index from `start` to before `stop` that lies in [0, size)."""
    return range(start if start >= 0 else start % spacing, min(size, stop), spacing)
