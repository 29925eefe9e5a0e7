"""What a run's events look like on a terminal, as a progress bar, and elsewhere, as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol

from core.runs.events import (
    DatasetLoaded,
    Download,
    Epoch,
    Evaluated,
    Event,
    Failed,
    Finished,
    Paused,
    Preview,
    Progress,
    Stopped,
    Warned,
)
from core.runs.history import RunHistory, in_words, loss_text

PLAIN_SECONDS = 10.0  # between two lines about the same epoch


class Show(Protocol):
    """Something that shows events as they come."""

    def __enter__(self) -> Show: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, event: Event) -> None:
        """Show one event."""


def show_for_output() -> Show:
    """A progress bar where stdout is a terminal, plain lines elsewhere."""
    return ProgressBar() if sys.stdout.isatty() else PlainLines()


def show_all(events: Iterable[Event]) -> Event | None:
    """Show events to their end; the last one."""
    last = None
    with show_for_output() as show:
        for last in events:
            show.add(last)
    return last


class PlainLines:
    """A line for each thing that happens, and at most one in ten seconds for the pace."""

    def __init__(self) -> None:
        self._spoke = 0.0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, event: Event) -> None:
        if isinstance(event, Preview):
            return
        if isinstance(event, Progress | Download):
            if time.monotonic() - self._spoke < PLAIN_SECONDS:
                return
            self._spoke = time.monotonic()
        print(in_words(event), flush=True)


class ProgressBar:
    """rich's progress bar for the whole run, with a line above it for each thing that happens."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        self._task = self._bar.add_task("warming up", total=None, pace="")
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
                pace = (
                    f"step {event.step:,}/{total or 0:,}  loss {loss_text(event.loss)}  "
                    f"{event.images_per_second:,.0f} img/s"
                )
                self._bar.update(
                    self._task,
                    completed=event.step,
                    total=total,
                    description=f"epoch {event.epoch}/{epochs}",
                    pace=pace,
                    visible=True,  # again, in a run that had been stopped
                )
            case Download():
                self._bar.update(
                    self._task, completed=event.received, total=event.total, description=in_words(event), pace=""
                )
            case DatasetLoaded():
                self._bar.update(self._task, completed=0, total=None, description="warming up", pace="")
                self._bar.print(in_words(event), markup=False, emoji=False, highlight=False)
            case Epoch() | Evaluated() | Warned() | Paused() | Stopped() | Finished() | Failed():
                self._bar.print(in_words(event), markup=False, emoji=False, highlight=False)
                if isinstance(event, Stopped | Finished | Failed):
                    self._bar.update(self._task, visible=False)
            case _:
                pass
