"""The stage: the noisy state and the model's prediction as two grids, side by side or one above the other."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from core.recording import Denoising, Frame
from core.sampling_options import NO_CLASS
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
        self._source = [Content()]  # in ever fewer words
        self._labels: Sequence[int] | None = None

    def compose(self) -> ComposeResult:
        """Two titled grids."""
        with Vertical(id="noisy"):
            yield Static(id="noisy-caption")
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
        # Below each digit the class it was asked to be, unless they are all of one.
        labels = self._labels if self._labels is not None and len(set(self._labels)) > 1 else ()
        captions = [_named(label) for label in labels]
        self.query_one("#noisy-digits", DigitGrid).show(frame.x, *size, captions)
        self.query_one("#predicted-digits", DigitGrid).show(frame.prediction or blank, *size, captions)
        self._caption()

    def ask(self, labels: Sequence[int] | None) -> None:
        """The class that each of the digits shown from now on was asked to be; None where the model has no classes."""
        self._labels = labels

    def say(self, source: Content, *more: str) -> None:
        """Where what is shown comes from: `source`, and the first of `more` that there is room for."""
        self._source = [*(Content.assemble(source, (f" {words}", "$foreground 50%")) for words in more), source]
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
        choices = [*((title, source) for source in self._source), (brief, self._source[-1])]
        if self._shown is not None and self._shown[1].prediction is None:
            none_yet = Content.assemble(title, ("  none before step 1", "$foreground 40%"))
            choices.insert(0, (none_yet, self._source[-1]))
        self._fill("predicted-caption", choices)
        title = Content.styled("Noisy state", "bold")
        asked, quiet = self._asked(), "$foreground 50%"
        said = [f"asked for {asked}", asked] if asked else []
        self._fill("noisy-caption", [*((title, Content.styled(words, quiet)) for words in said), (title, Content())])

    def _asked(self) -> str:
        """The classes asked for, where they do not stand below the digits."""
        if self._labels is None or self.query_one("#noisy-digits", DigitGrid).captioned:
            return ""
        return " ".join(map(_named, set(self._labels) if len(set(self._labels)) == 1 else self._labels))

    def _fill(self, caption: str, choices: Sequence[tuple[Content, Content]]) -> None:
        """Left and right in a line: the first choice that fits, or the last."""
        line = self.query_one(f"#{caption}", Static)
        width = line.size.width
        left, right = next((pair for pair in choices if pair[0].cell_length + pair[1].cell_length < width), choices[-1])
        line.update(Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right))


def _named(label: int) -> str:
    return "any" if label == NO_CLASS else str(label)
