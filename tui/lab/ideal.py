"""The ideal denoiser's bench: its predictions for a noisy image and its samples, beside those of the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.containers import Container
from textual.widget import Widget

from core.engine.ideal_messages import (
    IDEAL,
    LOCAL,
    NETWORK,
    IdealEnd,
    IdealPredictions,
    IdealReply,
    IdealRequest,
    IdealStep,
)
from core.engine.protocol import LabReply, LabRequest
from tui.class_names import class_name
from tui.lab.bench import Bench, ExportPanel
from tui.lab.fields import ClassField, FieldRow, choice, entry
from tui.lab.ideal_script import ideal_script
from tui.lab.lab_input import LabInput
from tui.lab.number_text import decimals
from tui.lab.picture_panel import PicturePanel
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.captions import Caption
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid
from tui.widgets.timeline import Timeline

INITIAL_POSITION = 12  # of the engine's 41 noise levels: at 0.7 several training images have some weight
SEED, MAX_SEED = 2, 9_999  # of the noise; with the initial seed both samples are legible digits
NO_PATCHES = "off"
PATCHES = (NO_PATCHES, "3", "5", "7", "9", "13")  # sides of local patches
VIEWS = ("predictions", "training", "sampling")
# Titles of the views; longest first.
ONE_STEP = "denoised in one step, with the mean squared error", "denoised in one step, squared error", "one step"
TRAINING = "training images"
SAMPLES = (
    "sampled from the same noise, beside the training image nearest to the sample",
    "sampled from noise, beside the nearest training images",
    "sampled from noise",
)
# Columns and rows of the terminal from which more is visible.
MEDIUM = (80, 22)  # the predictions together with the training images
LARGE = (120, 36)  # all views
HUGE = (184, 44)  # larger training images
COPY_DISTANCE = 5e-4  # smaller distances are shown as 0
EXPORTED_IMAGES = 4  # training images of largest weight in an exported picture
MIN_BRIGHTNESS = 0.15  # of a training image whose weight is close to 0


class IdealBench(Bench[IdealReply]):
    """Predictions of the ideal denoiser and the network, the training images in the mean, and samples of both."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "ideal"
    TITLE = "Ideal"
    ABOUT = (
        "No network has a smaller training loss than the ideal denoiser: it returns the mean of all training images, "
        "weighted by their probability given the noisy image. Sampling with it ends in a training image. "
        "The network cannot store them all, and its errors lead to new images."
    )
    SHORT = "The ideal denoiser averages and copies training images."
    TRY = "a higher noise level, where more images have weight; class any; patches 5, which combine images."
    REQUEST = IdealRequest
    VIEWS = VIEWS
    REPLIES = (IdealReply, IdealPredictions, IdealStep, IdealEnd)
    DEFAULT_CSS = """
    IdealBench {
        #board { height: 1fr; width: 1fr; }
        #training-panel { height: 7; }
        ImageGrid { width: 1fr; height: 1fr; }
        &.-dense PicturePanel { border: none; border-top: solid $border-blurred; }
        &.-large .pictures { layout: horizontal; }
        &.-large #training-panel { width: 36; height: 1fr; }
        &.-huge #training-panel { width: 60; }
        &.-small #training-panel { height: 1fr; }
    }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._predictions: dict[int, IdealPredictions] = {}  # by index of the noise level
        self._steps: dict[int, IdealStep] = {}  # likewise
        self._end: IdealEnd | None = None

    def fields(self) -> Iterator[Widget]:
        """The class given to the denoisers, the seed of the noise, and the side of local patches."""
        yield FieldRow(
            ("class", ClassField(13)),
            ("seed", entry("seed", str(SEED), width=6)),
            ("patches", choice("patch", PATCHES, NO_PATCHES, width=8)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The predictions above the samples; the training images beside both."""
        with Container(classes="pictures"):
            with Container(id="board"):
                for name in ("predictions", "sampling"):
                    yield PicturePanel(_grid(name), id=f"{name}-panel")
            yield PicturePanel(_grid("training"), id="training-panel")
        yield Timeline(self._pacer, still=self._still)

    def request(self, subject: LabInput) -> IdealRequest:
        """The request that the fields describe."""
        fields, patch = subject.fields, self.query_one("#patch", CompactSelect).chosen
        fields["seed"] = self.number("seed", 0, MAX_SEED)
        return IdealRequest(
            **fields,
            label=self.query_one(ClassField).label,
            patch=None if patch == NO_PATCHES else int(patch),
            first=self._position,
        )

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench."""
        assert isinstance(request, IdealRequest)
        patch = NO_PATCHES if request.patch is None else str(request.patch)
        self.set_fields(seed=request.seed, patch=patch, **{"class": ClassField.option(request.label)})

    # Replies

    def show_reply(self, reply: LabReply) -> None:
        """Show the image and blanks, or add the predictions at a noise level, a step from noise, or the end."""
        match reply:
            case IdealReply():
                self._restart(reply)
            case IdealPredictions():
                self._predictions[reply.index] = reply
                if reply.index == self._position:
                    self._draw_predictions()
            case IdealStep():
                self._steps[reply.index] = reply
                if reply.index == self._position:
                    self._draw_samples()
            case IdealEnd():
                self._end = reply
                self._draw_samples()
            case _:
                pass

    def _restart(self, reply: IdealReply) -> None:
        first, self.shown = self.shown is None, reply
        self._predictions, self._steps, self._end = {}, {}, None
        self.query_one(ClassField).disabled = reply.condition is None
        notice = "" if reply.is_own else f"The model's training images are not here; these are {reply.dataset}. "
        self.short, self.about = notice or self.SHORT, notice + self.ABOUT
        self.show_about()
        self._set_steps(reply.noise_levels, INITIAL_POSITION, first=first)
        self.draw()

    @property
    def _position(self) -> int:
        """Index of the noise level on display."""
        assert self.timeline is not None
        return INITIAL_POSITION if self.shown is None else self.timeline.position

    @property
    def _denoisers(self) -> tuple[str, ...]:
        """The denoisers on display, in order."""
        return (IDEAL, NETWORK) if self.shown is None or self.shown.patch is None else (IDEAL, LOCAL, NETWORK)

    def draw(self) -> None:
        """Draw one noise level."""
        if self.shown is not None:
            self._draw_predictions()
            self._draw_samples()

    def _draw_predictions(self) -> None:
        """Draw the noisy image, the predictions, the clean image, and the training images in the mean."""
        reply, predicted = self.shown, self._predictions.get(self._position)
        assert reply is not None
        t, blank = reply.noise_levels[self._position], bytes(len(reply.image))
        noisy = Caption(f"noisy, t {decimals(t, 2)}", shorter=("noisy",))
        shown = [(noisy, blank if predicted is None else predicted.noisy)]
        for name in self._denoisers:
            if predicted is None:
                shown.append((Caption("…"), blank))
                continue
            shown.append((self._caption(name, decimals(predicted.errors[name], 3)), predicted.denoised[name]))
        label = "" if reply.label is None else f": {class_name(reply.label, self.image_classes)}"
        shown.append((Caption("image", label), reply.image))
        self._show("predictions", shown)
        self._draw_training(reply, predicted)
        note = f"patches of {reply.patch_images:,} training images" if reply.patch_images else ""
        self.query_one("#predictions-panel", PicturePanel).set_titles(*ONE_STEP, notes=(note, ""), key=self._key)

    def _draw_training(self, reply: IdealReply, predicted: IdealPredictions | None) -> None:
        """Draw the training images of largest weight, darker for smaller weights."""
        panel = self.query_one("#training-panel", PicturePanel)
        count = f"{reply.count:,}"
        if predicted is None:
            panel.set_titles(f"{count} {TRAINING}", TRAINING)
            self.query_one("#training", ImageGrid).clear()
            return
        size = len(reply.image)
        images = [predicted.images[at : at + size] for at in range(0, len(predicted.images), size)]
        largest = max(predicted.weights)
        self._show(
            "training",
            [
                (self._weight_caption(weight, label), _dimmed(image, weight / largest))
                for image, weight, label in zip(images, predicted.weights, predicted.labels, strict=True)
            ],
        )
        number = f"{predicted.effective:,.0f}" if predicted.effective >= 99.5 else f"{predicted.effective:.1f}"
        number = "1" if number == "1.0" else number
        panel.set_titles(
            f"the ideal denoiser averages {number} of {count} training images",
            f"averages {number} of {count} images",
            f"averages {number} of {count}",
            key=self._key if self.views == ("training",) else "",
        )

    def _weight_caption(self, weight: float, label: int) -> Caption:
        """The weight in percent, and the class if there are images of several."""
        percent = "" if weight == 0 else "<1%" if weight < 0.01 else f"{weight:.0%}"
        if not percent or label < 0 or (self.shown is not None and self.shown.condition not in (None, -1)):
            return Caption(percent)
        return Caption(f"{percent}: {class_name(label, self.model_classes)}", shorter=(percent,))

    def _draw_samples(self) -> None:
        """Draw the noisy states, each beside the training image nearest to its sample."""
        reply, step = self.shown, self._steps.get(self._position)
        if reply is None:
            return
        blank, shown = bytes(len(reply.image)), []
        for name in self._denoisers:
            state = blank if step is None else step.images[name]
            shown.append((self._caption(name, ""), state))
            if self._end is None:
                shown.append((Caption("…"), blank))
                continue
            nearest = self._end.nearest[name]
            distance = _distance(nearest.distance)
            texts = [f"distance {distance}", distance]
            if nearest.distance < COPY_DISTANCE:
                texts.insert(0, f"distance {distance}: a copy")
            shown.append((Caption(texts[0], shorter=tuple(texts[1:])), nearest.image))
        self._show("sampling", shown)
        notes = [""]
        if self._end is not None:
            numbers = [f"{self._end.nearest[name].index:,}" for name in self._denoisers]
            notes = [f"nearest training images: {', '.join(numbers)}", *notes]
        self.query_one("#sampling-panel", PicturePanel).set_titles(
            *SAMPLES, notes=notes, key=self._key if "predictions" not in self.views else ""
        )

    def _caption(self, denoiser: str, value: str) -> Caption:
        """A denoiser and a number."""
        assert self.shown is not None
        side = self.shown.patch
        long, short = {
            IDEAL: ("ideal denoiser", "ideal"),
            NETWORK: ("network", "network"),
            LOCAL: (f"{side}x{side} patches", f"{side}x{side}"),
        }[denoiser]
        texts = [f"{text} {value}".rstrip() for text in (long, short)]
        return Caption(texts[0], shorter=(texts[1], value or short))

    def _show(self, name: str, shown: Sequence[tuple[Caption, bytes]]) -> None:
        """Draw images with their captions."""
        assert self.shown is not None
        captions, images = zip(*shown, strict=True)
        self.query_one(f"#{name}", ImageGrid).set_images(
            b"".join(images), len(images), self.shown.height, self.shown.width, captions, channels=self.shown.channels
        )

    # Views

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views."""
        if self._has_room(LARGE):
            return VIEWS
        if self._has_room(MEDIUM):
            return VIEWS[:2] if self._view % 2 == 0 else VIEWS[2:]
        return (VIEWS[self._view % 3],)

    @property
    def _key(self) -> str:
        return "v" if self.has_more_views else ""

    def _arrange(self) -> None:
        views = self.views
        for name in VIEWS:
            self.query_one(f"#{name}-panel").display = name in views
        self.query_one("#board").display = views != ("training",)
        self.set_class(not self._has_room(MEDIUM), "-small")
        self.set_class(self._has_room(LARGE), "-large")
        self.set_class(not self._has_room(LARGE), "-dense")
        self.set_class(self._has_room(HUGE), "-huge")
        if self.shown is None:
            for name, title in (("predictions", ONE_STEP[-1]), ("training", TRAINING), ("sampling", SAMPLES[-1])):
                self.query_one(f"#{name}-panel", PicturePanel).set_titles(title)
        self.call_after_refresh(self.draw)

    # Export

    def panels(self) -> list[ExportPanel]:
        """The noisy image, the predictions, the training images of largest weight, and the samples."""
        reply, predicted = self.shown, self._predictions.get(self._position)
        if reply is None or predicted is None:
            return []
        shape, size = (reply.height, reply.width), len(reply.image)
        panels = [ExportPanel("image", shape, reply.image), ExportPanel("noisy", shape, predicted.noisy)]
        panels += [ExportPanel(name, shape, predicted.denoised[name]) for name in self._denoisers]
        for at, weight in enumerate(predicted.weights[:EXPORTED_IMAGES]):
            panels.append(ExportPanel(f"weight {weight:.0%}", shape, predicted.images[at * size : (at + 1) * size]))
        if (last := self._steps.get(len(reply.noise_levels) - 1)) is not None and self._end is not None:
            for name in self._denoisers:
                nearest = self._end.nearest[name]
                panels.append(ExportPanel(f"{name} sample", shape, last.images[name]))
                panels.append(ExportPanel(f"nearest: {_distance(nearest.distance)}", shape, nearest.image))
        return panels

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes the predictions at this noise level, the samples and their nearest training images."""
        return ideal_script(subject, self.request(subject), self.shown, self._position)


def _grid(name: str) -> ImageGrid:
    grid = ImageGrid(id=name)
    grid.captions_first = True
    return grid


def _dimmed(image: bytes, weight: float) -> bytes:
    """An image, darker for a smaller weight relative to the largest one; black for weight 0."""
    factor = 0.0 if weight == 0 else MIN_BRIGHTNESS + (1 - MIN_BRIGHTNESS) * weight**0.5
    return image.translate(bytes(round(value * factor) for value in range(256)))


def _distance(value: float) -> str:
    return "0" if value < COPY_DISTANCE else decimals(value, 3)
