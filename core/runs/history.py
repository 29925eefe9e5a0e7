"""The history of a run from its event log: series for plots, tables and exports."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from core.config.datasets import CHARACTERS
from core.runs.events import (
    LIFECYCLE,
    LINE_BYTES,
    Checkpoint,
    Continued,
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
    Resumed,
    Started,
    Stopped,
    Warned,
    from_line,
)
from core.system.safe_io import opened
from core.text import file_size, memory_size

RATE_WINDOWS = 50  # to estimate the remaining time from
BLOCK_BYTES = 1_048_576  # read from a log at a time
MAX_GAP = 3600.0  # seconds between two windows; in a longer gap the clock changed, or the machine was suspended


class LogTail:
    """Reads the events appended to a log since the last read; a line without its newline is left for the next read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0
        self._skipping = False  # whether `_offset` is inside a line that is too long to be an event

    def read(self) -> tuple[list[Event], bool]:
        """The events appended since the last call, and whether the log was replaced or truncated (readers start over).

        A log that does not exist has no events. Besides the events, at most one line and one block are in memory.

        Raises:
            OSError: it cannot be read, or is a symbolic link or not a regular file.
        """
        try:
            with opened(self.path) as log:
                status = os.fstat(log.fileno())
                restarted = self._offset > 0 and (status.st_ino != self._inode or status.st_size < self._offset)
                if restarted:
                    self._offset, self._skipping = 0, False
                self._inode = status.st_ino
                log.seek(self._offset)
                events = list(self._complete_lines(log, status.st_size - self._offset))
        except FileNotFoundError:
            self._inode = 0  # the next file at this path is another log, even with the same inode number
            return [], False
        return events, restarted

    def _complete_lines(self, log: BinaryIO, length: int) -> Iterator[Event]:
        """The events in the next `length` bytes; moves `_offset` to the start of the incomplete last line."""
        rest = b""
        while length > 0 and (block := log.read(min(length, BLOCK_BYTES))):
            length -= len(block)
            complete, end, rest = (rest + block).rpartition(b"\n")
            self._offset += len(complete) + len(end)
            lines = complete.decode("utf-8", errors="replace").split("\n")
            for line in lines[1:] if self._skipping else lines:
                if (event := from_line(line)) is not None:
                    yield event
            self._skipping = (self._skipping and not end) or len(rest) > LINE_BYTES
            if self._skipping:
                self._offset += len(rest)
                rest = b""


def merged(windows: Sequence[Progress]) -> Progress:
    """Merge consecutive windows into one: mean loss and throughput, minimum and maximum loss."""
    last = windows[-1]
    if len(windows) == 1:
        return last
    return dataclasses.replace(
        last,
        loss=sum(window.loss for window in windows) / len(windows),
        loss_min=min(window.loss_min for window in windows),
        loss_max=max(window.loss_max for window in windows),
        images_per_second=sum(window.images_per_second for window in windows) / len(windows),
    )


class ThinnedSeries:
    """A run's windows reduced to at most `limit` points (an even number) by repeatedly merging neighbors.

    Point i covers the windows from i * `windows_per_point` up to the start of point i + 1. Windows with a non-finite
    loss are ignored, unless a point has no others.
    """

    def __init__(self, limit: int = 2_048) -> None:
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self.windows_per_point = 1
        self._points: list[Progress] = []
        self._open: list[Progress] = []  # windows of the point that is not full yet
        self._count = 0  # windows processed so far
        self._last: Progress | None = None

    def of(self, windows: Sequence[Progress]) -> list[Progress]:
        """Thin `windows`; those already processed by the previous call are not processed again."""
        if self._count > len(windows) or (self._count and windows[self._count - 1] is not self._last):
            self._reset()  # a resumed run dropped some windows
        for window in windows[self._count :]:
            self._open.append(window)
            if len(self._open) >= self.windows_per_point:
                self._points.append(_finite_merged(self._open))
                self._open = []
            if len(self._points) >= self._limit:
                self._points = [_finite_merged(self._points[i : i + 2]) for i in range(0, len(self._points), 2)]
                self.windows_per_point *= 2
        self._count = len(windows)
        self._last = windows[-1] if windows else None
        return [*self._points, _finite_merged(self._open)] if self._open else self._points


def _finite_merged(windows: Sequence[Progress]) -> Progress:
    return merged([window for window in windows if math.isfinite(window.loss)] or windows)


