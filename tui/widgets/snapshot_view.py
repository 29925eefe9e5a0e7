"""Samples of one snapshot of a run, above the losses of the run with a cursor at its step."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.runs.history import RunHistory
from core.runs.snapshots import SnapshotFrame, SnapshotSeries
from tui.widgets.captions import class_captions
from tui.widgets.loss_plot import LossPlot
from tui.widgets.panes import Pane

MUTED = "$foreground 60%"


class SnapshotView(Vertical):
    """Displays one frame of a `SnapshotSeries`; posts no messages."""

    DEFAULT_CSS = """
    SnapshotView {
        height: 1fr;
        & Pane { height: 1fr; }
        & LossPlot { height: 30%; min-height: 6; max-height: 14; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0  # of the whole run, as far as it is known
        self._labels: Sequence[int] | None = None
        self._class_names: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        yield Pane("snapshot")
        yield LossPlot()

    def set_history(self, history: RunHistory, last: int) -> None:
        """Plot the losses of a run; `last` is the step of its last snapshot."""
        self._steps = max(last, history.total_steps or history.step)
        self.query_one(LossPlot).set_history(history, max(last, history.step))

    def set_measured(self, losses: Sequence[tuple[int, float]]) -> None:
        """Plot steps and validation losses measured with the snapshots, instead of those after the epochs."""
        self.query_one(LossPlot).set_measured(losses)

    def set_labels(self, labels: Sequence[int] | None, class_names: Sequence[str]) -> None:
        """Set the requested class of each image of the next frames, None for an unconditional model, and all names."""
        self._labels, self._class_names = labels, class_names

    def set_frame(self, series: SnapshotSeries, frame: SnapshotFrame) -> None:
        """Show the samples of one snapshot."""
        pane = self.query_one(Pane)
        pane.grid.characters = series.characters
        captions = class_captions(frame.read, self._labels, self._class_names)
        shape = series.n, series.height, series.width
        pane.grid.set_images(frame.images, *shape, captions or [""] * series.n, channels=series.channels)
        brief = Content.styled(f"step {frame.step:,}", "bold")
        title = Content.assemble(brief, (f" of {self._steps:,}" if frame.step else ", before training", MUTED))
        notes = _notes(frame)
        pane.set_title(*((title, note) for note in notes), *((brief, note) for note in notes), (brief, Content()))
        self.query_one(LossPlot).set_cursor(frame.step)

    def show_message(self, text: str) -> None:
        """Show a text instead of images."""
        self.query_one(Pane).grid.show_message(text)


def _notes(frame: SnapshotFrame) -> list[Content]:
    """What is known about a snapshot, in the colors of the plot; the longest version first."""
    parts: list[tuple[str, str, str]] = []  # of each the long and the brief version, and its color
    logged = frame.logged
    if logged.loss is not None:
        parts.append((f"training loss {logged.loss:.4f}", f"loss {logged.loss:.3f}", "$plot-smoothed"))
    if frame.validation_loss is not None:
        measured = frame.validation_loss
        parts.append((f"validation loss {measured:.4f}", f"validation {measured:.3f}", "$plot-validation"))
    elif logged.validation_loss is not None:
        brief = f"validation {logged.validation_loss:.3f}"
        after = f"validation loss {logged.validation_loss:.4f} after step {logged.validation_step:,}"
        parts.append((after, brief, "$plot-validation"))
    if logged.distance is not None:
        parts.append((f"distance {logged.distance:.4g}", f"distance {logged.distance:.3g}", MUTED))
    versions = [[(long, color) for long, _, color in parts], [(brief, color) for _, brief, color in parts]]
    versions += [[part] for part in reversed(versions[1])]
    return [Content("  ").join([Content.styled(*part) for part in version]) for version in versions]
