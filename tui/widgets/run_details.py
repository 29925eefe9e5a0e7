"""Details of the highlighted run: status, config, curves and newest samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from core.runs.config_diff import config_differences
from core.runs.directory import config_options
from core.runs.findings import is_fine_tuned
from core.runs.history import RunHistory
from core.runs.pipelines import is_pipeline
from core.runs.status import RunSummary, Status
from core.text import sanitize
from tui.themes import STATUS_COLORS
from tui.widgets.config_diff import ConfigDiff
from tui.widgets.curve_panel import CurvePanel
from tui.widgets.diagnosis_hint import DiagnosisHint
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_monitor import ago
from tui.widgets.text_line import update_text

# The options shown; config.toml has all of them.
SHOWN_OPTIONS = ("preset", "model", "channels", "batch_size", "learning_rate", "seed", "limit", "device")
# Options that define the loss, with their value in configs from before the option.
LOSS_OPTIONS = {"objective": "diffusion", "path": "", "prediction": "", "weighting": "prediction"}


class RunDetails(Vertical):
    """Displays the summary of a run and, once it is loaded, its history; posts no messages."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunDetails {
        padding: 0 1;
        #about { height: auto; max-height: 8; }
        ConfigDiff { max-height: 25vh; display: none; }
        &.-marked #about, &.-marked DiagnosisHint { display: none; }
        &.-marked ConfigDiff { display: block; }
        #pictures { height: 1fr; }
        #pictures ImageGrid { width: 34; margin-left: 2; }
    }
    .-beside RunDetails {
        #pictures { layout: vertical; margin-top: 1; }
        #pictures ImageGrid { width: 1fr; height: 1fr; margin: 1 0 0 0; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._run: RunSummary | None = None
        self._options: list[str] = []  # of that run
        self._fine_tuned = False  # whether it started from trained weights
        self._marked: list[str] = []  # paths of the marked runs
        self._note = ""  # on comparing them

    def compose(self) -> ComposeResult:
        yield Static(id="about")
        yield DiagnosisHint()
        yield ConfigDiff()
        with Horizontal(id="pictures"):
            yield CurvePanel()
            yield ImageGrid()

    def set_run(self, run: RunSummary | None) -> None:
        """Show the summary of `run`; None hides the widget."""
        self.display = run is not None
        if run is None:
            return
        if run is not self._run:
            options = {} if is_pipeline(Path(run.path)) else config_options(Path(run.path))
            self._run, self._options, self._fine_tuned = run, _describe(options), is_fine_tuned(options)
        update_text(self.query_one("#about", Static), _about(run, self._options))

    def set_marked(self, paths: list[str]) -> None:
        """Show the options in which these runs differ instead of the summary, if there are at least two."""
        if paths == self._marked:
            return
        self._marked, self._note = paths, comparison_note(map(Path, paths))
        self.set_class(len(paths) > 1, "-marked")
        if len(paths) > 1:
            differences = config_differences(map(Path, paths))
            values = {option: list(map(_format_value, of_runs)) for option, of_runs in differences.items()}
            shown = {option.replace("_", " "): of_runs for option, of_runs in values.items()}
            self.query_one(ConfigDiff).show([Path(path).name for path in paths], shown)

    def set_history(self, history: RunHistory, *, is_read: bool = True) -> None:
        """Show the curves and the newest samples, or nothing before the log is read."""
        is_pipeline = self._run is not None and self._run.status is Status.PIPELINE
        reason = "no log: not trained by minidiff" if is_pipeline else "no steps logged yet"
        reason = reason if is_read else ""
        if self._run is not None:
            hint = self.query_one(DiagnosisHint)
            hint.update_hint(self._run.name, history, fine_tuned=self._fine_tuned)
        self.query_one(CurvePanel).plot.set_history(history, reason)
        grid = self.query_one(ImageGrid)
        if history.previews:
            preview = history.previews[-1]
            size = preview.count, preview.height, preview.width
            grid.characters = history.characters
            grid.set_images(preview.images, *size, channels=preview.channels)
        else:
            grid.clear()

    def set_histories(self, histories: Mapping[str, RunHistory]) -> None:
        """Show the curves of the marked runs, by path, instead; the samples stay."""
        named = {Path(path).name: history for path, history in histories.items()}
        self.query_one(CurvePanel).plot.set_histories(named, self._note)


def comparison_note(paths: Iterable[Path]) -> str:
    """Return which options make the losses of these runs incomparable; empty if they compare."""
    configs = [config for path in paths if (config := config_options(path)) is not None]
    differing = [
        name
        for name, default in LOSS_OPTIONS.items()
        if len({str(config.get(name, default)) for config in configs} - {""}) > 1
    ]
    return f"losses do not compare: different {', '.join(differing)}" if differing else ""


def _about(run: RunSummary, options: list[str]) -> Content:
    """Name, status, its reason and the next step; then the options."""
    text = Content.assemble((run.name, "bold"), "  ", (f"● {run.status}", f"${STATUS_COLORS[run.status]}"))
    updated = "" if run.updated is None else ago(run.updated)
    match run.status:
        case Status.FAILED | Status.UNREADABLE | Status.PIPELINE if run.error:
            text += Content.styled(f"\n{run.error}", "$error")
        case Status.INTERRUPTED:
            text += Content(f"\ntrainer exited unexpectedly, last update {updated}; r resumes from the last checkpoint")
        case Status.ELSEWHERE:
            text += Content(f"\non {run.host}, last update {updated}; r takes it over if its trainer there has exited")
        case Status.STOPPED:
            text += Content(f"\nstopped {updated}; r resumes from the last checkpoint")
        case _:
            pass
    if run.status is Status.PIPELINE:
        hint = "\npipeline of diffusers; s generates samples" if run.sampleable else ""
        return text + Content.styled(hint, "$foreground 60%")
    steps = f"step {run.step:,}" + (f" of {run.total_steps:,}" if run.total_steps else "")
    return text + Content.styled(f"\n{' · '.join([steps, *options])}", "$foreground 60%")


def _describe(options: dict[str, Any] | None) -> list[str]:
    if options is None:
        return ["config.toml is unreadable"]
    values = {name: options[name] for name in SHOWN_OPTIONS if name in options}
    return [f"{name.replace('_', ' ')} {_format_value(value)}" for name, value in values.items()]


def _format_value(value: object) -> str:
    if value is None:
        return "not set"
    try:
        return sanitize("-".join(map(str, value)) if isinstance(value, list) else str(value))
    except (ValueError, RecursionError):  # huge integers, deeply nested tables
        return "?"
