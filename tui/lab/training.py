"""The training bench: what each training step on one image computes, and the loss over the noise level."""

from __future__ import annotations

import math
from collections.abc import Iterator

from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input, Static

from core.engine.protocol import LabReply, LabRequest
from core.engine.training_messages import MAX_BATCH, MAX_STEPS, TrainingReply, TrainingRequest
from core.errors import MinidiffError
from tui.lab.bench import Bench, ExportPanel
from tui.lab.fields import FieldRow, choice, entry
from tui.lab.gradient_bars import GradientBars
from tui.lab.lab_input import LabInput
from tui.lab.number_text import count_of, short
from tui.lab.picture_panel import PicturePanel, PlotPanel
from tui.lab.step_pictures import COMPARING, MIXING, StepPictures, image_panels
from tui.lab.training_charts import LossCurves, chart_panels, layers_of, loss_curves
from tui.lab.training_script import training_script
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

DRAWN = "drawn"  # the noise level of each step is random
OFF = "off"  # the weights do not change
RATES = (OFF, "0.0001", "0.0003", "0.001", "0.003", "0.01")  # learning rates
VIEWS = ("mixing", "comparing", "gradients", "losses")
# Columns and rows of the terminal from which more is visible.
MEDIUM = (80, 22)  # six images, and the gradients or the losses
WIDE = (120, 22)  # both of them
LARGE = (120, 36)  # one below the other
HUGE = (184, 44)  # all images in one row
MIN_RIGHT = 31  # columns of gradients and losses


