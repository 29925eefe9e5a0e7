"""An image canvas on which a pixel can be chosen with the arrow keys or the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.lab.image_canvas import ImageCanvas


class PixelPicker(ImageCanvas, can_focus=True):
    """Posts `Pointed` when a pixel is chosen; the receiver sets the frame."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("pixel")

    @dataclass
    class Pointed(Message):
        """A pixel was chosen."""

        row: int
        column: int

    def action_point(self, across: int, down: int) -> None:
        """Choose a neighbor of the framed pixel."""
        if self.frame is not None:
            self._point(self.frame.y + down, self.frame.x + across)

    def on_click(self, event: events.Click) -> None:
        at = self.pixel_at(event.x, event.y)
        if at is not None:
            self._point(*at)

    def _point(self, row: int, column: int) -> None:
        height, width = self.shape
        if 0 <= row < height and 0 <= column < width:
            self.post_message(self.Pointed(row, column))
