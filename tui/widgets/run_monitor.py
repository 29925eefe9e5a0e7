"""Everything about one run as it trains: its state, progress, loss curves, newest preview digits and log."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Label, ProgressBar, Static

from core.runs.events import Checkpoint, Failed, Finished, Preview, Resumed, Started, Stopped, Warned
from core.runs.history import RunHistory, current_epoch, in_words
from core.runs.status import Status
from core.text import memory_size
from tui.themes import STATUS_COLORS
from tui.widgets.curve_plot import CurvePanel
from tui.widgets.digits import DigitGrid
from tui.widgets.run_log import RunLog
from tui.widgets.text_line import update_text

NAMED = 4  # processes whose devices have room in the title


class RunMonitor(Vertical):
    """Shows what it is given; it reads nothing itself."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunMonitor {
        padding: 0 1;
        #title, #stats { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        #stats { color: $text-muted; }
        ProgressBar { width: 1fr; height: 1; }
        ProgressBar Bar { width: 1fr; }
        ProgressBar Bar > .bar--bar { color: $primary; }
        #banner { height: auto; max-height: 4; padding: 0 1; background: $warning 20%; color: $text-warning; }
        #banner.-error { background: $error 25%; color: $text-error; }
        #banner:ansi { background: transparent; color: $warning; text-style: bold; }  /* 16 colours have no shades */
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

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield ProgressBar(show_eta=False)
        yield Static(id="stats", markup=False)
        yield Static(id="banner", markup=False)
        with Horizontal():
            with Vertical(id="curves"):
                yield CurvePanel()
                yield RunLog(id="log")
            with Vertical(id="samples"):
                yield Label("", id="preview")
                yield DigitGrid()

    def on_mount(self) -> None:
        self._epoch_shown: tuple[int, float] | None = None
        self._previews: list[Preview] = []
        self._preview_chosen: int | None = None  # the epoch whose samples a person looks at; None: the newest
        self._banner_shown = "", False
        self.query_one("#banner").display = False

    def show(self, name: str, history: RunHistory, status: Status, host: str | None, lost: str | None) -> None:
        """Show the state of run `name`; `lost` is why its trainer ended before it began, None if it did not."""
        if lost is not None:
            status = Status.FAILED
        self._show_title(name, history, status, host)
        self._show_progress(history, status)
        update_text(self.query_one("#stats", Static), " · ".join(_stats(history, status)), layout=False)
        self._show_banner(*_notice(name, history, status, host, lost))
        self._show_preview(history, alive=status.alive)

    def draw(self, history: RunHistory, status: Status) -> None:
        """Draw the curves."""
        waiting = _waiting(history, status)
        self.query_one(CurvePanel).plot.show(history, waiting)

    def _show_title(self, name: str, history: RunHistory, status: Status, host: str | None) -> None:
        phase = _phase(history, status)
        if status is Status.ELSEWHERE:
            heard = "" if history.last is None else f", last heard {ago(history.last.time)}"
            phase = f"on {host}{heard}"
        about = [history.dataset.name] if history.dataset else []
        if history.started is not None:
            about += [_where(history.started), f"{history.started.parameters:,} parameters"]
        color = f"${STATUS_COLORS[status]}"
        title = Content.assemble(
            (name, "bold"), "  ", (f"● {phase}", color), "  ", (" · ".join(about), "$foreground 60%")
        )
        update_text(self.query_one("#title", Static), title, layout=False)

    def _show_progress(self, history: RunHistory, status: Status) -> None:
        bar = self.query_one(ProgressBar)
        if history.download is not None and history.dataset is None:
            bar.update(total=history.download.total, progress=history.download.received)
        elif history.total_steps:
            bar.update(total=history.total_steps, progress=history.step)
        else:
            bar.update(total=None if status.alive else 1, progress=0)

    def _show_banner(self, text: str, wrong: bool) -> None:
        if (text, wrong) == self._banner_shown:
            return  # a layout for nothing, twice a second
        self._banner_shown = text, wrong
        banner = self.query_one("#banner", Static)
        banner.display = bool(text)
        banner.set_class(wrong, "-error")
        banner.update(text)

    def _show_preview(self, history: RunHistory, *, alive: bool) -> None:
        label, grid = self.query_one("#preview", Label), self.query_one(DigitGrid)
        self._previews = history.previews
        self.query_one("#samples").display = alive or bool(history.previews)
        if not history.previews:
            label.update("samples come with each epoch", layout=False)
            if self._epoch_shown is not None:
                grid.clear()
            self._epoch_shown = self._preview_chosen = None
            return
        preview = history.previews[-1]
        if self._preview_chosen is not None:
            preview = next((one for one in history.previews if one.epoch == self._preview_chosen), preview)
        if self._epoch_shown != (preview.epoch, preview.time):
            self._epoch_shown = preview.epoch, preview.time
            label.update(f"samples after epoch {preview.epoch}", layout=False)
            grid.show(preview.images, preview.count, preview.height, preview.width)

    def turn_preview(self, by: int) -> None:
        """Show the samples of an epoch before or after those shown; the newest are followed again at the end."""
        epochs = [preview.epoch for preview in self._previews]
        if not epochs:
            return
        at = epochs.index(self._preview_chosen) if self._preview_chosen in epochs else len(epochs) - 1
        at = max(0, min(len(epochs) - 1, at + by))
        self._preview_chosen = None if at == len(epochs) - 1 else epochs[at]
        preview = self._previews[at]
        self._epoch_shown = preview.epoch, preview.time
        self.query_one("#preview", Label).update(f"samples after epoch {preview.epoch}", layout=False)
        self.query_one(DigitGrid).show(preview.images, preview.count, preview.height, preview.width)


