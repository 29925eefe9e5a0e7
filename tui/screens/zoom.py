"""The zoom: one digit of the denoising, large, with the values of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from core.runs.trajectory import Denoising, Frame
from tui.actions import bindings
from tui.widgets.denoising_view import difference
from tui.widgets.digits import DigitGrid
from tui.widgets.modal import Modal

AROUND = 2  # pixels on each side of the one pointed at whose values are shown; 1 to the sides where it is narrow
WIDE = 72  # columns


class ZoomScreen(Modal[None]):
    """Shows digit `digit` of the step that `current` tells; `step` moves on by so many steps."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("zoom")
    DEFAULT_CSS = """
    ZoomScreen {
        align: center middle;
        & > Vertical {
            width: 100%; max-width: 180; height: 100%; max-height: 66;
            background: $surface; border: round $primary; padding: 0 1;
            border-title-color: $primary; border-subtitle-color: $foreground 50%;
        }
        & Horizontal { height: 1fr; }
        & Horizontal > Vertical { width: 1fr; height: 1fr; margin: 0 1; }
        & .title { height: 1; text-style: bold; }
        & #values { height: 6; margin: 0 1; text-wrap: nowrap; }
    }
    """

    def __init__(self, current: Callable[[], tuple[Denoising, int]], step: Callable[[int], None]) -> None:
        super().__init__()
        self._current, self._step = current, step
        self._digit = 0
        self._at = (14, 14)

    def compose(self) -> ComposeResult:
        """Three pictures and the values around the pixel pointed at."""
        with Vertical() as box:
            box.border_subtitle = "arrows pixel · , . step · tab digit · esc closes"
            with Horizontal():
                for name, title in (("state", "Noisy state"), ("prediction", "Prediction"), ("change", "Change")):
                    with Vertical(id=f"zoom-{name}"):
                        yield Static(title, classes="title")
                        yield DigitGrid(1)
            yield Static(id="values")

    def on_mount(self) -> None:
        """Draw the step that is shown."""
        self.draw()

    def on_resize(self) -> None:
        """Do without the change where the digits would get small."""
        self.query_one("#zoom-change").display = self.size.width >= 100
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Draw the step that is shown now."""
        denoising, position = self._current()
        frame = denoising.frames[position]
        before = denoising.frames[position - 1] if position else frame
        self._digit %= denoising.n
        size = denoising.height * denoising.width
        cut = slice(self._digit * size, (self._digit + 1) * size)
        pictures = {
            "state": frame.x[cut],
            "prediction": frame.prediction[cut] if frame.prediction else bytes(size),
            "change": difference(frame.x[cut], before.x[cut])[0],
        }
        for name, image in pictures.items():
            grid = self.query_one(f"#zoom-{name} DigitGrid", DigitGrid)
            grid.set_images(image, 1, denoising.height, denoising.width)
            grid.set_marker(*self._at)
        read = frame.read[self._digit] if frame.read else None
        sure = f", read as {read[0]} ({read[1]}% sure)" if read else ""
        box = self.query_one(Vertical)
        box.border_title = (
            f"Digit {self._digit + 1} of {denoising.n} · step {position} of {denoising.steps} · "
            f"noise {frame.t:.2f}{sure}"
        )
        self.query_one("#values", Static).update(self._values(denoising, frame, cut))

    def _values(self, denoising: Denoising, frame: Frame, cut: slice) -> Content:
        """The pixels around the one pointed at, of the state and of the prediction."""
        x, y = self._at
        rows = [Content.assemble(("pixel ", "$foreground 60%"), (f"column {x}, row {y}", "bold"))]
        beside = AROUND if self.size.width >= WIDE else 1
        images = [frame.x[cut], frame.prediction[cut] if frame.prediction else None]
        for row in range(y - AROUND, y + AROUND + 1):
            parts: list[tuple[str, str]] = []
            for image in images:
                for column in range(x - beside, x + beside + 1):
                    inside = 0 <= row < denoising.height and 0 <= column < denoising.width
                    value = "" if image is None or not inside else f"{image[row * denoising.width + column] / 255:.2f}"
                    parts.append((f"{value:>6}", "bold $accent" if (column, row) == self._at else "$foreground 75%"))
                parts.append(("    ", ""))
            rows.append(Content.assemble(*parts))
        return Content("\n").join(rows)

    def action_point(self, across: int, down: int) -> None:
        """Point at a neighbouring pixel."""
        denoising, _ = self._current()
        x, y = self._at[0] + across, self._at[1] + down
        self._at = max(0, min(denoising.width - 1, x)), max(0, min(denoising.height - 1, y))
        self.draw()

    def action_digit(self, by: int) -> None:
        """The next digit, or the one before."""
        self._digit += by
        self.draw()

    def action_step(self, by: int) -> None:
        """A step on or back."""
        self._step(by)
        self.draw()
