"""The training bench: one training step taken apart, many of them, and the loss over the noise level."""

from __future__ import annotations

import math
from collections.abc import Iterator

from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input, Static

from core.engine.protocol import Array, LabReply, LabRequest
from core.engine.training_messages import MAX_BATCH, MAX_STEPS, TrainingReply, TrainingRequest
from core.errors import MinidiffError
from tui.lab.bench import Bench, Panel
from tui.lab.fields import FieldRow, choice, entry
from tui.lab.gradient_bars import GradientBars, Layer, short
from tui.lab.lab_input import LabInput
from tui.lab.picture_panel import PicturePanel, PlotPanel
from tui.lab.step_pictures import COMPARING, MIXING, StepPictures, panels_of
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

DRAWN = "drawn"  # the noise level of each step is drawn
OFF = "off"  # the weights do not change
RATES = (OFF, "0.0001", "0.0003", "0.001", "0.003", "0.01")  # learning rates
VIEWS = ("mixing", "comparing", "gradients", "losses")
MEDIUM = (80, 22)  # columns and rows from which six images, and the gradients or the losses, are visible,
WIDE = (120, 22)  # from which both are,
LARGE = (120, 36)  # one below the other,
HUGE = (184, 44)  # and from which all images are in one row
MIN_RIGHT = 31  # columns of gradients and losses
HEADROOM = 1.05  # of the y axis above the losses


class TrainingBench(Bench[TrainingReply]):
    """A step's images, the gradient of its loss by layer, and the losses of all steps over the noise level."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "training"
    TITLE = "Training"
    ABOUT = (
        "A step mixes the image with noise at a drawn level. The loss is the mean squared error of the network's "
        "prediction, and its gradient says how to change the weights. The curve is the mean loss at each noise level."
    )
    SHORT = "Mix, predict, square the error: its gradient trains."
    TRY = "t .8 and learning rate .001: a copy of the network learns this image, the same noise in each step."
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
        """Start with the first step, or add a further one."""
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
        self.query_one(StepPictures).show(reply, self._white(reply))
        views, few = self.views, self.views != VIEWS
        key = "v" if few and self._has_room(MEDIUM) else ""
        if "gradients" in views:
            self._draw_gradients(reply, key)
        if "losses" in views:
            self._draw_losses(reply, key)
        self._show_numbers(reply)

    def _white(self, reply: TrainingReply) -> float:
        """The squared error of the lightest colour: as in the first step, if the noise is the same."""
        return self._replies[0].errors.max_abs if reply.keeps_noise else reply.errors.max_abs

    def _draw_gradients(self, reply: TrainingReply, key: str) -> None:
        layers = [
            Layer(name, *norms) for name, norms in zip(reply.layers, map(tuple, reply.gradients.rows), strict=True)
        ]
        self.query_one(GradientBars).show(layers)
        self.query_one("#gradients", PicturePanel).set_titles(
            f"gradient of the loss by layer: {short(reply.gradient_norm)}",
            f"gradient by layer: {short(reply.gradient_norm)}",
            "gradient by layer",
            notes=("%: gradient relative to the weights", "% of the weights' norm"),
            key=key,
        )

    def _draw_losses(self, reply: TrainingReply, key: str) -> None:
        """The means of the losses at each noise level, and the loss of this step."""
        middles, means, spreads = _columns(reply.bins)
        high = HEADROOM * max(_highest(step) for step in (self._replies[0], self._replies[-1], reply))
        curves: dict[str, tuple[str, list[float], list[float]]] = {}
        if reply.first_bins.shape[0]:
            first, before, _ = _columns(reply.first_bins)
            curves["before"] = ("plot-validation", first, [min(high, mean) for mean in before])
        curves["now" if curves else "mean"] = ("plot-average", middles, [min(high, mean) for mean in means])
        curves["this step"] = ("plot-smoothed", [reply.t], [min(high, reply.loss)])
        lows = [max(0.0, mean - spread) for mean, spread in zip(means, spreads, strict=True)]
        highs = [min(high, mean + spread) for mean, spread in zip(means, spreads, strict=True)]
        panel = self.query_one("#losses", PlotPanel)
        panel.show(curves, reply.t, key=key, band=(middles, lows, highs), high=high)

    def _show_numbers(self, reply: TrainingReply) -> None:
        """The loss of the batch; in small terminals which view is shown."""
        text = Content(f"mean loss {short(reply.batch_loss)}")
        if not self._has_room(MEDIUM):
            text = Content.assemble(("v", "bold $accent"), f" {1 + self._view % len(VIEWS)}/{len(VIEWS)}")
        elif self._has_room(WIDE):
            noise_levels = f" of {reply.batch_size} noise levels" if reply.batch_size > 1 else ""
            text = Content(f"mean loss {short(reply.batch_loss)}{noise_levels}, gradient {short(reply.gradient_norm)}")
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

    def panels(self) -> list[Panel]:
        """The six images."""
        return [] if self.shown is None else panels_of(self.shown, self._white(self.shown))

    def script(self, subject: LabInput) -> list[str]:
        """Python that takes the steps up to the one on display."""
        request, reply = self.request(subject), self.shown
        options = [f"batch_size={request.batch_size}", f"seed={subject.seed}"]
        if request.t is not None:
            options.append(f"t={request.t}")
        if reply is not None and reply.condition is not None:
            options.append(f"label={reply.condition}")
        if request.learning_rate is not None:
            options.append(f"learning_rate={request.learning_rate}")
        steps = 0 if reply is None else reply.step
        return [
            "from core import load_model, training_steps",
            *subject.script,
            f'model = load_model("{subject.model}", device="cpu")',
            f"for record in training_steps(model, {subject.model_image}, {steps}, {', '.join(options)}):",
            '    print("step", record.step, "t", record.t, "loss", record.loss, "mean loss", record.batch_loss)',
            "for layer in record.gradients:",
            '    print("gradient", layer.name, layer.norm, "relative", layer.relative)',
            "for part in record.bins:",
            '    print("t from", part.low, "to", part.high, "loss", part.mean, "deviation", part.spread)',
        ]


def _columns(bins: Array) -> tuple[list[float], list[float], list[float]]:
    """Middles, means and standard deviations of losses."""
    middles, means, spreads = (list(bins.values[column::3]) for column in range(3))
    return middles, means, spreads


def _highest(reply: TrainingReply) -> float:
    """The largest mean loss with its standard deviation, also of the given weights."""
    columns = (_columns(bins) for bins in (reply.bins, reply.first_bins))
    return max(mean + spread for _, means, spreads in columns for mean, spread in zip(means, spreads, strict=True))
