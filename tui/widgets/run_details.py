"""What is known of the run under the table's cursor: its state in words, its config, curves and newest digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from core.runs.directory import config_options
from core.runs.history import RunHistory
from core.runs.status import RunSummary, Status
from core.text import sanitize
from tui.themes import STATUS_COLORS
from tui.widgets.curve_plot import CurvePanel
from tui.widgets.digits import DigitGrid
from tui.widgets.run_monitor import ago
from tui.widgets.text_line import update_text

# Options that tell one run from another at a glance; the rest is in config.toml.
TOLD = ("preset", "model", "channels", "batch_size", "learning_rate", "seed", "limit", "device")


class RunDetails(Vertical):
    """Shows the summary given to `show` at once, and the history when it has been read."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunDetails {
        padding: 0 1;
        #about { height: auto; max-height: 8; }
        #pictures { height: 1fr; }
        #pictures DigitGrid { width: 34; margin-left: 2; }
    }
    .-beside RunDetails {
        #pictures { layout: vertical; margin-top: 1; }
        #pictures DigitGrid { width: 1fr; height: 1fr; margin: 1 0 0 0; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._run: RunSummary | None = None
        self._options: list[str] = []  # of that run

    def compose(self) -> ComposeResult:
        yield Static(id="about")
        with Horizontal(id="pictures"):
            yield CurvePanel()
            yield DigitGrid()

    def show(self, run: RunSummary | None) -> None:
        """Say what the table knows of `run`, in full."""
        self.display = run is not None
        if run is None:
            return
        if run is not self._run:
            self._run, self._options = run, _options(Path(run.path))
        update_text(self.query_one("#about", Static), _about(run, self._options))

    def show_history(self, history: RunHistory) -> None:
        """Draw the curves and the newest digits."""
        self.query_one(CurvePanel).plot.show(history, "no step was logged yet")
        grid = self.query_one(DigitGrid)
        if history.previews:
            preview = history.previews[-1]
            grid.show(preview.images, preview.count, preview.height, preview.width)
        else:
            grid.clear()

    def overlay(self, histories: Mapping[str, RunHistory]) -> None:
        """Draw the curves of several runs, by their paths, in place of the one's; the digits stay."""
        self.query_one(CurvePanel).plot.overlay({Path(path).name: history for path, history in histories.items()})


def _about(run: RunSummary, options: list[str]) -> Content:
    """The run's name and state, why it is in that state, and what can be done; then its config."""
    text = Content.assemble((run.name, "bold"), "  ", (f"● {run.status}", f"${STATUS_COLORS[run.status]}"))
    heard = "" if run.updated is None else ago(run.updated)
    match run.status:
        case Status.FAILED | Status.UNREADABLE:
            text += Content.styled(f"\n{run.error}", "$error")
        case Status.INTERRUPTED:
            text += Content(
                f"\nits trainer is gone without a word, last heard {heard}; r resumes from the last checkpoint"
            )
        case Status.ELSEWHERE:
            text += Content(f"\non {run.host}, last heard {heard}; r takes it over, once no trainer works on it there")
        case Status.STOPPED:
            text += Content(f"\nstopped {heard}; r resumes from the last checkpoint")
        case _:
            pass
    steps = f"step {run.step:,}" + (f" of {run.total_steps:,}" if run.total_steps else "")
    return text + Content.styled(f"\n{' · '.join([steps, *options])}", "$foreground 60%")


def _options(path: Path) -> list[str]:
    options = config_options(path)
    if options is None:
        return ["its config cannot be read"]
    values = {name: options[name] for name in TOLD if name in options}
    return [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values.items()]


def _shown(value: object) -> str:
    try:
        return sanitize("-".join(map(str, value)) if isinstance(value, list) else str(value))
    except (ValueError, RecursionError):  # TOML can write thousands of digits, and tables in tables in tables
        return "?"
