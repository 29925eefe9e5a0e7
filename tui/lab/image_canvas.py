"""One image, as large as fits, of which a part can be framed and the end left blank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from textual.geometry import Region
from textual.widget import Widget

from tui.terminal.cells import GAP, MARK, TINTED
from tui.widgets.image_grid import ImageGrid


class ImageCanvas(ImageGrid):
    """Displays an image pixel by pixel: each pixel is repeated, or, if the image does not fit, some are left out.

    Canvases that share a scale draw pixels of the same size: the largest at which all visible images fit.

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
        self._group: Sequence[ImageCanvas] = (self,)  # that share a scale

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self._shape

    @property
    def frame(self) -> Region | None:
        """The framed part of the image, in its pixels."""
        return self._frame

    @property
    def scale(self) -> float:
        """Columns of a pixel, which is half as many lines high: a whole number, or less than 1."""
        scale = min((canvas.max_scale for canvas in self._group if canvas._in_sight), default=math.inf)
        scale = min(scale, self.max_scale)
        return float(int(scale)) if 1 <= scale < math.inf else scale

    @property
    def max_scale(self) -> float:
        """The scale at which the image just fits; infinite without an image."""
        tall, wide = self._shape
        return min(self.size.width / wide, 2 * self.size.height / tall) if self._image else math.inf

    @property
    def _in_sight(self) -> bool:
        """Whether the canvas and all that contain it are displayed."""
        return all(node.display for node in self.ancestors_with_self if isinstance(node, Widget)) and bool(self.size)

    def pixel_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Row and column of the pixel drawn at a cell, the upper one of two; None outside the image."""
        tall, wide = self._shape
        region = self._image_region
        if not region.contains(x, 2 * y):
            return None
        scale = self.scale
        return min(tall - 1, int((2 * y - region.y) / scale)), min(wide - 1, int((x - region.x) / scale))

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
        resized = (height, width) != self._shape
        self._image, self._shape, self._frame, self._spacing = image, (height, width), frame, spacing
        self._known = len(image) if known is None else known
        self._draw()
        if resized:
            self._draw_others()

    def clear(self) -> None:
        """Remove the image."""
        self._image, self._shape = b"", (0, 0)
        self._draw()

    def on_resize(self) -> None:
        super().on_resize()
        self._draw_others()

    def _draw_others(self) -> None:
        for canvas in self._group:
            if canvas is not self and canvas.is_attached:
                canvas._draw()

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        tall, wide = self._shape
        self._drawn = self._choose(shrunk=False)  # one pixel of the screen for each of the image
        width, height = columns, 2 * lines
        empty = bytes([GAP]) * width
        if not self._image or width < 1 or height < 1:
            self._image_region = Region()
            yield from [empty] * height
            return
        times = self.scale
        across, down = (max(1, int(side * times + 1e-9)) for side in (wide, tall))
        xs = [min(wide - 1, int(at / times)) for at in range(across)]
        ys = [min(tall - 1, int(at / times)) for at in range(down)]
        left, top = (width - across) // 2, (height - down) // 2 // 2 * 2
        self._image_region = Region(left, top, across, down)
        if (frame := self._frame) is not None and frame.area == 1:  # never left out
            xs[min(across - 1, int(frame.x * times))], ys[min(down - 1, int(frame.y * times))] = frame.x, frame.y
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


def share_scale(canvases: Sequence[ImageCanvas]) -> None:
    """Let canvases draw pixels of the same size."""
    for canvas in canvases:
        canvas._group = canvases


def _inside(start: int, stop: int, spacing: int, size: int) -> range:
    """Every `spacing`th index from `start` to before `stop` that lies in [0, size)."""
    return range(start if start >= 0 else start % spacing, min(size, stop), spacing)