def _phase(history: RunHistory, status: Status) -> str:
    if status is Status.RUNNING and history.dataset is None and history.download is not None:
        return "getting the data"
    if status is Status.RUNNING and _is_warming_up(history):
        return "warming up"
    return str(status)


def _is_warming_up(history: RunHistory) -> bool:
    """Whether the trainer that holds the run has not reported a step yet."""
    if history.started is None or not history.progress:
        return True
    return history.progress[-1].time < history.started.time


def _where(started: Started | Resumed) -> str:
    """The trainer's device, or how many processes train together, and on what."""
    devices = started.devices.split(", ")
    if len(devices) == 1:
        return started.device
    return f"{len(devices)} processes" + (f" ({started.devices})" if len(devices) <= NAMED else "")


def _waiting(history: RunHistory, status: Status) -> str:
    """What to say where the curves will be."""
    if not status.alive:
        return "no step was logged"
    if history.download is not None and history.dataset is None:
        return in_words(history.download)
    return "warming up\nthe curves begin with the first steps"


def _stats(history: RunHistory, status: Status) -> list[str]:
    if history.download is not None and history.dataset is None and status.alive:
        return [in_words(history.download)]
    if history.started is None:
        return ["the trainer is loading"] if status.alive else []
    total = history.total_steps
    epochs = history.started.epochs
    done = history.epochs[-1].epoch if history.epochs else 0
    window = history.progress[-1] if history.progress else None
    at = current_epoch(epochs, window, done) if status.alive else done
    parts = [f"epoch {at} of {epochs}", f"step {history.step:,}" + (f" of {total:,}" if total else "")]
    if window and status in (Status.RUNNING, Status.PAUSED, Status.ELSEWHERE) and not _is_warming_up(history):
        if status is not Status.PAUSED:
            parts.append(f"{window.images_per_second:,.0f} images/s")
            left = history.seconds_left
            parts.append("" if left is None else f"{duration(left)} left")
        if window.memory is not None:
            parts.append(memory_size(window.memory))
    if isinstance(history.lifecycle, Finished):
        parts.append(f"took {duration(history.lifecycle.seconds)}")
    return [part for part in parts if part]


def _notice(name: str, history: RunHistory, status: Status, host: str | None, lost: str | None) -> tuple[str, bool]:
    """The banner's text, empty for none, and whether it tells of an error."""
    saved = max((note.step for note in history.notes if isinstance(note, Checkpoint | Resumed)), default=None)
    again = f"r resumes from step {saved:,}" if saved else "r starts it again"
    if lost is not None:
        return f"the trainer did not start: {lost}", True
    if isinstance(history.lifecycle, Failed) and status is Status.FAILED:
        return f"{history.lifecycle.message}  ({again})", True
    if status is Status.INTERRUPTED:
        return f"the trainer of {name} is gone without a word: killed, or the machine went down; {again}", True
    if status is Status.STOPPED and isinstance(history.lifecycle, Stopped):
        return f"{in_words(history.lifecycle)}; {again}", False
    warnings = [note.message for note in history.notes if isinstance(note, Warned)]
    more = f"  (and {len(warnings) - 1} more, in the log)" if len(warnings) > 1 else ""
    return (warnings[-1] + more, False) if warnings else ("", False)


def duration(seconds: float) -> str:
    """`seconds` in the two largest units that say enough: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    if whole < 5_970:
        return f"{round(whole / 60)} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(moment: float) -> str:
    """How long ago `moment`, in seconds since the epoch, was, in its largest unit: it seldom changes."""
    passed = time.time() - moment
    amount, unit, *_ = duration(passed).split(" ")
    return "now" if passed < 2 else f"{amount} {unit} ago"
