"""Panels of the 2-D bench: the training, and the samples by the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from core.engine.plane_messages import PlaneComparison, PlaneProgress
from core.engine.protocol import Array
from tui.lab.number_text import count_of, decimals
from tui.lab.picture_panel import PicturePanel
from tui.lab.plane_canvas import PlaneCanvas
from tui.lab.plane_raster import Points
from tui.lab.small_plot import SmallPlot
from tui.widgets.text_line import update_text

DATA_EXTENT = 1.2  # half the side of pictures without noise; the data lie in [-1, 1]
MAX_COMPARED = 5  # numbers of steps
COMPARED_COLUMNS = 19  # columns of a picture, at least


class PlaneLossPlot(SmallPlot):
    """Draws the loss over the training steps."""

    X_TITLE = "training step"

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.losses: list[float] = []
        self._total = 1

    def add(self, progress: PlaneProgress) -> None:
        """Add the loss of the newest steps; step 0 begins a new curve."""
        if progress.step == 0:
            self.steps, self.losses = [], []
        self._total = max(1, progress.steps)
        if progress.loss is not None and (not self.steps or progress.step > self.steps[-1]):
            self.steps.append(progress.step)
            self.losses.append(progress.loss)
        self.show({"loss": ("plot-smoothed", self.steps, self.losses)}, None)

    def x_ticks(self, width: int) -> Mapping[float, str]:
        """The first and the last step."""
        return {0.0: "0", float(self._total): f"{self._total:,}"}


class TrainingPanel(PicturePanel):
    """The points that the network is trained on, and its loss so far."""

    DEFAULT_CSS = """
    TrainingPanel { layout: horizontal; }
    TrainingPanel PlaneCanvas { margin: 0 1 0 0; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._progress: PlaneProgress | None = None  # the newest

    def compose(self) -> ComposeResult:
        yield PlaneCanvas(DATA_EXTENT)
        yield PlaneLossPlot()

    def show_data(self, points: Points) -> None:
        """Show the points that the network is trained on."""
        self.query_one(PlaneCanvas).show(points)

    def add(self, progress: PlaneProgress) -> None:
        """Show the training step and the loss."""
        self._progress = progress
        self.query_one(PlaneLossPlot).add(progress)
        self.show_titles(self._key)

    def show_titles(self, key: str) -> None:
        """Show the training step and the loss in the border, after a key that changes the view, if any."""
        progress = self._progress
        if progress is None:
            self.set_titles("training", key=key)
            return
        step = f"{progress.step:,} of {progress.steps:,}"
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        seconds = f"{progress.parameters:,} parameters, {progress.elapsed:.1f} s"
        self.set_titles(
            f"training: step {step}{loss}", f"step {step}{loss}", f"step {step}", notes=(seconds, ""), key=key
        )

    def on_resize(self) -> None:
        width, height = self.content_size
        self.query_one(PlaneCanvas).styles.width = max(2, min(2 * height, width // 2))


class StepsPanel(PicturePanel):
    """Samples from the same noise by the number of steps, each with its energy distance to the data."""

    DEFAULT_CSS = """
    StepsPanel {
        & Horizontal { height: 1fr; }
        & Vertical { width: 1fr; height: 1fr; align: center middle; }
        & Static { width: 1fr; height: 1; color: $foreground 75%; text-align: center; text-wrap: nowrap; }
        & .message { display: none; height: auto; padding: 1 2; color: $foreground 50%; }
        & .message { text-align: left; text-wrap: wrap; }
    }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._results: dict[int, tuple[PlaneComparison, Points]] = {}  # by number of steps
        self._expected: tuple[int, ...] = ()  # numbers of steps
        self._density: Array | None = None

    def compose(self) -> ComposeResult:
        yield Static(classes="message", markup=False)
        with Horizontal():
            for number in range(MAX_COMPARED):
                with Vertical(id=f"compared-{number}"):
                    yield PlaneCanvas(DATA_EXTENT)
                    yield Static(markup=False)

    def expect(self, counts: Sequence[int], density: Array | None) -> None:
        """Remove the results, and lay out those of these numbers of steps.

        Args:
            counts: Numbers of steps; empty if they cannot be compared.
            density: Density of the data, (rows, columns), drawn behind the points.
        """
        self._results, self._expected, self._density = {}, tuple(counts), density
        message = self.query_one(".message", Static)
        message.display = not counts
        message.update("Guidance between two classes has no data to compare with. Set the field 'from' to any.")
        self.query_one(Horizontal).display = bool(counts)
        self._draw()

    def add(self, result: PlaneComparison, points: Points) -> None:
        """Show the samples of a number of steps; `points` are these samples in the colors of their classes."""
        self._results[result.steps] = result, points
        self._draw()

    @property
    def results(self) -> list[tuple[PlaneComparison, Points]]:
        """All results so far, in ascending order of their number of steps."""
        return [self._results[count] for count in sorted(self._results)]

    @property
    def shown_counts(self) -> list[int]:
        """The numbers of steps for which there is room: the smallest, the largest, and some between them."""
        counts = sorted(self._expected)
        width, height = self.content_size
        columns = max(COMPARED_COLUMNS, round(1.1 * height))  # so that the pictures fill the panel
        room = max(1, min(len(counts), max(2, width // columns)))
        if room >= len(counts) or room < 2:
            return counts[-room:]
        return [counts[round(index * (len(counts) - 1) / (room - 1))] for index in range(room)]

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        counts = self.shown_counts
        width, height = self.content_size
        lines = max(1, min(height - 1, width // max(1, len(counts)) // 2))
        for number in range(MAX_COMPARED):
            column = self.query_one(f"#compared-{number}")
            column.display = number < len(counts)
            if number >= len(counts):
                continue
            canvas, caption = column.query_one(PlaneCanvas), column.query_one(Static)
            canvas.styles.width, canvas.styles.height = 2 * lines, lines  # all alike
            found = self._results.get(counts[number])
            canvas.show(Points() if found is None else found[1], self._density)
            update_text(caption, _caption(counts[number], found and found[0]), layout=False)


def _caption(count: int, result: PlaneComparison | None) -> str:
    steps = count_of(count, "step")
    if result is None:
        return f"{steps} …"
    return f"{steps} {decimals(result.distance, 3) if math.isfinite(result.distance) else '–'}"
