"""The 2-D bench: points in the plane, a small network that is trained on them, and the samples that it generates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Select, Static

from core.config.sampling import NO_CLASS
from core.engine.plane_messages import (
    PlaneComparison,
    PlaneData,
    PlaneDensity,
    PlaneParticles,
    PlaneProgress,
    PlaneReply,
    PlaneRequest,
    PlaneVectors,
)
from core.engine.protocol import Array, DrawnImage
from tui.lab.bench import FULL_TEXT_ROWS, Bench, ExportPanel
from tui.lab.lab_input import LabInput
from tui.lab.number_text import count_of
from tui.lab.picture_panel import PicturePanel
from tui.lab.plane_canvas import PlaneCanvas, class_color
from tui.lab.plane_fields import PlaneFields
from tui.lab.plane_legend import class_legend
from tui.lab.plane_panels import StepsPanel, TrainingPanel
from tui.lab.plane_picture import SIDE, PlanePicture
from tui.lab.plane_raster import Points, Trail
from tui.lab.plane_script import plane_script
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.text_line import update_text
from tui.widgets.timeline import Timeline

VIEWS = ("training", "steps")
BOTH_LINES = 22  # lines of the pictures from which both views are visible
SIDE_COLUMNS = 34  # columns of the views, at least
STEP_SECONDS = 1 / 20  # of playback, at least: 80 steps take 4 seconds
MAX_TRAILS = 64
TRAIL_PART = 0.3  # fraction of the trajectory that a trail shows
LEGEND_LINES = 4  # if there is room for them
INITIAL_POSITION = 0.6  # fraction of the steps at which the bench opens if it does not play


class Pictures(Horizontal):
    """Posts `Resized` when its size changes, such as with the length of the description below it."""

    class Resized(Message):
        """The size changed."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())