class TrainingBench(Bench[TrainingReply]):
    """A step's images, the gradient of its loss by layer, and the losses of all steps over the noise level."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "training"
    TITLE = "Training"
    ABOUT = (
        "A step adds noise to the image, at a random noise level. The loss is the mean squared error of the network's "
        "prediction; training follows its negative gradient. The curve is the mean loss at each noise level."
    )
    SHORT = "The loss is the mean squared error of the prediction."
    TRY = (
        "t .8 and learning rate .001: a copy of the network is trained on this image, with the same noise in each step."
    )
    REQUEST = TrainingRequest
    VIEWS = VIEWS
    REPLIES = (TrainingReply,)
    DEFAULT_CSS = """
    TrainingBench {
        .pictures { layout: horizontal; }
        #step { border: none; margin: 0 1 0 0; }
        .measures { width: 1fr; height: 1fr; layout: vertical; }
        #summary { height: 1; width: 1fr; padding: 0 0 0 2; color: $foreground 60%; text-wrap: nowrap; }
    }
    .-narrow TrainingBench #summary { padding: 0 0 0 1; }
    TrainingBench.-large #step { border: round $border-blurred; margin: 0; padding: 0 1; }
    TrainingBench.-low .measures { layout: horizontal; }
    TrainingBench.-huge .pictures { layout: vertical; align-horizontal: center; }
    TrainingBench.-huge .measures { layout: horizontal; }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._replies: list[TrainingReply] = []  # one for each step so far

    def fields(self) -> Iterator[Widget]:
        """The noise level, the batch size, the number of steps, and the learning rate."""
        yield FieldRow(
            ("t", entry("t", DRAWN, width=7)),
            ("batch", entry("batch", "8", width=4)),
            ("steps", entry("steps", "60", width=5)),
            ("learning rate", choice("rate", RATES, OFF, width=9)),
            Static(id="summary"),
        )

    def pictures(self) -> Iterator[Widget]:
        """The images; beside or below them the gradients and the losses."""
        with Container(classes="pictures"):
            yield StepPictures(id="step")
            with Container(classes="measures"):
                yield PicturePanel(GradientBars(id="bars"), id="gradients")
                yield PlotPanel("loss: mean and standard deviation", "mean loss", id="losses")
        yield Timeline(self._pacer, still=self._still)

    # Requests

    def request(self, subject: LabInput) -> TrainingRequest:
        """The request that the fields describe."""
        rate = self.query_one("#rate", CompactSelect).chosen
        return TrainingRequest(
            **subject.fields,
            steps=self.number("steps", 1, MAX_STEPS),
            batch_size=self.number("batch", 1, MAX_BATCH),
            t=self._noise_level(),
            learning_rate=None if rate == OFF else float(rate),
        )

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench."""
        assert isinstance(request, TrainingRequest)
        self.set_fields(
            t=DRAWN if request.t is None else f"{request.t:.12g}",
            batch=request.batch_size,
            steps=request.steps,
            rate=OFF if request.learning_rate is None else f"{request.learning_rate:g}",
        )

    def _noise_level(self) -> float | None:
        text = self.query_one("#t", Input).value.strip()
        if text in ("", DRAWN):
            return None
        try:
            t = float(text)
        except ValueError:
            t = math.nan
        if not 0 <= t <= 1:
            raise MinidiffError(f"t takes a noise level from 0 to 1, or {DRAWN}, not {text}")
        return t

    # Replies

    def show_reply(self, reply: LabReply) -> None:
        """Show the first step of a new reply, or add a further one."""
        assert isinstance(reply, TrainingReply)
        timeline = self._timeline
        if reply.step:
            self._replies.append(reply)
            timeline.add_step(reply.t)
            return
        resized = self.shown is None or self.shown.image.shape != reply.image.shape
        self._replies, self.shown = [reply], reply
        timeline.load(reply.steps, [reply.t])
        self.draw()
        if resized:
            self._arrange()

    @property
    def _timeline(self) -> Timeline:
        return self.query_one(Timeline)

    def draw(self) -> None:
        """Draw the step at the timeline's position."""
        if not self._replies:
            return
        self.shown = reply = self._replies[min(self._timeline.position, len(self._replies) - 1)]
        self.query_one(StepPictures).show(reply, self._max_error(reply))
        views, few = self.views, self.views != VIEWS
        key = "v" if few and self._has_room(MEDIUM) else ""
        if "gradients" in views:
            self._draw_gradients(reply, key)
        if "losses" in views:
            self._draw_losses(reply, key)
        self._show_numbers(reply)

    def _max_error(self, reply: TrainingReply) -> float:
        """The squared error at the end of the color map: that of the first step, if the noise is the same."""
        return self._replies[0].errors.max_abs if reply.keeps_noise else reply.errors.max_abs

    def _draw_gradients(self, reply: TrainingReply, key: str) -> None:
        self.query_one(GradientBars).show(layers_of(reply))
        self.query_one("#gradients", PicturePanel).set_titles(
            f"gradient of the loss by layer: {short(reply.gradient_norm)}",
            f"gradient by layer: {short(reply.gradient_norm)}",
            "gradient by layer",
            notes=("%: gradient relative to the weights", "% of the weights' norm"),
            key=key,
        )

    def _draw_losses(self, reply: TrainingReply, key: str) -> None:
        losses = self._losses(reply)
        panel = self.query_one("#losses", PlotPanel)
        panel.show(losses.curves, reply.t, key=key, band=losses.band, high=losses.high)

    def _losses(self, reply: TrainingReply) -> LossCurves:
        return loss_curves(reply, self._replies[0], self._replies[-1])

    def _show_numbers(self, reply: TrainingReply) -> None:
        """The loss of the batch; in small terminals which view is shown."""
        text = Content(f"mean loss {short(reply.batch_loss)}")
        if not self._has_room(MEDIUM):
            text = Content.assemble(("v", "bold $accent"), f" {1 + self._view % len(VIEWS)}/{len(VIEWS)}")
        elif self._has_room(WIDE):
            loss = f"mean loss of {count_of(reply.batch_size, 'noise level')} {short(reply.batch_loss)}"
            text = Content(f"{loss}, gradient norm {short(reply.gradient_norm)}")
        self.query_one("#summary", Static).update(text, layout=False)

    # Views

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views."""
        if self._has_room(WIDE):
            return VIEWS
        if self._has_room(MEDIUM):
            return *VIEWS[:2], VIEWS[2 + self._view % 2]
        return (VIEWS[self._view % len(VIEWS)],)

    def _arrange(self) -> None:
        views, large = self.views, self._has_room(LARGE)
        self.set_class(large, "-large")
        self.set_class(self._has_room(WIDE) and not large, "-low")
        self.set_class(self._has_room(HUGE), "-huge")
        self.query_one("#step").display = not {*views}.isdisjoint(VIEWS[:2])
        self.query_one(".measures").display = not {*views}.isdisjoint(VIEWS[2:])
        for name in VIEWS[2:]:
            self.query_one(f"#{name}").display = name in views
        self.call_after_refresh(self._fit_images)

    def _fit_images(self) -> None:
        """Give the images as much of the space as they can use."""
        pictures, room = self.query_one(StepPictures), self.query_one(".pictures").size
        views, huge = self.views, self.has_class("-huge")
        names = [*(MIXING if "mixing" in views else ()), *(COMPARING if "comparing" in views else ())]
        if names:
            beside = 0 if huge or views[-1] not in VIEWS[2:] else MIN_RIGHT
            room = Size(room.width - beside, room.height // 2 if huge else room.height)
            pictures.fit(names, len(names) if huge else 3, room)
        pictures.set_titles("one training step")
        self.call_after_refresh(self.draw)

    # Export

    def panels(self) -> list[ExportPanel]:
        """The six images, the gradients of the layers, and the losses over the noise level."""
        reply = self.shown
        if reply is None:
            return []
        return [*image_panels(reply, self._max_error(reply)), *chart_panels(reply, self._losses(reply))]

    def script(self, subject: LabInput) -> list[str]:
        """Python that takes the steps up to the one on display, and computes its gradients and the losses."""
        return training_script(subject, self.request(subject), self.shown)
