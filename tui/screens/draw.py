"""The drawing dialog: a canvas of 28x28 pixels and a soft pen, controlled by the arrow keys or the mouse."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Center, Vertical
from textual.geometry import Region
from textual.message import Message

from tui.actions import bindings
from tui.lab.image_canvas import ImageCanvas
from tui.widgets.modal import Modal

SIDE = 28
# Ink by offset from the pen: lines are about two pixels wide, as in MNIST.
PEN = {(x, y): (255, 120, 40)[abs(x) + abs(y)] for x in (-1, 0, 1) for y in (-1, 0, 1)}
BORDER = (4, 2)  # columns and rows of border and padding
MIN_WIDTH = 60  # columns; the subtitle lists the keys


class DrawingCanvas(ImageCanvas):
    """The canvas with its ink and pen. Dragging the mouse draws."""

    class Moved(Message):
        """The pen moved, or was lowered or raised."""

    def __init__(self, ink: bytes) -> None:
        super().__init__()
        self.ink = bytearray(ink)
        self.pen = SIDE // 2, SIDE // 2
        self.pen_down = False

    def move(self, x: int, y: int, *, draws: bool) -> None:
        """Move the pen in a straight line to (x, y), clamped to the canvas; `draws`: leave ink on the way."""
        target = max(0, min(SIDE - 1, x)), max(0, min(SIDE - 1, y))
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
        self.ink = bytearray(SIDE * SIDE)
        self.redraw()

    def redraw(self) -> None:
        """Draw the ink and the pen."""
        self.show_image(bytes(self.ink), (SIDE, SIDE), frame=Region(*self.pen, 1, 1))
        self.post_message(self.Moved())

    def _touch(self, x: int, y: int) -> None:
        for (across, down), ink in PEN.items():
            column, row = x + across, y + down
            if 0 <= column < SIDE and 0 <= row < SIDE:
                index = row * SIDE + column
                self.ink[index] = max(self.ink[index], ink)

    def _pixel(self, event: events.MouseEvent) -> tuple[int, int]:
        """The pixel under the mouse; the upper one if a cell shows two."""
        scale = max(1, self.size.width // SIDE)
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


class DrawScreen(Modal[str | None]):
    """Edits `pixels`, 784 bytes in hexadecimal. Dismissed with the new pixels, or with None if cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("draw")
    DEFAULT_CSS = """
    DrawScreen {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            background: $surface; border: round $primary;
            border-title-color: $primary; border-subtitle-color: $foreground 50%;
        }
    }
    """

    def __init__(self, pixels: str | None = None) -> None:
        super().__init__()
        self._canvas = DrawingCanvas(bytes.fromhex(pixels) if pixels else bytes(SIDE * SIDE))

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = "space pen · backspace clear · enter accept · esc close"
            with Center():
                yield self._canvas

    def on_mount(self) -> None:
        self._canvas.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Scale the canvas by the largest integer that fits."""
        width, height = event.size
        scale = max(1, min((width - BORDER[0]) // SIDE, 2 * (height - BORDER[1]) // SIDE))
        columns, rows = scale * SIDE, scale * SIDE // 2
        self._canvas.styles.width, self._canvas.styles.height = columns, rows
        box = self.query_one(Vertical)
        box.styles.width, box.styles.height = max(MIN_WIDTH, columns + BORDER[0]), rows + BORDER[1]

    def on_drawing_canvas_moved(self) -> None:
        """Show whether the pen is down."""
        pen = "down" if self._canvas.pen_down else "up"
        self.query_one(Vertical).border_title = f"Draw a digit with arrow keys or mouse · pen {pen}"

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

    def action_take(self) -> None:
        """Accept the drawing."""
        self.dismiss(self._canvas.ink.hex())