class RunHistory:
    """The series of one run; a `resumed` event drops everything logged earlier beyond its step."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.epochs: list[Epoch] = []
        self.previews: list[Preview] = []
        self.notes: list[Event] = []  # the events shown in the UI's log, in order
        self.started: Started | Resumed | None = None
        self.dataset: DatasetLoaded | None = None
        self.lifecycle: Event | None = None  # the last event that changed the run's status
        self.download: Download | Preparing | None = None  # before the data is loaded
        self.last: Event | None = None
        self._steady: Progress | None = None  # the first window since training started or continued after a pause

    @classmethod
    def of(cls, path: Path) -> RunHistory:
        """Read the history from the log at `path`."""
        history = cls()
        history.extend(LogTail(path).read()[0])
        return history

    def extend(self, events: Iterable[Event]) -> None:
        """Add events, oldest first."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Add one event."""
        self.last = event
        if isinstance(event, LIFECYCLE):
            self.lifecycle = event
            self._steady = None
        match event:
            case Started():
                self._drop_beyond(-1)
                self.started = event
            case Resumed():
                self._drop_beyond(event.step)
                self.started = event
            case DatasetLoaded():
                self.dataset = event
                self.download = None
            case Download() | Preparing():
                self.download = event
                return
            case Progress():
                self.progress.append(event)
                self._steady = self._steady or event
                return
            case Epoch():
                while self.epochs and self.epochs[-1].epoch >= event.epoch:
                    self.epochs.pop()
                self.epochs.append(event)
            case Preview():
                while self.previews and self.previews[-1].epoch >= event.epoch:
                    self.previews.pop()
                self.previews.append(event)
                return
            case _:
                pass
        self.notes.append(event)

    def _drop_beyond(self, step: int) -> None:
        self.progress = [event for event in self.progress if event.step <= step]
        self.epochs = [event for event in self.epochs if event.step <= step]
        self.previews = [event for event in self.previews if event.step <= step]

    @property
    def step(self) -> int:
        """The number of steps done."""
        steps = [
            event.step for event in (self.lifecycle, self.started) if isinstance(event, Resumed | Stopped | Finished)
        ]
        if self.progress:
            steps.append(self.progress[-1].step)
        return max(steps, default=0)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None until the data is loaded."""
        if self.started is None or self.dataset is None:
            return None
        return self.started.epochs * self.dataset.steps_per_epoch

    @property
    def loss_by_level(self) -> LossByLevel | None:
        """The newest loss at each noise level, of a step that is not taken again; None if there is none."""
        done = self.step
        measured = (note for note in reversed(self.notes) if isinstance(note, LossByLevel) and note.step <= done)
        return next(measured, None)

    @property
    def characters(self) -> bool:
        """Whether the images are light characters on black, such as MNIST's."""
        return self.dataset is None or self.dataset.name in CHARACTERS

    @property
    def seconds_left(self) -> float | None:
        """Remaining training time, estimated from the rate of the last windows; None without at least two windows."""
        total = self.total_steps
        if total is None or self._steady is None:
            return None
        windows = [window for window in self.progress[-RATE_WINDOWS:] if window.step >= self._steady.step]
        seconds = steps = 0.0
        for before, after in itertools.pairwise(windows):
            if 0 < after.time - before.time < MAX_GAP:
                seconds += after.time - before.time
                steps += after.step - before.step
        return (total - self.progress[-1].step) * seconds / steps if steps > 0 else None


def current_epoch(epochs: int, window: Progress | None, done: int) -> int:
    """The current epoch, from 1.

    Args:
        epochs: total number of epochs.
        window: the last window, None before the first.
        done: number of completed epochs.
    """
    return min(epochs, window.epoch if window else done + 1)


def loss_text(loss: float) -> str:
    """Format a loss with five decimals, or with an exponent if it is very large."""
    return f"{loss:.5f}" if not abs(loss) >= 1e6 else f"{loss:.5g}"


def in_words(event: Event) -> str:
    """Describe an event in one line."""
    match event:
        case Started():
            return f"started on {event.devices or event.device} with {event.parameters:,} parameters"
        case Resumed():
            return f"resumed at step {event.step:,} on {event.devices or event.device}"
        case DatasetLoaded():
            memory = f"; needs about {memory_size(event.memory)} of memory" if event.memory is not None else ""
            snapshots = f"; keeps up to {file_size(event.snapshot_bytes)} of snapshots" if event.snapshot_bytes else ""
            images = f"{event.train:,} training and {event.test:,} test images from {event.source}"
            return f"{event.name}: {images}{memory}{snapshots}"
        case Download():
            if event.name == "glyphs":
                return f"rendering digits: {event.received / (event.total or 1):.0%}"
            total = f" of {file_size(event.total)}" if event.total else ""
            return f"downloading {event.file}: {file_size(event.received)}{total}"
        case Preparing():
            total = f" of {event.total:,}" if event.total is not None else ""
            return f"{event.doing}: {event.done:,}{total}"
        case Progress():
            return f"step {event.step:,}: loss {loss_text(event.loss)}, {event.images_per_second:,.0f} images/s"
        case Epoch():
            losses = f"loss {loss_text(event.loss)}, validation {loss_text(event.validation_loss)}"
            return f"epoch {event.epoch}: {losses}, {event.seconds:.0f} s"
        case Preview():
            return f"epoch {event.epoch}: {event.count} preview samples"
        case Evaluated():
            agreement = "" if math.isnan(event.agreement) else f", agreement {event.agreement:.1%}"
            return f"epoch {event.epoch}: Frechet distance {event.frechet:.3f} from {event.n:,} samples{agreement}"
        case LossByLevel():
            excess = loss_text(event.loss - event.floor)
            return f"epoch {event.epoch}: loss floor {loss_text(event.floor)}, excess {excess}"
        case Checkpoint():
            return f"checkpoint at step {event.step:,}"
        case Paused():
            return f"paused at step {event.step:,}"
        case Continued():
            return f"continued at step {event.step:,}"
        case Warned():
            return event.message
        case Stopped():
            return f"stopped at step {event.step:,}: {event.reason}"
        case Finished():
            plural = "s" if event.step != 1 else ""
            return f"finished after {event.step:,} step{plural} and {event.seconds:.0f} s of training"
        case Failed():
            return f"failed at step {event.step:,}: {event.message}"
        case _:
            return event.kind
