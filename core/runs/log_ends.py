"""Reads the two ends of an event log: what a table of runs needs, at a cost that does not grow with the log."""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.runs.events import (
    LIFECYCLE,
    DatasetLoaded,
    Epoch,
    Event,
    Finished,
    Progress,
    Resumed,
    Started,
    Stopped,
    from_line,
)
from core.system.safe_io import opened

HEAD_BYTES, TAIL_BYTES = 4_096, 65_536
MOST_HEAD_BYTES = 1_048_576  # read where the first bytes do not name the data set: a slow download comes before it
_KIND = re.compile(rb'\{"event": ?"(\w+)"')  # how every line of a trainer begins
_DATASET = re.compile(rb'"event": ?"dataset"')
_ONLY_NEWEST = {"download", "preview", "evaluated", "checkpoint", "warning"}  # only their time is of use here


@dataclass(slots=True)
class LogEnds:
    """The newest event of each kind that a summary needs, as `core.runs.history.RunHistory` would have it."""

    length: int = 0  # of the log, in bytes
    problem: str | None = None  # why the log cannot be read; None if it can, or does not exist yet
    last: Event | None = None
    lifecycle: Event | None = None  # the last event that changed the run's status
    started: Started | Resumed | None = None
    dataset: DatasetLoaded | None = None
    epoch: Epoch | None = None
    window: Progress | None = None

    @property
    def step(self) -> int:
        """The number of steps done."""
        done = [
            event.step for event in (self.lifecycle, self.started) if isinstance(event, Resumed | Stopped | Finished)
        ]
        if self.window:
            done.append(self.window.step)
        return max(done, default=0)


def read_log_ends(path: Path) -> LogEnds:
    """What the log at `path` holds: all of a short one, the first and the newest lines of a long one."""
    ends = LogEnds()
    try:
        with opened(path) as log:
            ends.length = log.seek(0, os.SEEK_END)
            head, tail = _read(log, ends.length)
    except FileNotFoundError:
        return ends
    except OSError as error:
        ends.problem = f"{path.name}: {error.strerror}"
        return ends
    reader = _BackwardReader(ends)
    reader.read(tail)
    in_tail = ends.lifecycle
    reader.read(head)
    if head and in_tail is None:  # a run that has paused or ended since the head would say so in the tail
        ends.lifecycle = ends.started
    return ends


def _read(log: BinaryIO, length: int) -> tuple[bytes, bytes]:
    """The log's head and tail, of which only whole lines count; a short log is all tail."""
    log.seek(0)
    if length <= HEAD_BYTES + TAIL_BYTES:
        return b"", log.read(length)
    longest = min(MOST_HEAD_BYTES, length - TAIL_BYTES)
    head = log.read(HEAD_BYTES)
    more = head
    while more and not _DATASET.search(head):
        more = log.read(min(3 * len(head), longest - len(head)))
        head += more
    log.seek(length - TAIL_BYTES)
    return head, log.read(TAIL_BYTES).partition(b"\n")[2]  # the first line may be cut


@functools.cache
def _other_lines(kinds: frozenset[str]) -> re.Pattern[bytes]:
    """Finds a line that is none of `kinds`."""
    return re.compile(rb'\n(?!\{"event": ?"(?:%s)")(?=.)' % "|".join(sorted(kinds)).encode())


class _BackwardReader:
    """Goes through lines from the newest on, and parses those that can still change `ends`."""

    def __init__(self, ends: LogEnds) -> None:
        self._ends = ends
        self._limit = math.inf  # steps beyond it were dropped when the run was resumed
        self._done: set[str] = set()  # kinds of which no further one is of use

    def read(self, content: bytes) -> None:
        """Take in the whole lines of `content`, a part of the log that comes before what was read so far."""
        end = content.rfind(b"\n")  # what follows is not whole yet
        checked = False
        while end >= 0:
            start = content.rfind(b"\n", 0, end) + 1
            kind = _KIND.match(content, start, end)
            if kind is None or kind[1].decode() not in self._done:
                event = from_line(content[start:end].decode("utf-8", errors="replace"))
                if event is not None:
                    self._take(event)
            end = start - 1
            if not checked and {"progress", "epoch"} <= self._done:
                checked = True  # most lines are left, and rarely is any of them of use: looked for at the speed of C
                if not _other_lines(frozenset(self._done)).search(b"\n" + content[:start]):
                    return

    def _take(self, event: Event) -> None:
        ends = self._ends
        if ends.last is None:
            ends.last = event
            self._done |= _ONLY_NEWEST
        if isinstance(event, LIFECYCLE) and ends.lifecycle is None:
            ends.lifecycle = event
            self._done |= {"paused", "continued", "stopped", "finished", "failed"}
        match event:
            case Started() | Resumed():
                ends.started = ends.started or event
                self._limit = min(self._limit, event.step if isinstance(event, Resumed) else -1)
            case DatasetLoaded() if ends.dataset is None:
                ends.dataset = event
                self._done.add("dataset")
            case Epoch() if ends.epoch is None and event.step <= self._limit:
                ends.epoch = event
                self._done.add("epoch")
            case Progress() if ends.window is None and event.step <= self._limit:
                ends.window = event
                self._done.add("progress")
            case _:
                pass
        if ends.started and {"progress", "epoch"} <= self._done:
            self._done |= {"started", "resumed"}
