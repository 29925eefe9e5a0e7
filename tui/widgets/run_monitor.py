"""Live view of a run: status, progress, curves, samples and log."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Label, ProgressBar, Static

from core.runs.events import Checkpoint, Failed, Finished, Preparing, Preview, Resumed, Started, Stopped, Warned
from core.runs.history import RunHistory, current_epoch, in_words
from core.runs.status import Status
from core.text import memory_size
from tui.themes import STATUS_COLORS
from tui.widgets.curve_panel import CurvePanel
from tui.widgets.diagnosis_hint import DiagnosisHint
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_log import RunLog
from tui.widgets.text_line import update_text

MAX_NAMED = 4  # processes whose devices are listed in the title


class RunMonitor(Vertical):
    """Displays the state of a run; reads nothing itself and posts no messages."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunMonitor {
        padding: 0 1;
        #title, #stats { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        #stats { color: $text-muted; }
        ProgressBar { width: 1fr; height: 1; }
        ProgressBar Bar { width: 1fr; }
        ProgressBar Bar > .bar--bar, ProgressBar Bar > .bar--indeterminate { color: $primary; }
        #banner { height: auto; max-height: 4; padding: 0 1; background: $warning 20%; color: $text-warning; }
        #banner.-error { background: $error 25%; color: $text-error; }
        #banner:ansi { background: transparent; color: $warning; text-style: bold; }  /* 16 colors have no shades */
        #banner.-error:ansi { color: $error; }
        #curves { width: 1fr; }
        RunLog { height: 6; }
        #samples { width: 32; margin-left: 2; }
        #preview { height: 1; color: $text-muted; width: 1fr; text-align: center; }
    }
    .-short RunMonitor RunLog { height: 5; }
    .-tall RunMonitor RunLog { height: 14; }
    .-wide RunMonitor #samples { width: 46; }
    .-broad RunMonitor #samples { width: 90; }
    .-slim RunMonitor #samples { width: 22; }
    """

    fine_tuned = False
    """Whether the run started from trained weights, so that its loss need not fall."""

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield ProgressBar(show_eta=False)
        yield Static(id="stats", markup=False)
        yield Static(id="banner", markup=False)
        yield DiagnosisHint()
        with Horizontal():
            with Vertical(id="curves"):
                yield CurvePanel()
                yield RunLog(id="log")
            with Vertical(id="samples"):
                yield Label("", id="preview")
                yield ImageGrid()

    def on_mount(self) -> None:
        self._shown_preview: tuple[int, float] | None = None  # epoch and time
        self._previews: list[Preview] = []
        self._name_of_run = ""
        self._selected_epoch: int | None = None  # epoch of the selected samples; None follows the newest
        self._shown_banner = "", False
        self.query_one("#banner").display = False

    def update_run(
        self, name: str, history: RunHistory, status: Status, host: str | None, start_error: str | None
    ) -> None:
        """Update everything but the curves and the log.

        Args:
            name: Name of the run.
            history: Its history.
            status: Its status.
            host: The host of its trainer, None if unknown.
            start_error: Why the trainer failed to start, None if it did not fail.
        """
        if start_error is not None:
            status = Status.FAILED
        self._name_of_run = name
        self._show_title(name, history, status, host)
        self._show_progress(history, status)
        update_text(self.query_one("#stats", Static), " · ".join(_stats(history, status)), layout=False)
        self._show_banner(*_notice(name, history, status, start_error))
        self._show_preview(history, alive=status.alive)

    def update_curves(self, history: RunHistory, status: Status) -> None:
        """Update the curves, and the hint on what looks wrong in them."""
        self.query_one(CurvePanel).plot.set_history(history, _placeholder(history, status))
        self.query_one(DiagnosisHint).update_hint(self._name_of_run, history, fine_tuned=self.fine_tuned)

    def _show_title(self, name: str, history: RunHistory, status: Status, host: str | None) -> None:
        phase = _phase(history, status)
        if status is Status.ELSEWHERE:
            updated = "" if history.last is None else f", last update {ago(history.last.time)}"
            phase = f"on {host}{updated}"
        details = [history.dataset.name] if history.dataset else []
        if history.started is not None:
            details += [_devices(history.started), f"{history.started.parameters:,} parameters"]
        color = f"${STATUS_COLORS[status]}"
        title = Content.assemble(
            (name, "bold"), "  ", (f"● {phase}", color), "  ", (" · ".join(details), "$foreground 60%")
        )
        update_text(self.query_one("#title", Static), title, layout=False)

    def _show_progress(self, history: RunHistory, status: Status) -> None:
        bar = self.query_one(ProgressBar)
        if history.download is not None and history.dataset is None:
            bar.update(
                total=history.download.total,
                progress=history.download.done
                if isinstance(history.download, Preparing)
                else history.download.received,
            )
        elif history.total_steps:
            bar.update(total=history.total_steps, progress=history.step)
        else:
            bar.update(total=None if status.alive else 1, progress=0)

    def _show_banner(self, text: str, is_error: bool) -> None:
        if (text, is_error) == self._shown_banner:
            return  # avoids a layout on every update
        self._shown_banner = text, is_error
        banner = self.query_one("#banner", Static)
        banner.display = bool(text)
        banner.set_class(is_error, "-error")
        banner.update(text)

    def _show_preview(self, history: RunHistory, *, alive: bool) -> None:
        label, grid = self.query_one("#preview", Label), self.query_one(ImageGrid)
        self._previews = history.previews
        self.query_one("#samples").display = alive or bool(history.previews)
        if not history.previews:
            label.update("samples after each epoch", layout=False)
            if self._shown_preview is not None:
                grid.clear()
            self._shown_preview = self._selected_epoch = None
            return
        preview = history.previews[-1]
        if self._selected_epoch is not None:
            preview = next((one for one in history.previews if one.epoch == self._selected_epoch), preview)
        grid.characters = history.characters
        if self._shown_preview != (preview.epoch, preview.time):
            self._draw_preview(preview)

    def step_preview(self, by: int) -> None:
        """Show the samples `by` epochs later, or earlier if negative; at the newest, new samples are followed again."""
        epochs = [preview.epoch for preview in self._previews]
        if not epochs:
            return
        index = epochs.index(self._selected_epoch) if self._selected_epoch in epochs else len(epochs) - 1
        index = max(0, min(len(epochs) - 1, index + by))
        self._selected_epoch = None if index == len(epochs) - 1 else epochs[index]
        self._draw_preview(self._previews[index])

    def _draw_preview(self, preview: Preview) -> None:
        self._shown_preview = preview.epoch, preview.time
        self.query_one("#preview", Label).update(f"samples after epoch {preview.epoch}", layout=False)
        size = preview.count, preview.height, preview.width
        self.query_one(ImageGrid).set_images(preview.images, *size, channels=preview.channels)


def _phase(history: RunHistory, status: Status) -> str:
    if status is Status.RUNNING and history.dataset is None and history.download is not None:
        return "preparing data" if isinstance(history.download, Preparing) else "downloading data"
    if status is Status.RUNNING and _is_warming_up(history):
        return "starting"
    return str(status)


def _is_warming_up(history: RunHistory) -> bool:
    """Whether the current trainer has not reported a step yet."""
    if history.started is None or not history.progress:
        return True
    return history.progress[-1].time < history.started.time


def _devices(started: Started | Resumed) -> str:
    """The device, or the number of processes and their devices."""
    devices = started.devices.split(", ")
    if len(devices) == 1:
        return started.device
    return f"{len(devices)} processes" + (f" ({started.devices})" if len(devices) <= MAX_NAMED else "")


def _placeholder(history: RunHistory, status: Status) -> str:
    """Text shown while there are no curves."""
    if not status.alive:
        return "no steps logged"
    if history.download is not None and history.dataset is None:
        return in_words(history.download)
    return "starting\ncurves appear after the first steps"


def _stats(history: RunHistory, status: Status) -> list[str]:
    if history.download is not None and history.dataset is None and status.alive:
        return [in_words(history.download)]
    if history.started is None:
        return ["the trainer is starting"] if status.alive else []
    total = history.total_steps
    epochs = history.started.epochs
    done = history.epochs[-1].epoch if history.epochs else 0
    window = history.progress[-1] if history.progress else None
    epoch = current_epoch(epochs, window, done) if status.alive else done
    parts = [f"epoch {epoch} of {epochs}", f"step {history.step:,}" + (f" of {total:,}" if total else "")]
    if window and status in (Status.RUNNING, Status.PAUSED, Status.ELSEWHERE) and not _is_warming_up(history):
        if status is not Status.PAUSED:
            parts.append(f"{window.images_per_second:,.0f} images/s")
            remaining = history.seconds_left
            parts.append("" if remaining is None else f"{duration(remaining)} left")
        if window.memory is not None:
            parts.append(memory_size(window.memory))
    if isinstance(history.lifecycle, Finished):
        parts.append(f"took {duration(history.lifecycle.seconds)}")
    return [part for part in parts if part]


def _notice(name: str, history: RunHistory, status: Status, start_error: str | None) -> tuple[str, bool]:
    """Return the text of the banner, empty for none, and whether it is an error."""
    saved = max((note.step for note in history.notes if isinstance(note, Checkpoint | Resumed)), default=None)
    hint = f"r resumes from step {saved:,}" if saved else "r restarts it"
    if start_error is not None:
        return f"the trainer did not start: {start_error}", True
    if isinstance(history.lifecycle, Failed) and status is Status.FAILED:
        return f"{history.lifecycle.message}  ({hint})", True
    if status is Status.INTERRUPTED:
        return f"the trainer of {name} was killed, or the machine went down; {hint}", True
    if status is Status.STOPPED and isinstance(history.lifecycle, Stopped):
        return f"{in_words(history.lifecycle)}; {hint}", False
    warnings = [note.message for note in history.notes if isinstance(note, Warned)]
    more = f"  (and {len(warnings) - 1} more, in the log)" if len(warnings) > 1 else ""
    return (warnings[-1] + more, False) if warnings else ("", False)


def duration(seconds: float) -> str:
    """Format a duration in one or two units: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    if whole < 5_970:
        return f"{round(whole / 60)} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(moment: float) -> str:
    """Format the time since `moment`, a Unix timestamp, in its largest unit, so it changes rarely."""
    elapsed = time.time() - moment
    amount, unit, *_ = duration(elapsed).split(" ")
    return "now" if elapsed < 2 else f"{amount} {unit} ago"
