"""The stage: the noisy state and the model's prediction as two grids, side by side or one above the other."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from core.recording import Denoising, Frame
from tui.widgets.digits import DigitGrid, fit

BETWEEN = 4  # columns between the two grids when they stand side by side


class Stage(Container):
    """Draws one frame of a denoising; above the grids stand their titles and where the denoising comes from."""

    DEFAULT_CSS = """
    Stage {
        height: 1fr; layout: horizontal;
        &.-stacked { layout: vertical; }
        & Vertical { width: 1fr; height: 1fr; }
        & Static { height: 1; width: 1fr; }
        & #noisy { margin-right: 4; }
        &.-stacked #noisy { margin-right: 0; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Denoising, Frame] | None = None
        self._source = Content(), Content()  # in few words, and in more

    def compose(self) -> ComposeResult:
        """Two titled grids."""
        with Vertical(id="noisy"):
            yield Static(Content.styled("Noisy state", "bold"), id="noisy-caption")
            yield DigitGrid(id="noisy-digits")
        with Vertical(id="predicted"):
            yield Static(id="predicted-caption")
            yield DigitGrid(id="predicted-digits")

    def show(self, denoising: Denoising, frame: Frame) -> None:
        """Draw a frame."""
        arranged = self._shown is not None and self._shown[0].n == denoising.n
        self._shown = denoising, frame
        if not arranged:
            self._arrange()
        size = denoising.n, denoising.height, denoising.width
        blank = bytes(denoising.n * denoising.height * denoising.width)
        self.query_one("#noisy-digits", DigitGrid).show(frame.x, *size)
        self.query_one("#predicted-digits", DigitGrid).show(frame.prediction or blank, *size)
        self._caption()

    def say(self, source: Content, more: str) -> None:
        """Where what is shown comes from: `source`, and `more` where there is room for it."""
        self._source = source, Content.assemble(source, (f" {more}", "$foreground 50%"))
        self._caption()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the grids anew."""
        self._arrange()
        self.call_after_refresh(self._caption)

    def _arrange(self) -> None:
        """Stack the grids if that draws larger digits."""
        if self._shown is None or not self.size:
            return
        denoising, (width, height) = self._shown[0], self.size
        image = denoising.height, denoising.width
        beside = fit(denoising.n, Size((width - BETWEEN) // 2, (height - 1) * 2), *image)
        stacked = fit(denoising.n, Size(width, (height // 2 - 1) * 2), *image)
        self.set_class(stacked[2] > beside[2], "-stacked")

    def _caption(self) -> None:
        title, brief = Content.styled("Model prediction", "bold"), Content.styled("Prediction", "bold")
        mark, more = self._source
        choices = [(title, more), (title, mark), (brief, mark)]
        if self._shown is not None and self._shown[1].prediction is None:
            choices.insert(0, (Content.assemble(title, ("  none before step 1", "$foreground 40%")), mark))
        width = self.query_one("#predicted").size.width
        room = 0
        for left, right in choices:
            room = width - left.cell_length - right.cell_length
            if room > 0:
                break
        self.query_one("#predicted-caption", Static).update(Content.assemble(left, " " * max(1, room), right))
