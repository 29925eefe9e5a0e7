"""The fields of the 2-D bench: points, training, sampler, and guidance."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from core.config.plane import DRAWING_CLASSES, MAX_TRAINING_STEPS, POINT_SETS, TRAINING_STEPS
from core.config.sampling import NO_CLASS, PATH_NAMES, SAMPLER_NAMES, incompatibility
from core.engine.plane_messages import PlaneRequest
from core.engine.protocol import DrawnImage
from core.errors import MinidiffError
from tui.lab.bench import Bench
from tui.lab.fields import FieldRow, choice, entry
from tui.widgets.compact_select import CompactSelect

DIGITS, DRAWING = "digits", "drawing"  # points besides POINT_SETS
POINTS = {**{name: name for name in POINT_SETS}, DIGITS: "digits (PCA)", DRAWING: "a drawing (w)"}
DIGIT_NAMES = tuple("0123456789")
IN_TURN, ANY = "in turn", "any"  # options of the class besides the classes
NO_ARROWS = "none"
ARROWS = ("velocity", "score", "denoised", NO_ARROWS)
STEPS = (1, 100)  # of the sampler
MAX_GUIDANCE = 20
COUNTS = (1, 2, 4, 8)  # numbers of steps that are compared with the chosen one
SMOOTHING = 0.05  # lower bound of the density's sigma, in units of the plane
ROOMY = 104  # columns of the terminal from which there is space between the fields
# Columns of the terminal from which these fields and their labels fit.
FROM_COLUMNS = {"training": 80, "away": 80, "arrows": ROOMY}


class PlaneFields:
    """The fields of the 2-D bench: composes, reads, fills in and updates them.

    Attributes:
        drawing: The shape that was drawn, if any.
        seed: Seed of the training.
        particle_seed: Seed of the particles' noise.
    """

    def __init__(self, bench: Bench[Any]) -> None:
        self._bench = bench
        self.drawing: DrawnImage | None = None
        self.seed = self.particle_seed = 0
        self._names = POINT_SETS["two moons"]  # of the classes to choose from

    def compose(self) -> Iterator[Widget]:
        """Two lines of fields."""
        names = self._names
        yield FieldRow(
            ("points", choice("points", POINTS, "two moons", width=19)),
            ("path", choice("path", PATH_NAMES, "flow", width=7)),
            ("predicts", choice("predicts", _predictions("flow"), "velocity", width=11)),
            ("training", entry("training", str(TRAINING_STEPS), width=7)),
            ("arrows", choice("arrows", ARROWS, ARROWS[0], width=11)),
        )
        away = choice("away", _away(names), "", width=9)
        away.disabled = True
        yield FieldRow(
            ("sampler", choice("sampler", SAMPLER_NAMES, "euler", width=10)),
            ("steps", entry("steps", "80", width=5)),
            ("class", choice("class", _classes(names), IN_TURN, width=10)),
            ("guidance", entry("guidance", "1", width=5)),
            ("from", away),
        )

    def fit(self, width: int) -> None:
        """Show the fields for which a terminal of `width` columns has room."""
        for name, columns in FROM_COLUMNS.items():
            field = self._bench.query_one(f"#{name}")
            label = next(before for before, after in pairwise(field.ancestors[0].children) if after is field)
            field.display = label.display = width >= columns
        self._bench.set_class(80 <= width < ROOMY, "-tight")

    def request(self, digits: str) -> PlaneRequest:
        """The request that the fields describe.

        Args:
            digits: Name of the dataset behind the option "digits".

        Raises:
            MinidiffError: A field has an invalid value.
        """
        points: str | DrawnImage = self._chosen("points")
        if points == DIGITS:
            points = digits
        elif points == DRAWING:
            if self.drawing is None:
                raise MinidiffError("nothing is drawn yet: press w to draw a shape")
            points = self.drawing
        label, arrows = self._label, self._chosen("arrows")
        away = self._chosen("away") if label not in (None, NO_CLASS) else ""
        steps = self._bench.number("steps", *STEPS)
        return PlaneRequest(
            points=points,
            seed=self.seed,
            path=self._chosen("path"),
            prediction=self._chosen("predicts"),
            training_steps=self._bench.number("training", 0, MAX_TRAINING_STEPS),
            kind="velocity" if arrows == NO_ARROWS else arrows,
            smoothing=SMOOTHING,
            steps=steps,
            sampler=self._chosen("sampler"),
            particle_seed=self.particle_seed,
            label=label,
            guidance=self._guidance,
            against=int(away) if away else None,
            compare=() if away else (*(count for count in COUNTS if count < steps), steps),
        )

    def fill(self, request: PlaneRequest) -> None:
        """Set the fields to those of a request, without posting `Changed`."""
        points = request.points
        if isinstance(points, DrawnImage):
            self.drawing, points = points, DRAWING
        elif points not in POINT_SETS:
            points = DIGITS
        self.seed, self.particle_seed = request.seed, request.particle_seed
        self._bench.set_fields(points=points, path=request.path)
        self._update_options()
        if self._chosen("arrows") != NO_ARROWS or request.kind != "velocity":
            self._bench.set_fields(arrows=request.kind)
        self._bench.set_fields(
            predicts=request.prediction or "",
            training=request.training_steps,
            sampler=request.sampler,
            steps=request.steps,
            guidance=f"{request.guidance:g}",
            away="" if request.against is None else str(request.against),
            **{"class": {None: IN_TURN, NO_CLASS: ANY}.get(request.label, str(request.label))},
        )
        self._update_options()

    def update(self, changed: Widget) -> None:
        """Update the options of the other fields after `changed` changed."""
        if changed.id in ("points", "path", "class"):
            self._update_options()

    @property
    def arrows_visible(self) -> bool:
        """Whether arrows are drawn."""
        return self._chosen("arrows") != NO_ARROWS

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the chosen points."""
        chosen = self._chosen("points")
        return DIGIT_NAMES if chosen == DIGITS else DRAWING_CLASSES if chosen == DRAWING else POINT_SETS[chosen]

    @property
    def _label(self) -> int | None:
        chosen = self._chosen("class")
        return None if chosen == IN_TURN else NO_CLASS if chosen == ANY else int(chosen)

    @property
    def _guidance(self) -> float:
        text = self._bench.query_one("#guidance", Input).value.strip()
        try:
            guidance = float(text)
        except ValueError:
            guidance = -1.0
        if not 0 <= guidance <= MAX_GUIDANCE:
            raise MinidiffError(f"guidance takes a number from 0 to {MAX_GUIDANCE}, not {text or 'nothing'}")
        return guidance

    def _update_options(self) -> None:
        """Set the options that the chosen points and the chosen path support."""
        path, names = self._chosen("path"), self.class_names
        if names != self._names:
            self._names = names
            for field, options in (("class", _classes(names)), ("away", _away(names))):
                select = self._select(field)
                select.set_values(options, select.chosen if select.chosen in options else next(iter(options)))
        prediction, predictions = self._select("predicts"), _predictions(path)
        if list(predictions) != prediction.values:
            chosen = prediction.chosen if prediction.chosen in predictions else predictions[-1]
            prediction.set_values(predictions, chosen)
        sampler, arrows = self._select("sampler"), self._select("arrows")
        sampler.disable_options([name for name in SAMPLER_NAMES if incompatibility(name, path)])
        arrows.disable_options(["score"] if path == "mix" else [])  # its noise is uniform
        if incompatibility(sampler.chosen, path):
            self._bench.set_fields(sampler="euler")
        if path == "mix" and arrows.chosen == "score":
            self._bench.set_fields(arrows=ARROWS[0])
        self._select("away").disabled = self._label in (None, NO_CLASS)
        self._bench.query_one("#guidance", Input).disabled = self._label == NO_CLASS  # which it does not change

    def _select(self, name: str) -> CompactSelect:
        return self._bench.query_one(f"#{name}", CompactSelect)

    def _chosen(self, name: str) -> str:
        return self._select(name).chosen


def _predictions(path: str) -> tuple[str, ...]:
    from core.config.training import PREDICTIONS  # imports pydantic, which the first screen does not need

    return PREDICTIONS[path]


def _classes(names: tuple[str, ...]) -> dict[str, str]:
    return {IN_TURN: IN_TURN, ANY: ANY, **{str(label): name for label, name in enumerate(names)}}


def _away(names: tuple[str, ...]) -> dict[str, str]:
    return {"": "any", **{str(label): name for label, name in enumerate(names)}}
