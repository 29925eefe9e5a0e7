"""Grids of the noisy state, the model's prediction, the start image and the change in a step."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from core.runs.trajectory import Denoising, Frame
from tui.class_names import class_name
from tui.widgets.captions import Caption, class_captions
from tui.widgets.image_grid import ImageGrid
from tui.widgets.panes import Panes, Shape
from tui.widgets.text_line import shortened

NO_PREDICTION = "no prediction before the first step"
ROOM = 0.75  # another grid is shown beside two if images are not smaller by more than this factor,
LEGIBLE = 12  # and at least so many columns wide


class DenoisingView(Panes):
    """Displays one frame of a denoising trajectory, with titles and its source; posts no messages.

    The start image, if any, has its own grid if there is room, and is else shown until the first prediction.

    Attributes:
        show_change: Whether to show the change made by the step: middle gray is none; lighter channels were increased,
            darker ones decreased. It replaces the noisy state if there is no room for both.
    """

    show_change = var(False, init=False)

    def __init__(self) -> None:
        super().__init__("noisy", "change", "start", "predicted")
        self._shown: tuple[Denoising, Frame] | None = None
        self._previous: Frame | None = None
        self._max_change = 0.0  # of a pixel
        self._sources = [Content()]  # longest first
        self._start_images: bytes | None = None
        self._start = ""  # description of these images
        self._labels: Sequence[int] | None = None
        self._class_names: Sequence[str] = ()

    def on_mount(self) -> None:
        """Hide the optional grids; Textual calls the handler of the base class, too."""
        for name in ("change", "start"):
            self.pane(name).display = False

    def watch_show_change(self) -> None:
        if self._shown is not None:
            self.set_frame(*self._shown, self._previous)

    def set_frame(self, denoising: Denoising, frame: Frame, previous: Frame | None = None) -> None:
        """Show a frame; `previous` is the frame before it, None for the first."""
        self._shown, self._previous = (denoising, frame), previous
        # The requested class below each image, unless all are the same.
        labels = self._labels if self._labels is not None and len(set(self._labels)) > 1 else ()
        captions: list[Caption | str] = [self._class_name(label) for label in labels]
        captions = captions or [""] * denoising.n  # images do not move when there is a caption later
        self.arrange_panes()
        for grid in self.query(ImageGrid):
            grid.characters = denoising.characters
        self._set_images("noisy", frame.x, captions)
        shown, start = frame.prediction, self._start_images
        if shown is None and start and not self.pane("start").display:
            shown = start * (len(frame.x) // len(start))
        if shown is None:
            self.pane("predicted").grid.show_message(NO_PREDICTION)
        else:
            self._set_images(
                "predicted", shown, class_captions(frame.read, self._labels, self._class_names) or captions
            )
        if start and self.pane("start").display:
            self._set_images("start", start, [""] * denoising.n)
        if self.show_change:
            change, self._max_change = difference(frame.x, previous.x if previous else frame.x)
            self._set_images("change", change, captions)
        self._update_captions()

    def _set_images(self, name: str, images: bytes, captions: Sequence[Caption | str]) -> None:
        """Show images in a grid: one, or one for each sample."""
        assert self._shown is not None
        denoising, _ = self._shown
        height, width, channels = denoising.height, denoising.width, denoising.channels
        n = len(images) // (height * width * channels)
        self.pane(name).grid.set_images(images, n, height, width, captions[:n], channels=channels)

    def set_labels(self, labels: Sequence[int] | None, class_names: Sequence[str]) -> None:
        """Set the requested class of each image of the next frames, None for an unconditional model, and all names."""
        self._labels, self._class_names = labels, class_names

    def set_start(self, images: bytes | None, description: str = "") -> None:
        """Set the clean images that the next frames start from; None: noise only.

        Args:
            images: uint8 pixels of one image for all samples, or of one for each.
            description: Shown above them.
        """
        self._start_images, self._start = images, description

    def _class_name(self, label: int) -> str:
        return class_name(label, self._class_names)

    def set_source(self, source: Content, *details: str) -> None:
        """Set the source shown above the prediction, followed by the first of `details` that fits."""
        self._sources = [*(Content.assemble(source, (f" {detail}", "$foreground 50%")) for detail in details), source]
        self._update_captions()

    def on_resize(self) -> None:
        if self._shown is not None:
            self.set_frame(*self._shown, self._previous)
        self.call_after_refresh(self._update_captions)

    def arrange_panes(self, shapes: Sequence[Shape] | None = None) -> None:
        """Choose the grids that there is room for, and arrange them."""
        if self._shown is None or not self.size:
            return
        denoising, _ = self._shown
        shape = Shape(denoising.n, denoising.height, denoising.width)
        smallest = max(LEGIBLE, ROOM * self.arrangement([shape] * 2).rank)
        count = 2 + self.show_change + bool(self._start_images)
        while count > 2 and self.arrangement([shape] * count).rank < smallest:
            count -= 1
        both = self.show_change and count > 2  # the change and the state
        self.pane("change").display = self.show_change
        self.pane("noisy").display = both or not self.show_change
        self.pane("start").display = bool(self._start_images) and count == 3 + both
        super().arrange_panes([shape] * count)

    def _update_captions(self) -> None:
        is_first = self._shown is not None and self._shown[1].prediction is None
        is_start = bool(self._start_images) and is_first and not self.pane("start").display
        names = ("Start image", "Start") if is_start else ("Model prediction", "Prediction")
        title, brief = (Content.styled(name, "bold") for name in names)
        choices = [*((title, source) for source in self._sources), (brief, self._sources[-1])]
        self.pane("predicted").set_title(*choices)
        note = Content.styled(self._start, "$foreground 50%")
        self.pane("start").set_title(*((Content.styled(name, "bold"), note) for name in ("Start image", "Start")))
        title = Content.styled("Change by this step", "bold")
        maximum = Content.styled(f"max {self._max_change:.2f}", "$foreground 50%")
        self.pane("change").set_title((title, maximum), (title, Content()))
        title = Content.styled("Noisy state", "bold")
        classes = self._requested_classes()
        notes = [Content.styled(text, "$foreground 50%") for text in (f"class {classes}", classes)] if classes else []
        if self._labels is not None and len(set(self._labels)) == 1:  # one name can be shortened
            room = self.query_one("#noisy-caption", Static).size.width - title.cell_length - 1
            notes.append(Content.styled(shortened(f"class {classes}", room), "$foreground 50%"))
        self.pane("noisy").set_title(*((title, note) for note in notes), (title, Content()))

    def _requested_classes(self) -> str:
        """The requested classes, if they are not shown below the images."""
        if self._labels is None:
            return ""
        if len(set(self._labels)) == 1:
            return self._class_name(self._labels[0])
        shown_below = self.query_one("#noisy-images", ImageGrid).captions_visible
        return "" if shown_below else " ".join(map(self._class_name, self._labels))


def difference(current: bytes, previous: bytes) -> tuple[bytes, float]:
    """Return an image of the change per pixel and channel, and the largest absolute change, in [0, 1].

    Middle gray is no change; a channel with the largest change is 255 (added) or 1 (removed).
    """
    changes = [new - old for new, old in zip(current, previous, strict=True)]
    maximum = max(map(abs, changes), default=0)
    gray = {change: 128 + round(127 * change / max(1, maximum)) for change in set(changes)}
    return bytes([gray[change] for change in changes]), maximum / 255
