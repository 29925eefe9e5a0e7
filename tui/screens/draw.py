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
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.screen import ScreenResultType
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from core.engine.protocol import DrawnImage
from core.system.terminal import RAMPS
from tui.actions import bindings
from tui.class_names import class_name
from tui.lab.image_canvas import ImageCanvas
from tui.terminal.cells import GAP, GRAYS, MARK, TINTED, amber
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
    """A gray or RGB image, which is amber where there is ink.

    Args:
        image: uint8 pixels of shape (height, width, channels).
        ink: 255 where the mask is, 0 elsewhere, (height, width).
        height, width: In pixels.
        channels: 1 for gray, 3 for RGB.
    """

    def __init__(self, image: bytes, ink: bytes, height: int, width: int, channels: int) -> None:
        super().__init__(ink, height, width, BROAD_PEN)
        self._picture, self._picture_channels = image, channels

    def _canvas(self, columns: int, lines: int) -> Iterator[bytes]:
        self._drawn = self._choose(shrunk=False)  # one pixel of the screen for each of the image
        rgb = self._picture_channels > 1 and self._drawn not in RAMPS
        self._channels = 3 if rgb else 1
        plain, masked = self._rgb_pixels() if rgb else self._gray_pixels()
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
        """Colors of the image as it is, and in amber."""
        colors = pack(self._picture)
        ambers = unpack(pack(bytes(channel for gray in GRAYS for channel in amber(gray))))
        return unpack(colors), [ambers[level] for level in luminance(colors)]

    def _gray_pixels(self) -> tuple[Sequence[int], Sequence[int]]:
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
    CanvasScreen #class { height: 1; text-align: center; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, canvas: DrawingCanvas) -> None:
        super().__init__()
        self._canvas = canvas

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = "space pen · backspace clear · enter accept · esc close"
            with Center():
                yield self._canvas
            yield from self.lines()

    def lines(self) -> Iterator[Static]:
        """Lines of text below the canvas."""
        yield from ()

    def on_mount(self) -> None:
        self._canvas.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Scale the canvas by the largest integer that fits."""
        (width, height), (across, down) = event.size, self._canvas.resolution
        used = BORDER[1] + len(self.query(Static))
        scale = max(1, min((width - BORDER[0]) // across, 2 * (height - used) // down))
        columns, rows = scale * across, -(-scale * down // 2)
        self._canvas.styles.width, self._canvas.styles.height = columns, rows
        box = self.query_one(Vertical)
        box.styles.width, box.styles.height = max(MIN_WIDTH, columns + BORDER[0]), rows + used

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


class DrawingScreen(CanvasScreen[DrawnImage | None]):
    """Draws an image of a class. Dismissed with the drawing, or with None if canceled.

    Args:
        canvas: The canvas.
        drawing: The drawing to edit; None for none.
        class_names: The classes to choose from; empty if the model is unconditional.
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings("digit")

    def __init__(self, canvas: DrawingCanvas, drawing: DrawnImage | None, class_names: Sequence[str]) -> None:
        super().__init__(canvas)
        self.label = None if drawing is None else drawing.label
        """The class, -1 for no class; None: the class that the feature classifier reads."""
        self._class_names = class_names

    def lines(self) -> Iterator[Static]:
        """The class, and the keys that change it."""
        if self._class_names:
            yield Static(self._class_line(), id="class", markup=False)

    def _class_line(self) -> Content:
        if self.label is None:
            name = "as the classifier reads it"
        else:
            name = "none" if self.label == NO_CLASS else class_name(self.label, self._class_names)
        last = min(9, len(self._class_names) - 1)
        keys = f"0-{last} set, - none" + ("" if self.label is None else ", h read")
        return Content.assemble(("class ", "$foreground 60%"), (name, "bold $accent"), (f"  {keys}", "$foreground 50%"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable the classes that the model has."""
        if action == "label":
            (label,) = parameters
            return isinstance(label, int) and bool(self._class_names) and label < len(self._class_names)
        return bool(self._class_names) if action == "read_class" else super().check_action(action, parameters)

    def action_label(self, label: int) -> None:
        """Set the class; -1 for no class."""
        self._set_label(label)

    def action_read_class(self) -> None:
        """Let the feature classifier read the class."""
        self._set_label(None)

    def _set_label(self, label: int | None) -> None:
        self.label = label
        self.query_one("#class", Static).update(self._class_line())

    def action_take(self) -> None:
        """Accept the drawing."""
        self.dismiss(DrawnImage(self.pixels().hex(), self.label))

    def pixels(self) -> bytes:
        """The drawing, one byte for each pixel."""
        return bytes(self._canvas.ink)


class DrawScreen(DrawingScreen):
    """Draws a digit of 28x28 pixels."""

    HEADING = "Draw a digit with arrow keys or mouse"

    def __init__(self, drawing: DrawnImage | None = None, class_names: Sequence[str] = ()) -> None:
        ink = bytes(SIDE * SIDE) if drawing is None else bytes.fromhex(drawing.pixels)
        super().__init__(DrawingCanvas(ink), drawing, class_names)


class SketchScreen(DrawingScreen):
    """Draws an image of any size.

    Args:
        drawing: The drawing to edit, of height * width pixels; None for none.
        shape: Height and width.
        class_names: As for `DrawingScreen`.
        terminal: Size of the terminal, in cells. If the image does not fit, several pixels share one of the canvas.
        characters: As for `ImageGrid`.
    """

    HEADING = "Draw an image with arrow keys or mouse"

    def __init__(
        self,
        drawing: DrawnImage | None,
        shape: tuple[int, int],
        terminal: Size,
        class_names: Sequence[str] = (),
        *,
        characters: bool = True,
    ) -> None:
        self._cells = Cells(shape, terminal.width, terminal.height - bool(class_names))
        ink = bytes(shape[0] * shape[1]) if drawing is None else bytes.fromhex(drawing.pixels)
        canvas = DrawingCanvas(bytes(self._cells.shared(ink)), self._cells.rows, self._cells.columns)
        super().__init__(canvas, drawing, class_names)
        self._canvas.characters = characters

    def pixels(self) -> bytes:
        """The drawing, one byte for each pixel of the image."""
        return bytes(self._cells.spread(self._canvas.ink))


class MaskScreen(CanvasScreen["tuple[str, ...] | None"]):
    """Draws a mask over an image. Dismissed with the mask, or with None if canceled.

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
        cells = self._cells = Cells((height, width), terminal.width, terminal.height)
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

    def __init__(self, shape: tuple[int, int], columns: int, lines: int) -> None:
        self.height, self.width = shape
        room = max(1, columns - BORDER[0]), max(1, 2 * (lines - BORDER[1]))
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
