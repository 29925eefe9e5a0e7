"""Shows a run's events: as a progress bar on a terminal, as plain lines elsewhere, or as JSON."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from core.runs.events import (
    DatasetLoaded,
    Download,
    Epoch,
    Evaluated,
    Event,
    Failed,
    Finished,
    LossByLevel,
    Paused,
    Preparing,
    Preview,
    Progress,
    Stopped,
    Warned,
    to_line,
)
from core.runs.history import RunHistory, in_words, loss_text

PLAIN_SECONDS = 10.0  # minimum between two progress lines


class EventDisplay(Protocol):
    """Shows events as they arrive."""

    def __enter__(self) -> EventDisplay: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, event: Event) -> None:
        """Show one event."""


def event_display(*, as_json: bool = False) -> EventDisplay:
    """A progress bar if stdout is a terminal, else plain lines; with `as_json` the lines of `events.jsonl`."""
    if as_json:
        return JsonLines()
    return ProgressBar() if sys.stdout.isatty() else PlainLines()


class StatelessDisplay:
    """A display with nothing to open or close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class JsonLines(StatelessDisplay):
    """Prints each event as the line that `events.jsonl` has for it."""

    def add(self, event: Event) -> None:
        print(to_line(event), end="", flush=True)


class PlainLines(StatelessDisplay):
    """Prints one line per event, with at most one progress line in ten seconds."""

    def __init__(self) -> None:
        self._last_time = 0.0

    def add(self, event: Event) -> None:
        if isinstance(event, Preview):
            return
        if isinstance(event, Progress | Download | Preparing):
            if time.monotonic() - self._last_time < PLAIN_SECONDS:
                return
            self._last_time = time.monotonic()
        print(in_words(event), flush=True)


class ProgressBar:
    """A rich progress bar for the whole run, with other events printed above it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        self._task = self._bar.add_task("starting", total=None, rate="")
        self._history = RunHistory()

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, event: Event) -> None:
        self._history.add(event)
        match event:
            case Progress():
                total = self._history.total_steps
                epochs = self._history.started.epochs if self._history.started else "?"
                rate = (
                    f"step {event.step:,}/{total or 0:,}  loss {loss_text(event.loss)}  "
                    f"{event.images_per_second:,.0f} img/s"
                )
                self._bar.update(
                    self._task,
                    completed=event.step,
                    total=total,
                    description=f"epoch {event.epoch}/{epochs}",
                    rate=rate,
                    visible=True,  # again, after a stop in the log
                )
            case Download():
                self._bar.update(
                    self._task, completed=event.received, total=event.total, description=in_words(event), rate=""
                )
            case Preparing():
                self._bar.update(
                    self._task, completed=event.done, total=event.total, description=in_words(event), rate=""
                )
            case DatasetLoaded():
                self._bar.update(self._task, completed=0, total=None, description="starting", rate="")
                self._bar.print(in_words(event), markup=False, emoji=False, highlight=False)
            case Epoch() | Evaluated() | LossByLevel() | Warned() | Paused() | Stopped() | Finished() | Failed():
                self._bar.print(in_words(event), markup=False, emoji=False, highlight=False)
                if isinstance(event, Stopped | Finished | Failed):
                    self._bar.update(self._task, visible=False)
            case _:
                pass