class PlaneBench(Bench[PlaneData]):
    """The plane with density, vector field and particles; the training; and samples by the number of steps."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "plane"
    TITLE = "Plane"
    USES_IMAGE = False
    ABOUT = (
        "A small network learns the velocity at every noise level, drawn as arrows from noise to data. Particles "
        "follow the arrows and end as samples; the background is the density of the data with noise. Each step is a "
        "straight line, so a few large steps miss the data where trajectories are curved."
    )
    SHORT = "Arrows point from noise to data."
    TRY = "1 step, then 80; checkerboard; a class with guidance 3; N trains another network."
    REQUEST = PlaneRequest
    VIEWS = VIEWS
    REPLIES = (PlaneData, PlaneDensity, PlaneProgress, PlaneVectors, PlaneParticles, PlaneComparison)
    DEFAULT_CSS = """
    PlaneBench {
        .pictures { layout: horizontal; }
        #views { width: 1fr; height: 1fr; }
        &.-tight FieldRow Label { margin: 0 1; }
        &.-tight FieldRow Label.first { margin: 0 1 0 0; }
        #legend { width: auto; height: auto; margin: 0 3 0 0; }
    }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._fields = PlaneFields(self)
        self._request: PlaneRequest | None = None  # the newest
        self._in_training = False
        self._density: PlaneDensity | None = None
        self._vectors: PlaneVectors | None = None
        self.particles: PlaneParticles | None = None
        """The particles on display."""
        self.is_trained = False
        """Whether these are the particles of the newest request, from a network whose training is complete."""

    def fields(self) -> Iterator[Widget]:
        """Points and training, then sampler and guidance."""
        yield from self._fields.compose()

    def pictures(self) -> Iterator[Widget]:
        """The plane, and the views beside it."""
        with Pictures(classes="pictures"):
            yield PicturePanel(PlaneCanvas(), id="flow")
            with Vertical(id="views"):
                yield TrainingPanel(id="training-panel")
                yield StepsPanel(id="steps-panel")
        yield Timeline(self._pacer, still=self._still, fastest=STEP_SECONDS)

    def beside_description(self) -> Iterator[Widget]:
        """The legend."""
        yield Static(id="legend")

    # Requests

    def request(self, subject: LabInput) -> PlaneRequest:
        """The request that the fields describe."""
        self._request = self._fields.request(subject.digits)
        return self._request

    def fill(self, request: PlaneRequest) -> None:
        """Set the fields to those of a request of this bench."""
        self._fields.fill(request)

    def on_select_changed(self, event: Select.Changed) -> None:
        """Update the other fields; the base class then posts `Changed`."""
        self._fields.update(event.select)
        self.draw()  # hiding the arrows does not change the request

    def use_drawing(self, drawing: DrawnImage | None) -> None:
        """Use the points of a drawn shape; None: keep the points."""
        if drawing is None:
            return
        self._fields.drawing = drawing
        self.set_fields(points="drawing")
        self._fields.update(self.query_one("#points"))
        self.changed()

    @property
    def drawing(self) -> DrawnImage | None:
        """The shape that was drawn last, if any."""
        return self._fields.drawing

    def change_noise(self) -> None:
        """Start the particles from other noise."""
        self._fields.particle_seed += 1
        self.changed()

    def change_network(self) -> None:
        """Train another network, from other initial weights."""
        self._fields.seed += 1
        self.changed()

    # Replies

    def show_reply(self, reply: PlaneReply) -> None:
        """Show a part of the reply."""
        match reply:
            case PlaneData():
                self._show_data(reply)
            case PlaneDensity():
                self._show_density(reply)
            case PlaneProgress():
                self._show_progress(reply)
            case PlaneVectors():
                self._vectors = reply
                self.draw()
            case PlaneParticles():
                self.particles = reply
                self.is_trained = not self._in_training
                self.draw()
            case PlaneComparison():
                self.query_one(StepsPanel).add(reply, self._colored(reply.points, self._label_of))

    def _show_data(self, reply: PlaneData) -> None:
        if self.shown is None or reply.points != self.shown.points:
            self._vectors = self.particles = None
            labels = reply.labels
            self.query_one(TrainingPanel).show_data(self._colored(reply.points, labels.__getitem__))
        self.shown, self.is_trained = reply, False
        self._show_legend()

    def _show_density(self, reply: PlaneDensity) -> None:
        assert self.timeline is not None
        first, self._density = self._density is None, reply
        steps, times = len(reply.times) - 1, list(reply.times)
        if self.particles is not None and len(self.particles.times) != steps + 1:
            self.particles = None
        if self._vectors is not None and len(self._vectors.times) != steps + 1:
            self._vectors = None
        self.query_one(StepsPanel).expect(() if self._request is None else self._request.compare, reply.density[-1])
        if first:
            self.timeline.load(steps, times)
            if self._still:
                self.timeline.seek(round(INITIAL_POSITION * steps))
        elif steps != self.timeline.steps:
            self.timeline.replace_steps(steps, times)
        self.draw()

    def _show_progress(self, reply: PlaneProgress) -> None:
        """Show the state of the training; the trajectory plays in a loop until its end."""
        assert self.timeline is not None
        training = reply.step < reply.steps
        if training != self._in_training and not self._still:
            self.timeline.looping = training
        self._in_training = training
        self.is_trained = self.is_trained and not training
        self.query_one(TrainingPanel).add(reply)

    # Drawing

    def draw(self) -> None:
        """Draw the plane at one noise level."""
        density = self._density
        if density is None or self.timeline is None:
            return
        self._show_titles()
        self.query_one("#flow PlaneCanvas", PlaneCanvas).show(*self._scene(self._position))

    @property
    def _position(self) -> int:
        assert self._density is not None
        assert self.timeline is not None
        return min(self.timeline.position, len(self._density.times) - 1)

    def _scene(self, position: int) -> tuple[Points, Array | None, Array | None, Sequence[Trail]]:
        """Points, density, vector field and trails at a step."""
        density, field, particles = self._density, None, self.particles
        if self._vectors is not None and self._fields.arrows_visible:
            field = self._vectors.vectors[position]
            if self._vectors.kind == "velocity":  # dx/dt points from data to noise, and particles move backward in t
                field = Array(field.shape, [-value for value in field.values])
        points, trails = Points(), list[Trail]()
        if particles is not None:
            points = self._colored(particles.points[position], self._label_of)
            trails = self._trails(particles, position)
        return points, None if density is None else density.density[position], field, trails

    def _trails(self, particles: PlaneParticles, position: int) -> list[Trail]:
        """The newest positions of the first `MAX_TRAILS` particles."""
        steps, n, _ = particles.points.shape
        first = max(0, position - max(1, round(TRAIL_PART * (steps - 1))))
        past = [particles.points[step].values for step in range(first, position + 1)]
        trails = []
        for index in range(min(n, MAX_TRAILS)):
            at, label = 2 * index, self._label_of(index)
            values = [value for state in past for value in state[at : at + 2]]
            trails.append(Trail(values, class_color(label, 1), class_color(label, 2)))
        return trails

    def _label_of(self, index: int) -> int:
        """The class of a particle."""
        label = None if self._request is None else self._request.label
        if label is not None or self.shown is None:
            return NO_CLASS if label is None else label
        return index % max(1, len(self.shown.class_names))  # as `sample` assigns classes

    @staticmethod
    def _colored(points: Array, label: Callable[[int], int]) -> Points:
        """Points in the colors of their classes."""
        return Points(points.values, [class_color(label(index)) for index in range(points.shape[0])])

    def _show_titles(self) -> None:
        panel = self.query_one("#flow", PicturePanel)
        if self._density is None:
            panel.set_titles("waiting for the engine")
            return
        t = f"t = {self._density.times[self._position]:.2f}"
        kind = self._vectors.kind if self._vectors is not None and self._fields.arrows_visible else ""
        shown = ", ".join(filter(None, ("density", kind, "particles")))
        panel.set_titles(f"from noise to data: {t}", t, notes=(shown, ""))

    def _show_legend(self) -> None:
        """Show the color of each class, in one line in small terminals, else in columns."""
        if self.shown is None:
            return
        tall = self.screen.size.height >= FULL_TEXT_ROWS
        legend = class_legend(self.shown.class_names, LEGEND_LINES if tall else 1)
        update_text(self.query_one("#legend", Static), legend)

    # Layout

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views beside the plane."""
        both = self.query_one(".pictures").size.height >= BOTH_LINES
        return VIEWS if both else (VIEWS[self._view % 2],)

    def on_mount(self) -> None:
        self._show_titles()

    def on_resize(self) -> None:
        self._fields.fit(self.screen.size.width)
        self._show_legend()

    def on_pictures_resized(self, message: Pictures.Resized) -> None:
        message.stop()
        self._arrange()

    def _arrange(self) -> None:
        pictures, flow = self.query_one(".pictures").size, self.query_one("#flow")
        edges = flow.gutter
        lines = pictures.height - edges.height
        columns = min(2 * lines, pictures.width - SIDE_COLUMNS - edges.width)
        flow.styles.width = max(2, columns) + edges.width
        views = self.views
        for name in VIEWS:
            self.query_one(f"#{name}-panel").display = name in views
        key = "v" if self.has_more_views else ""
        self.query_one(TrainingPanel).show_titles(key)
        self.query_one(StepsPanel).set_titles(
            "few steps and many: energy distance to the data",
            "few steps and many: energy distance",
            "energy distance to data",
            key=key,
        )
        self.screen.refresh_bindings()  # `v` applies only if a view is hidden

    # Export

    def panels(self) -> list[ExportPanel]:
        """The data, the plane at this noise level, and the samples of each number of steps."""
        if self.shown is None or self._density is None:
            return []
        picture = partial(PlanePicture, self.app.theme_variables, self.screen.background_colors[1].rgb)
        labels, t = self.shown.labels, self._density.times[self._position]
        data = picture().draw(self._colored(self.shown.points, labels.__getitem__))
        pictures = {"data": data, f"t = {t:.2f}": picture().draw(*self._scene(self._position))}
        for result, points in self.query_one(StepsPanel).results:
            title = f"{count_of(result.steps, 'step')}, distance {result.distance:.3f}"
            pictures[title] = picture().draw(points, self._density.density[-1])
        return [ExportPanel(title, (SIDE, SIDE), picture.pixels) for title, picture in pictures.items()]

    def script(self, subject: LabInput) -> list[str]:
        """Python that trains the network, and computes the field, the particles and the distances."""
        request = self.request(subject)
        t = 0.5 if self._density is None else self._density.times[self._position]
        return plane_script(request, t)
