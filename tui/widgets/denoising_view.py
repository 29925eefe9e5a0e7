"""Grids of the noisy state, the model's prediction and the change in a step, side by side or stacked."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.reactive import var
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from core.runs.trajectory import Denoising, Frame
from tui.class_names import class_name
from tui.widgets.captions import Caption
from tui.widgets.image_grid import ImageGrid
from tui.widgets.text_line import shortened

GAP = 4  # columns between grids that are side by side
NO_PREDICTION = "no prediction before the first step"
THREE_GRIDS_WIDTH = 150  # columns needed for three grids; below, the change replaces the noisy state


class DenoisingView(Container):
    """Displays one frame of a denoising trajectory, with titles and its source; posts no messages.

    Attributes:
        show_change: Whether to show the change made by the step: middle grey is none; lighter channels were increased,
            darker ones decreased.
    """

    DEFAULT_CSS = """
    DenoisingView {
        height: 1fr; layout: horizontal;
        &.-stacked { layout: vertical; align-vertical: middle; }
        & Vertical { width: 1fr; height: 1fr; }
        & Static { height: 1; width: 1fr; }
        &.-stacked ImageGrid { content-align-vertical: top; }
        & #noisy, & #change { margin-right: 4; }
        &.-stacked #noisy, &.-stacked #change { margin-right: 0; }
        & #change { display: none; }
        &.-change #change { display: block; }
        &.-change.-close #noisy { display: none; }
    }
    """

    show_change = var(False, init=False)

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Denoising, Frame] | None = None
        self._previous: Frame | None = None
        self._max_change = 0.0  # of a pixel
        self._sources = [Content()]  # longest first
        self._start_images: bytes | None = None  # shown before the first prediction
        self._labels: Sequence[int] | None = None
        self._class_names: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="noisy"):
            yield Static(id="noisy-caption")
            yield ImageGrid(id="noisy-images")
        with Vertical(id="change"):
            yield Static(id="change-caption")
            yield ImageGrid(id="change-images")
        with Vertical(id="predicted"):
            yield Static(id="predicted-caption")
            yield ImageGrid(id="predicted-images")

    def on_mount(self) -> None:
        if hasattr(self.app, "drawing"):  # the size of images depends on it
            self.watch(self.app, "drawing", self._drawing_changed, init=False)

    def _drawing_changed(self) -> None:
        self.call_after_refresh(self._arrange)

    def watch_show_change(self, show_change: bool) -> None:
        self.set_class(show_change, "-change")
        self._arrange()
        if self._shown is not None:
            self.set_frame(*self._shown, self._previous)

    def set_frame(self, denoising: Denoising, frame: Frame, previous: Frame | None = None) -> None:
        """Show a frame; `previous` is the frame before it, None for the first."""
        self._shown, self._previous = (denoising, frame), previous
        size, channels = (denoising.n, denoising.height, denoising.width), denoising.channels
        # The requested class below each image, unless all are the same.
        labels = self._labels if self._labels is not None and len(set(self._labels)) > 1 else ()
        captions = [self._class_name(label) for label in labels]
        captions = captions or [""] * denoising.n  # images do not move when there is a caption later
        self._arrange()
        for grid in self.query(ImageGrid):
            grid.characters = denoising.characters
        self.query_one("#noisy-images", ImageGrid).set_images(frame.x, *size, captions, channels=channels)
        predicted = self.query_one("#predicted-images", ImageGrid)
        shown = frame.prediction
        if shown is None and self._start_images:
            shown = self._start_images * (len(frame.x) // len(self._start_images))
        if shown is None:
            predicted.show_message(NO_PREDICTION)
        else:
            predicted.set_images(shown, *size, self._readings(frame) or captions, channels=channels)
        if self.show_change:
            change, self._max_change = difference(frame.x, previous.x if previous else frame.x)
            self.query_one("#change-images", ImageGrid).set_images(change, *size, captions, channels=channels)
        self._update_captions()

    def set_labels(self, labels: Sequence[int] | None, class_names: Sequence[str]) -> None:
        """Set the requested class of each image of the next frames, None for an unconditional model, and all names."""
        self._labels, self._class_names = labels, class_names

    def set_start(self, images: bytes | None) -> None:
        """Set the clean images that the next frames start from, shown before the first prediction; None: noise only.

        Args:
            images: uint8 pixels of one image for all samples, or of one for each.
        """
        self._start_images = images

    def _readings(self, frame: Frame) -> list[Caption]:
        """The class recognised in each prediction, after the requested one if that is another."""
        read = frame.read or ()
        requested = self._labels if self._labels is not None else [NO_CLASS] * len(read)
        return [
            _reading(self._class_name(asked), self._class_name(label), f" {confidence}%")
            if asked not in (NO_CLASS, label)
            else Caption(self._class_name(label), f" {confidence}%")
            for asked, (label, confidence) in zip(requested, read, strict=False)
        ]

    def _class_name(self, label: int) -> str:
        return class_name(label, self._class_names)

    def set_source(self, source: Content, *details: str) -> None:
        """Set the source shown above the prediction, followed by the first of `details` that fits."""
        self._sources = [*(Content.assemble(source, (f" {detail}", "$foreground 50%")) for detail in details), source]
        self._update_captions()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()
        self.call_after_refresh(self._update_captions)

    def _arrange(self) -> None:
        """Stack the grids if that makes the images larger."""
        if self._shown is None or not self.size:
            return
        denoising, (width, height) = self._shown[0], self.size
        image = denoising.height, denoising.width
        three = self.show_change and width >= THREE_GRIDS_WIDTH
        self.set_class(self.show_change and not three, "-close")
        count = 3 if three else 2
        grid = self.query_one("#predicted-images", ImageGrid)
        side_by_side, stacked = (
            grid.layout_of(denoising.n, size, *image, captions=True)
            for size in (Size((width - GAP * (count - 1)) // count, height - 1), Size(width, height // count - 1))
        )
        is_stacked = stacked.rank > side_by_side.rank
        self.set_class(is_stacked, "-stacked")
        for pane in self.query(Vertical):  # close to each other, if stacked
            pane.styles.height = min(height // count, stacked.all_lines(denoising.n) + 2) if is_stacked else None

    def _update_captions(self) -> None:
        is_start = bool(self._start_images) and self._shown is not None and self._shown[1].prediction is None
        names = ("Start image", "Start") if is_start else ("Model prediction", "Prediction")
        title, brief = (Content.styled(name, "bold") for name in names)
        choices = [*((title, source) for source in self._sources), (brief, self._sources[-1])]
        self._set_caption("predicted-caption", choices)
        title = Content.styled("Change by this step", "bold")
        maximum = Content.styled(f"max {self._max_change:.2f}", "$foreground 50%")
        self._set_caption("change-caption", [(title, maximum), (title, Content())])
        title = Content.styled("Noisy state", "bold")
        classes = self._requested_classes()
        notes = [Content.styled(text, "$foreground 50%") for text in (f"class {classes}", classes)] if classes else []
        if self._labels is not None and len(set(self._labels)) == 1:  # one name can be shortened
            room = self.query_one("#noisy-caption", Static).size.width - title.cell_length - 1
            notes.append(Content.styled(shortened(f"class {classes}", room), "$foreground 50%"))
        self._set_caption("noisy-caption", [*((title, note) for note in notes), (title, Content())])

    def _requested_classes(self) -> str:
        """The requested classes, if they are not shown below the images."""
        if self._labels is None:
            return ""
        if len(set(self._labels)) == 1:
            return self._class_name(self._labels[0])
        shown_below = self.query_one("#noisy-images", ImageGrid).captions_visible
        return "" if shown_below else " ".join(map(self._class_name, self._labels))

    def _set_caption(self, caption: str, choices: Sequence[tuple[Content, Content]]) -> None:
        """Show left- and right-aligned text on one line: the first choice that fits, else the last."""
        line = self.query_one(f"#{caption}", Static)
        width = line.size.width
        left, right = next((pair for pair in choices if pair[0].cell_length + pair[1].cell_length < width), choices[-1])
        line.update(Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right))


def difference(current: bytes, previous: bytes) -> tuple[bytes, float]:
    """Return an image of the change per pixel and channel, and the largest absolute change, in [0, 1].

    Middle grey is no change; a channel with the largest change is 255 (added) or 1 (removed).
    """
    changes = [new - old for new, old in zip(current, previous, strict=True)]
    maximum = max(map(abs, changes), default=0)
    grey = {change: 128 + round(127 * change / max(1, maximum)) for change in set(changes)}
    return bytes([grey[change] for change in changes]), maximum / 255


def _reading(requested: str, recognised: str, confidence: str) -> Caption:
    """The caption of an image that another class than the requested one was recognised in."""
    both, new = f"{requested} → {recognised}", f"→ {recognised}"
    return Caption(both, confidence, shorter=(both, new + confidence, new), warns=True)
