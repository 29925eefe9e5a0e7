"""What a run's log says, folded into the series that plots, tables and exports need."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

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
    Paused,
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

PACE_WINDOWS = 50  # that the remaining time is estimated from
BLOCK_BYTES = 1_048_576  # of a log that are looked at together
LONGEST_GAP = 3600.0  # seconds between two windows; in a longer one the clock was set, or the machine slept


class LogTail:
    """Reads what has been appended to an event log since the last read; a line without its newline is not read yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0
        self._skipping = False  # whether `_offset` lies within a line too long to be an event

    def read(self) -> tuple[list[Event], bool]:
        """The events appended since the last call, and whether the log was begun anew (so that readers start over).

        A log that does not exist yet has no events. Whatever it holds, no more than a line and a block of it are in
        memory at once, besides its events.

        Raises:
            OSError: it cannot be read, or is a symbolic link or no ordinary file.
        """
        try:
            with opened(self.path) as log:
                status = os.fstat(log.fileno())
                anew = self._offset > 0 and (status.st_ino != self._inode or status.st_size < self._offset)
                if anew:
                    self._offset, self._skipping = 0, False
                self._inode = status.st_ino
                log.seek(self._offset)
                events = list(self._whole_lines(log, status.st_size - self._offset))
        except FileNotFoundError:
            self._inode = 0  # whatever comes here next is another log, even if it is given the same number
            return [], False
        return events, anew

    def _whole_lines(self, log: BinaryIO, length: int) -> Iterator[Event]:
        """The events in the next `length` bytes, block by block; moves `_offset` to the line that is not whole yet."""
        rest = b""
        while length > 0 and (block := log.read(min(length, BLOCK_BYTES))):
            length -= len(block)
            whole, end, rest = (rest + block).rpartition(b"\n")
            self._offset += len(whole) + len(end)
            lines = whole.decode("utf-8", errors="replace").split("\n")
            for line in lines[1:] if self._skipping else lines:
                if (event := from_line(line)) is not None:
                    yield event
            self._skipping = (self._skipping and not end) or len(rest) > LINE_BYTES
            if self._skipping:
                self._offset += len(rest)
                rest = b""


def merged(windows: Sequence[Progress]) -> Progress:
    """Consecutive windows as one: their mean loss and pace, the least and the greatest loss."""
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
    """A run's windows, neighbours merged again and again so that there are never more than `limit`, an even number.

    Point i stands for the windows from i * `share` on, up to those of point i + 1. Windows whose loss is not a number
    are left out of a point, unless all of its windows are so.
    """

    def __init__(self, limit: int = 2_048) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self.share = 1  # windows in each of `_points`
        self._points: list[Progress] = []
        self._open: list[Progress] = []  # of the point that is not full yet
        self._known = 0
        self._last: Progress | None = None

    def of(self, windows: Sequence[Progress]) -> list[Progress]:
        """`windows` thinned; those that were given before, at the start of the sequence, cost nothing."""
        if self._known > len(windows) or (self._known and windows[self._known - 1] is not self._last):
            self._begin()  # a resumed run dropped some
        for window in windows[self._known :]:
            self._open.append(window)
            if len(self._open) >= self.share:
                self._points.append(_finite_merged(self._open))
                self._open = []
            if len(self._points) >= self._limit:
                self._points = [_finite_merged(self._points[i : i + 2]) for i in range(0, len(self._points), 2)]
                self.share *= 2
        self._known = len(windows)
        self._last = windows[-1] if windows else None
        return [*self._points, _finite_merged(self._open)] if self._open else self._points


def _finite_merged(windows: Sequence[Progress]) -> Progress:
    return merged([window for window in windows if math.isfinite(window.loss)] or windows)


class RunHistory:
    """The series of one run; `resumed` drops what an earlier trainer logged beyond the step it was resumed from."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.epochs: list[Epoch] = []
        self.previews: list[Preview] = []
        self.notes: list[Event] = []  # everything a person reads as a log, in order
        self.started: Started | Resumed | None = None
        self.dataset: DatasetLoaded | None = None
        self.lifecycle: Event | None = None  # the last event that changed the run's status
        self.download: Download | None = None
        self.last: Event | None = None
        self._steady: Progress | None = None  # the first window since training began, or went on after a pause

    @classmethod
    def of(cls, path: Path) -> RunHistory:
        """The history that the log at `path` holds now."""
        history = cls()
        history.extend(LogTail(path).read()[0])
        return history

    def extend(self, events: Iterable[Event]) -> None:
        """Fold events in, oldest first."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Fold one event in."""
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
            case Download():
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
        """Steps done, as far as the log tells."""
        done = [
            event.step for event in (self.lifecycle, self.started) if isinstance(event, Resumed | Stopped | Finished)
        ]
        if self.progress:
            done.append(self.progress[-1].step)
        return max(done, default=0)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None until the data is loaded."""
        if self.started is None or self.dataset is None:
            return None
        return self.started.epochs * self.dataset.steps_per_epoch

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the pace of the last windows; None while there is no pace."""
        total = self.total_steps
        if total is None or self._steady is None:
            return None
        windows = [window for window in self.progress[-PACE_WINDOWS:] if window.step >= self._steady.step]
        seconds = steps = 0.0
        for before, after in itertools.pairwise(windows):
            if 0 < after.time - before.time < LONGEST_GAP:
                seconds += after.time - before.time
                steps += after.step - before.step
        return (total - self.progress[-1].step) * seconds / steps if steps > 0 else None


def current_epoch(epochs: int, window: Progress | None, done: int) -> int:
    """The epoch, from 1, that a trainer is at.

    Args:
        epochs: how many the run has.
        window: the newest progress, None before the first.
        done: how many epochs are complete.
    """
    return min(epochs, window.epoch if window else done + 1)


def loss_text(loss: float) -> str:
    """A loss with five decimals, or with an exponent where those would make it longer than a line has room for."""
    return f"{loss:.5f}" if not abs(loss) >= 1e6 else f"{loss:.5g}"


def in_words(event: Event) -> str:
    """One line for a person's log."""
    match event:
        case Started():
            return f"started on {event.devices or event.device} with {event.parameters:,} parameters"
        case Resumed():
            return f"resumed at step {event.step:,} on {event.devices or event.device}"
        case DatasetLoaded():
            needed = f"; needs about {memory_size(event.memory)} of memory" if event.memory is not None else ""
            return f"{event.name}: {event.train:,} training and {event.test:,} test images from {event.source}{needed}"
        case Download():
            if event.name == "glyphs":
                return f"drawing digits: {event.received / (event.total or 1):.0%}"
            share = f" of {file_size(event.total)}" if event.total else ""
            return f"downloading {event.file}: {file_size(event.received)}{share}"
        case Progress():
            return f"step {event.step:,}: loss {loss_text(event.loss)}, {event.images_per_second:,.0f} images/s"
        case Epoch():
            losses = f"loss {loss_text(event.loss)}, validation {loss_text(event.validation_loss)}"
            return f"epoch {event.epoch}: {losses}, {event.seconds:.0f} s"
        case Preview():
            return f"epoch {event.epoch}: {event.count} preview samples"
        case Evaluated():
            read = "" if math.isnan(event.agreement) else f", {event.agreement:.1%} recognised as asked"
            return f"epoch {event.epoch}: Frechet distance {event.frechet:.3f} of {event.n:,} samples{read}"
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
