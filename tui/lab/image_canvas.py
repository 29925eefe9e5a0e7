"""A board: one image as large as it fits in whole pixels, with a frame around a part of it, known only so far."""

from __future__ import annotations

from collections.abc import Iterator

from textual.geometry import Region

from tui.terminal.cells import GAP, INVERTED, MARK, NEAREST, TINTED
from tui.widgets.digits import DigitGrid


class ImageCanvas(DigitGrid):
    """Draws an image pixel by pixel, so that a frame lies on just the pixels it should.

    Where there is too little room some rows and columns are left out; where there is enough, each pixel is repeated.
    """

    DEFAULT_CSS = """
    ImageCanvas { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(1, id=id)
        self._image = b""
        self._shape = (0, 0)
        self._known = 0
        self._frame: Region | None = None
        self._spacing = 1
        self._place = Region()  # of the image, in pixels of the screen

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self._shape

    @property
    def frame(self) -> Region | None:
        """The part that is framed, in pixels."""
        return self._frame

    def pixel_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Row and column of the pixel drawn at a cell, of the upper one of two; None beside the image."""
        tall, wide = self._shape
        place = self._place
        if not place.contains(x, 2 * y):
            return None
        return (2 * y - place.y) * tall // place.height, (x - place.x) * wide // place.width

    def lay(
        self,
        image: bytes,
        shape: tuple[int, ...],
        *,
        known: int | None = None,
        frame: Region | None = None,
        spacing: int = 1,
    ) -> None:
        """Show an image, uint8, of so many rows and columns.

        Args:
            image: its pixels, row by row.
            shape: height and width.
            known: how many of the pixels, counted row by row, are there; None for all.
            frame: the part that is framed, in pixels.
            spacing: of the pixels framed in it: every one, every second and so on.
        """
        height, width = shape
        self._image, self._shape, self._frame, self._spacing = image, (height, width), frame, spacing
        self._known = len(image) if known is None else known
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._image, self._shape = b"", (0, 0)
        self._draw()

    def _canvas(self, width: int, height: int) -> Iterator[bytes]:
        tall, wide = self._shape
        self._drawn = self._choose(shrunk=False)
        if self._drawn == "quadrant":
            self._drawn = "half"  # whose pixels are just those of the image
        empty = bytes([GAP]) * width
        if not self._image or width < 1 or height < 1:
            self._place = Region()
            yield from [empty] * height
            return
        times = min(width / wide, height / tall)
        times = float(int(times)) if times >= 1 else times
        across, down = max(1, int(wide * times)), max(1, int(tall * times))
        columns = [at * wide // across for at in range(across)]
        rows = [at * tall // down for at in range(down)]
        left, top = (width - across) // 2, (height - down) // 2 // 2 * 2
        self._place = Region(left, top, across, down)
        if (frame := self._frame) is not None and frame.area == 1:  # which is not to be left out
            columns[frame.x * across // wide], rows[frame.y * down // tall] = frame.x, frame.y
        coded = self._coded(wide)
        yield from [empty] * top
        for line in rows:
            row = coded[line]
            yield (bytes([GAP]) * left + bytes(row[column] for column in columns)).ljust(width, bytes([GAP]))
        yield from [empty] * (height - top - down)

    def _coded(self, wide: int) -> list[bytearray]:
        """The rows of the image as levels."""
        levels = NEAREST if self.app.current_theme.dark else INVERTED
        codes = bytearray(self._image.translate(levels))
        codes[self._known :] = bytes([GAP]) * (len(codes) - self._known)
        rows = [codes[at : at + wide] for at in range(0, len(codes), wide)]
        if self._frame is not None:
            for y in _inside(self._frame.y, self._frame.bottom, self._spacing, len(rows)):
                for x in _inside(self._frame.x, self._frame.right, self._spacing, wide):
                    rows[y][x] = MARK if rows[y][x] == GAP else rows[y][x] + TINTED
        return rows


def _inside(start: int, stop: int, spacing: int, size: int) -> range:
    """Every `spacing`th place from `start` to before `stop`, without those outside of 0 to `size`."""
    return range(start if start >= 0 else start % spacing, min(size, stop), spacing)
