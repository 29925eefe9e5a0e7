"""The drawing dialogs: a canvas and a pen, controlled by the arrow keys or the mouse, for a digit or for a mask."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Center, Vertical
from textual.geometry import Region, Size
from textual.message import Message
from textual.screen import ScreenResultType

from tui.actions import bindings
from tui.lab.image_canvas import ImageCanvas
from tui.terminal.cells import GAP, GREYS, MARK, RAMPS, TINTED, amber
from tui.terminal.resize import resize
from tui.terminal.rgb import RGB_GAP, RGB_MARK, luminance, pack, unpack
from tui.widgets.modal import Modal

SIDE = 28
# Ink by offset from the pen: lines are about two pixels wide, as in MNIST.
PEN = {(x, y): (255, 120, 40)[abs(x) + abs(y)] for x in (-1, 0, 1) for y in (-1, 0, 1)}
BROAD_PEN = dict.fromkeys(PEN, 255)
BORDER = (4, 2)  # columns and rows of border and padding
MIN_WIDTH = 60  # columns; the subtitle lists the keys


class DrawingCanvas(ImageCanvas):
    """The canvas with its ink and pen. Dragging the mouse draws.

    Args:
        ink: One byte for each pixel, row by row.
        height, width: In pixels.
        pen: Ink by offset from the pen.
    """

    class Moved(Message):
        """The pen moved, or was lowered or raised."""

    def __init__(
        self, ink: bytes, height: int = SIDE, width: int = SIDE, pen: Mapping[tuple[int, int], int] = PEN
    ) -> None:
        super().__init__()
        self.ink = bytearray(ink)
        self.pen = width // 2, height // 2
        self.pen_down = False
        self.resolution = Size(width, height)
        self._pen_ink = pen

    def move(self, x: int, y: int, *, draws: bool) -> None:
        """Move the pen in a straight line to (x, y), clamped to the canvas; `draws`: leave ink on the way."""
        target = max(0, min(self.resolution.width - 1, x)), max(0, min(self.resolution.height - 1, y))
        if draws:
            (from_x, from_y), (to_x, to_y) = self.pen, target
            steps = max(abs(to_x - from_x), abs(to_y - from_y), 1)
            for step in range(steps + 1):
                self._touch(
                    from_x + round((to_x - from_x) * step / steps), from_y + round((to_y - from_y) * step / steps)
                )
        self.pen = target
        self.redraw()

    def wipe(self) -> None:
        """Remove all ink."""
        self.ink = bytearray(len(self.ink))
        self.redraw()

    def redraw(self) -> None:
        """Draw the ink and the pen."""
        self.show_image(bytes(self.ink), (self.resolution.height, self.resolution.width), frame=Region(*self.pen, 1, 1))
        self.post_message(self.Moved())

    def _touch(self, x: int, y: int) -> None:
        for (across, down), ink in self._pen_ink.items():
            column, row = x + across, y + down
            if 0 <= column < self.resolution.width and 0 <= row < self.resolution.height:
                index = row * self.resolution.width + column
                self.ink[index] = max(self.ink[index], ink)

    def _pixel(self, event: events.MouseEvent) -> tuple[int, int]:
        """The pixel under the mouse; the upper one if a cell shows two."""
        scale = max(1, self.size.width // self.resolution.width)
        return int(event.x) // scale, 2 * int(event.y) // scale

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Start a line."""
        event.stop()
        self.capture_mouse()
        self.pen = self._pixel(event)
        self.move(*self.pen, draws=True)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Continue the line, without gaps."""
        if self.app.mouse_captured is self:
            self.move(*self._pixel(event), draws=True)

    def on_mouse_up(self) -> None:
        """End the line."""
        self.release_mouse()


class MaskCanvas(DrawingCanvas):
    """A grey or RGB image, which is amber where there is ink.

    Args:
        image: uint8 pixels of shape (height, width, channels).
        ink: 255 where the mask is, 0 elsewhere, (height, width).
        height, width: In pixels.
        channels: 1 for grey, 3 for RGB.
    """

    def __init__(self, image: bytes, ink: bytes, height: int, width: int, channels: int) -> None:
        super().__init__(ink, height, width, BROAD_PEN)
        self._picture, self._picture_channels = image, channels

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        self._drawn = self._choose(shrunk=False)  # one pixel of the screen for each of the image
        rgb = self._picture_channels > 1 and self._drawn not in RAMPS
        self._channels = 3 if rgb else 1
        plain, masked = self._rgb_pixels() if rgb else self._grey_pixels()
        gap, mark = (RGB_GAP, RGB_MARK) if rgb else (GAP, MARK)
        pixels = [masked[at] if ink else plain[at] for at, ink in enumerate(self.ink)]
        across, (x, y) = self.resolution.width, self.pen
        at = y * across + x
        pixels[at] = gap if self.ink[at] and self._drawn not in RAMPS else mark
        scale = max(1, columns // across)
        for line in range(2 * lines):
            row = pixels[line // scale * across : (line // scale + 1) * across]
            row = [pixel for pixel in row for _ in range(scale)][:columns]
            row += [gap] * (columns - len(row))
            yield struct.pack(f"<{columns}H", *row) if rgb else bytes(row)

    def _rgb_pixels(self) -> tuple[Sequence[int], Sequence[int]]:
        """Colours of the image as it is, and in amber."""
        colors = pack(self._picture)
        ambers = unpack(pack(bytes(channel for grey in GREYS for channel in amber(grey))))
        return unpack(colors), [ambers[level] for level in luminance(colors)]

    def _grey_pixels(self) -> tuple[Sequence[int], Sequence[int]]:
        """Levels of the image as it is, and in amber."""
        if self._picture_channels > 1:
            levels = luminance(pack(self._picture))
        else:
            levels = self._picture.translate(self._grey_levels)
        return levels, [level + TINTED for level in levels]


class CanvasScreen(Modal[ScreenResultType]):
    """Shows a canvas, enlarged, with its keys."""

    HEADING: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = bindings("draw")
    DEFAULT_CSS = """
    CanvasScreen > Vertical { padding: 0 1; max-height: 100vh; }
    """

    def __init__(self, canvas: DrawingCanvas) -> None:
        super().__init__()
        self._canvas = canvas

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = "space pen · backspace clears · enter accepts · esc cancels"
            with Center():
                yield self._canvas

    def on_mount(self) -> None:
        self._canvas.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Scale the canvas by the largest integer that fits."""
        (width, height), (across, down) = event.size, self._canvas.resolution
        scale = max(1, min((width - BORDER[0]) // across, 2 * (height - BORDER[1]) // down))
        columns, rows = scale * across, -(-scale * down // 2)
        self._canvas.styles.width, self._canvas.styles.height = columns, rows
        box = self.query_one(Vertical)
        box.styles.width, box.styles.height = max(MIN_WIDTH, columns + BORDER[0]), rows + BORDER[1]

    def on_drawing_canvas_moved(self) -> None:
        """Show whether the pen is down."""
        pen = "down" if self._canvas.pen_down else "up"
        self.query_one(Vertical).border_title = f"{self.HEADING} · pen {pen}"

    def action_move(self, across: int, down: int) -> None:
        """Move the pen; draw if it is down."""
        x, y = self._canvas.pen
        self._canvas.move(x + across, y + down, draws=self._canvas.pen_down)

    def action_ink(self) -> None:
        """Lower or raise the pen."""
        self._canvas.pen_down = not self._canvas.pen_down
        self.action_move(0, 0)

    def action_clear(self) -> None:
        """Clear the canvas and raise the pen."""
        self._canvas.pen_down = False
        self._canvas.wipe()


class DrawScreen(CanvasScreen[str | None]):
    """Edits `pixels`, 784 bytes in hexadecimal. Dismissed with the new pixels, or with None if cancelled."""

    HEADING = "Draw a digit with arrow keys or mouse"

    def __init__(self, pixels: str | None = None) -> None:
        super().__init__(DrawingCanvas(bytes.fromhex(pixels) if pixels else bytes(SIDE * SIDE)))

    def action_take(self) -> None:
        """Accept the drawing."""
        self.dismiss(self._canvas.ink.hex())


class SketchScreen(CanvasScreen[str | None]):
    """Draws an image of any size. Dismissed with its pixels, in hexadecimal, or with None if cancelled.

    Args:
        pixels: The drawing to edit, height * width bytes in hexadecimal; None for none.
        shape: Height and width.
        terminal: Size of the terminal, in cells. If the image does not fit, several pixels share one of the canvas.
        characters: As for `ImageGrid`.
    """

    HEADING = "Draw an image with arrow keys or mouse"

    def __init__(self, pixels: str | None, shape: tuple[int, int], terminal: Size, *, characters: bool = True) -> None:
        self._cells = Cells(shape, terminal)
        ink = bytes(self._cells.shared(bytes.fromhex(pixels) if pixels else bytes(shape[0] * shape[1])))
        super().__init__(DrawingCanvas(ink, self._cells.rows, self._cells.columns))
        self._canvas.characters = characters

    def action_take(self) -> None:
        """Accept the drawing."""
        self.dismiss(bytes(self._cells.spread(self._canvas.ink)).hex())


class MaskScreen(CanvasScreen["tuple[str, ...] | None"]):
    """Draws a mask over an image. Dismissed with the mask, or with None if cancelled.

    Args:
        image: uint8 pixels of shape (height, width, channels).
        shape: Height, width and channels.
        mask: The mask to edit, as in `core.engine.protocol.Start`; empty for none.
        terminal, characters: As for `SketchScreen`.
    """

    HEADING = "Draw over what to generate"

    def __init__(
        self,
        image: bytes,
        shape: tuple[int, int, int],
        mask: tuple[str, ...],
        terminal: Size,
        *,
        characters: bool = True,
    ) -> None:
        height, width, channels = shape
        cells = self._cells = Cells((height, width), terminal)
        if (cells.rows, cells.columns) != (height, width):
            image = resize(image, 1, height, width, cells.rows, cells.columns, channels)
        marks = [255 * (mark == "1") for mark in "".join(mask)] or bytes(height * width)
        ink = bytes(cells.shared(marks))
        super().__init__(MaskCanvas(image, ink, cells.rows, cells.columns, channels))
        self._canvas.characters = characters

    def action_take(self) -> None:
        """Accept the mask; it is empty if nothing was drawn."""
        marks = "".join("01"[ink > 0] for ink in self._cells.spread(self._canvas.ink))
        width = self._cells.width
        mask = tuple(marks[start : start + width] for start in range(0, len(marks), width))
        self.dismiss(mask if any(self._canvas.ink) else ())


class Cells:
    """The canvas of an image: its pixels, or, if they do not fit into the terminal, cells of several pixels."""

    def __init__(self, shape: tuple[int, int], terminal: Size) -> None:
        self.height, self.width = shape
        room = max(1, terminal.width - BORDER[0]), max(1, 2 * (terminal.height - BORDER[1]))
        share = max(1, -(-self.width // room[0]), -(-self.height // room[1]))
        self.rows, self.columns = -(-self.height // share), -(-self.width // share)

    def shared(self, pixels: Sequence[int]) -> Iterator[int]:
        """The first pixel of each cell."""
        for row, column in product(range(self.rows), range(self.columns)):
            yield pixels[-(-row * self.height // self.rows) * self.width - (-column * self.width // self.columns)]

    def spread(self, cells: Sequence[int]) -> Iterator[int]:
        """The cell of each pixel."""
        for y, x in product(range(self.height), range(self.width)):
            yield cells[y * self.rows // self.height * self.columns + x * self.columns // self.width]
