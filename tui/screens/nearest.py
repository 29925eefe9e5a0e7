"""The nearest training image beside each sample, with their distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.engine.protocol import NearestProgress, NearestReply, SampleRequest
from core.runs.trajectory import Denoising
from tui.actions import bindings
from tui.class_names import class_name
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineRefused, NearestReplied
from tui.widgets.image_grid import ImageGrid
from tui.widgets.modal import Modal

GAP_PART = 14  # of an image's width, between a sample and its training image
GAP_GRAY = b"\x80"


class NearestScreen(Modal[None]):
    """Asks the engine for the nearest training images and shows each sample and its own as one image.

    Args:
        engine: The engine, which sends its messages here until the screen is closed.
        request: The request of the samples.
        denoising: The complete trajectory.
        class_names: Names of the model's classes.
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings("nearest")
    DEFAULT_CSS = """
    NearestScreen {
        & > Vertical { width: 100%; max-width: 180; height: 100%; max-height: 66; padding: 0 1; }
        & Static { height: auto; margin-bottom: 1; }
    }
    """

    def __init__(
        self, engine: EngineClient, request: SampleRequest, denoising: Denoising, class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._engine, self._request = engine, request
        self._denoising, self._class_names = denoising, class_names
        self._previous_callback: Callable[[Message], object] | None = None  # of the engine, restored on closing
        self.reply: NearestReply | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Nearest training images"
            box.border_subtitle = "esc closes"
            yield Static(id="note", markup=False)
            grid = ImageGrid()
            grid.captions_first = True
            grid.characters = self._denoising.characters
            yield grid

    async def on_mount(self) -> None:
        """Send the request."""
        self._previous_callback = self._engine.redirect(self.post_message)
        self._show_note("loading the training images …")
        await self._engine.find_nearest(self._request)

    def on_unmount(self) -> None:
        """Return the engine to the screen below."""
        if self._previous_callback is not None:
            self._engine.redirect(self._previous_callback)

    def on_nearest_replied(self, message: NearestReplied) -> None:
        """Show the progress, or the images."""
        match message.reply:
            case NearestProgress(compared=compared, total=total) if total:
                self._show_note(f"comparing with {total:,} training images: {compared / total:.0%}")
            case NearestReply() as reply:
                self.reply = reply
                self._show_note(
                    "Left: the sample. Right: the nearest training image, and below both their distance, the root "
                    "mean square difference of pixel values: 0 for a copy."
                )
                self.call_after_refresh(self._draw, reply)  # once the note has its height

    def _draw(self, reply: NearestReply) -> None:
        denoising, row = self._denoising, self._denoising.width * self._denoising.channels
        gap = max(1, denoising.width // GAP_PART)
        pairs = side_by_side(denoising.frames[-1].x, reply.images, row, gap * denoising.channels)
        captions = [
            f"{distance:.3f}" if label < 0 else f"{distance:.3f} {class_name(label, self._class_names)}"
            for distance, label in zip(reply.distances, reply.labels, strict=True)
        ]
        self.query_one(ImageGrid).set_images(
            pairs, denoising.n, denoising.height, 2 * denoising.width + gap, captions, channels=denoising.channels
        )

    def on_engine_refused(self, message: EngineRefused) -> None:
        """Show why there are none."""
        self._show_note(message.notice, "$text-error")

    def on_engine_died(self, message: EngineDied) -> None:
        """Show the reason."""
        self._show_note(message.notice, "$text-warning")

    def _show_note(self, text: str, style: str = "") -> None:
        self.query_one("#note", Static).update(Content.styled(text, style))


def side_by_side(left: bytes, right: bytes, row: int, gap: int) -> bytes:
    """Images beside others of the same shape; `row` is the number of bytes in a row, `gap` that of gray between."""
    space = GAP_GRAY * gap
    return b"".join(left[at : at + row] + space + right[at : at + row] for at in range(0, len(left), row))
