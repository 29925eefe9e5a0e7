"""The stage: noisy state, prediction and the change between steps as grids, side by side or one above the other."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from core.runs.trajectory import Denoising, Frame
from tui.widgets.digits import DigitGrid, fit

BETWEEN = 4  # columns between the grids when they stand side by side
THREE = 150  # columns with room for the change beside the other two; with fewer it takes the noisy state's place


class DenoisingView(Container):
    """Draws one frame of a denoising; above the grids stand their titles and where the denoising comes from."""

    DEFAULT_CSS = """
    DenoisingView {
        height: 1fr; layout: horizontal;
        &.-stacked { layout: vertical; }
        & Vertical { width: 1fr; height: 1fr; }
        & Static { height: 1; width: 1fr; }
        & #noisy, & #change { margin-right: 4; }
        &.-stacked #noisy, &.-stacked #change { margin-right: 0; }
        & #change { display: none; }
        &.-change #change { display: block; }
        &.-change.-close #noisy { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Denoising, Frame] | None = None
        self._before: Frame | None = None
        self._largest = 0.0  # change of a pixel
        self._reads = False  # whether a classifier has said anything so far
        self._source = [Content()]  # in ever fewer words
        self._labels: Sequence[int] | None = None

    def compose(self) -> ComposeResult:
        """Titled grids."""
        with Vertical(id="noisy"):
            yield Static(id="noisy-caption")
            yield DigitGrid(id="noisy-digits")
        with Vertical(id="change"):
            yield Static(id="change-caption")
            yield DigitGrid(id="change-digits")
        with Vertical(id="predicted"):
            yield Static(id="predicted-caption")
            yield DigitGrid(id="predicted-digits")

    @property
    def shows_change(self) -> bool:
        """Whether the change between steps is in sight."""
        return self.has_class("-change")

    def show_change(self, shown: bool) -> None:
        """Draw what the newest step changed: lighter than grey where it added ink, darker where it took some away."""
        self.set_class(shown, "-change")
        self._arrange()
        if self._shown is not None:
            self.show(*self._shown, self._before)

    def show(self, denoising: Denoising, frame: Frame, before: Frame | None = None) -> None:
        """Draw a frame; `before` is the one before it, None where it is the first."""
        arranged = self._shown is not None and self._shown[0].n == denoising.n
        self._shown, self._before = (denoising, frame), before
        if not arranged:
            self._arrange()
        size = denoising.n, denoising.height, denoising.width
        blank = bytes(denoising.n * denoising.height * denoising.width)
        # Below each digit the class it was asked to be, unless they are all of one.
        labels = self._labels if self._labels is not None and len(set(self._labels)) > 1 else ()
        captions = [_named(label) for label in labels]
        read = [f"{label} {sure}%" for label, sure in frame.read or ()]
        self._reads = any(one.read for one in denoising.frames) if denoising.complete else self._reads or bool(read)
        if self._reads and not read:
            read = [""] * denoising.n  # so that the digits do not move when the first is read
        captions = captions or [""] * len(read)  # so that both grids are as large
        self.query_one("#noisy-digits", DigitGrid).show(frame.x, *size, captions)
        self.query_one("#predicted-digits", DigitGrid).show(frame.prediction or blank, *size, read or captions)
        if self.shows_change:
            change, self._largest = difference(frame.x, before.x if before else frame.x)
            self.query_one("#change-digits", DigitGrid).show(change, *size, captions)
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
        three = self.shows_change and width >= THREE
        self.set_class(self.shows_change and not three, "-close")
        count = 3 if three else 2
        beside = fit(denoising.n, Size((width - BETWEEN * (count - 1)) // count, (height - 1) * 2), *image)
        stacked = fit(denoising.n, Size(width, (height // count - 1) * 2), *image)
        self.set_class(stacked[2] > beside[2], "-stacked")

    def _caption(self) -> None:
        title, brief = Content.styled("Model prediction", "bold"), Content.styled("Prediction", "bold")
        choices = [*((title, source) for source in self._source), (brief, self._source[-1])]
        if self._shown is not None and self._shown[1].prediction is None:
            none_yet = Content.assemble(title, ("  none before step 1", "$foreground 40%"))
            choices.insert(0, (none_yet, self._source[-1]))
        self._fill("predicted-caption", choices)
        title = Content.styled("Change by this step", "bold")
        most = Content.styled(f"at most {self._largest:.2f}", "$foreground 50%")
        self._fill("change-caption", [(title, most), (title, Content())])
        title = Content.styled("Noisy state", "bold")
        asked, quiet = self._asked(), "$foreground 50%"
        said = [f"asked for {asked}", asked] if asked else []
        self._fill("noisy-caption", [*((title, Content.styled(words, quiet)) for words in said), (title, Content())])

    def _asked(self) -> str:
        """The classes asked for, where they do not stand below the digits."""
        if self._labels is None:
            return ""
        if len(set(self._labels)) == 1:
            return _named(self._labels[0])
        below = self.query_one("#noisy-digits", DigitGrid).captioned
        return "" if below else " ".join(map(_named, self._labels))

    def _fill(self, caption: str, choices: Sequence[tuple[Content, Content]]) -> None:
        """Left and right in a line: the first choice that fits, or the last."""
        line = self.query_one(f"#{caption}", Static)
        width = line.size.width
        left, right = next((pair for pair in choices if pair[0].cell_length + pair[1].cell_length < width), choices[-1])
        line.update(Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right))


def difference(now: bytes, before: bytes) -> tuple[bytes, float]:
    """What was added to each pixel, around middle grey, and the largest change as a share of the whole range.

    That largest change is drawn white, or black where it took ink away.
    """
    changes = [new - old for new, old in zip(now, before, strict=True)]
    largest = max(map(abs, changes), default=0)
    grey = {change: 128 + round(127 * change / max(1, largest)) for change in set(changes)}
    return bytes([grey[change] for change in changes]), largest / 255


def _named(label: int) -> str:
    return "any" if label == NO_CLASS else str(label)
