"""Drawing a digit: a board of 28 by 28 pixels and a soft pen, moved by the arrows or the mouse."""

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
# How dark the pen makes a pixel so far from it, across and down: a line comes out about two pixels wide, as in MNIST.
PEN = {(x, y): (255, 120, 40)[abs(x) + abs(y)] for x in (-1, 0, 1) for y in (-1, 0, 1)}
AROUND = (4, 2)  # columns and rows that the frame takes
NARROWEST = 60  # columns of the frame, for the keys in it


class DrawingCanvas(ImageCanvas):
    """The board: holds the ink and the pen; a held mouse button draws."""

    class Moved(Message):
        """The pen is elsewhere, or up, or down."""

    def __init__(self, ink: bytes) -> None:
        super().__init__()
        self.ink = bytearray(ink)
        self.pen = SIDE // 2, SIDE // 2
        self.down = False

    def move(self, x: int, y: int, *, draws: bool) -> None:
        """Take the pen to a pixel, the nearest there is, along a line; leave ink on the way if it `draws`."""
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
        """Take all ink away."""
        self.ink = bytearray(SIDE * SIDE)
        self.redraw()

    def redraw(self) -> None:
        """Draw ink and pen."""
        self.show_image(bytes(self.ink), (SIDE, SIDE), frame=Region(*self.pen, 1, 1))
        self.post_message(self.Moved())

    def _touch(self, x: int, y: int) -> None:
        for (across, down), dark in PEN.items():
            column, row = x + across, y + down
            if 0 <= column < SIDE and 0 <= row < SIDE:
                at = row * SIDE + column
                self.ink[at] = max(self.ink[at], dark)

    def _pixel(self, event: events.MouseEvent) -> tuple[int, int]:
        """The pixel under the pointer; of two in one cell the upper."""
        times = max(1, self.size.width // SIDE)
        return int(event.x) // times, 2 * int(event.y) // times

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin a line."""
        event.stop()
        self.capture_mouse()
        self.pen = self._pixel(event)
        self.move(*self.pen, draws=True)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Draw on, without gaps however fast the mouse is."""
        if self.app.mouse_captured is self:
            self.move(*self._pixel(event), draws=True)

    def on_mouse_up(self) -> None:
        """End the line."""
        self.release_mouse()


class DrawScreen(Modal[str | None]):
    """Ends with the 784 bytes of what was drawn, in hexadecimal, or with None; begins with what was drawn last."""

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
        self._paper = DrawingCanvas(bytes.fromhex(pixels) if pixels else bytes(SIDE * SIDE))

    def compose(self) -> ComposeResult:
        """The board in its frame."""
        with Vertical() as box:
            box.border_subtitle = "space ink · backspace clear · enter take · esc leave"
            with Center():
                yield self._paper

    def on_mount(self) -> None:
        """Show what there is."""
        self._paper.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Make the board as large as it gets in whole pixels."""
        width, height = event.size
        times = max(1, min((width - AROUND[0]) // SIDE, 2 * (height - AROUND[1]) // SIDE))
        across, down = times * SIDE, times * SIDE // 2
        self._paper.styles.width, self._paper.styles.height = across, down
        box = self.query_one(Vertical)
        box.styles.width, box.styles.height = max(NARROWEST, across + AROUND[0]), down + AROUND[1]

    def on_drawing_canvas_moved(self) -> None:
        """Say whether the pen draws."""
        self.query_one(
            Vertical
        ).border_title = f"Draw a digit, arrows or mouse · ink is {'down' if self._paper.down else 'up'}"

    def action_move(self, across: int, down: int) -> None:
        """Move the pen, and draw if its ink is down."""
        x, y = self._paper.pen
        self._paper.move(x + across, y + down, draws=self._paper.down)

    def action_ink(self) -> None:
        """Put ink down, or lift it."""
        self._paper.down = not self._paper.down
        self.action_move(0, 0)

    def action_clear(self) -> None:
        """Begin anew, with the pen up."""
        self._paper.down = False
        self._paper.wipe()

    def action_take(self) -> None:
        """Hand over what is drawn."""
        self.dismiss(self._paper.ink.hex())
