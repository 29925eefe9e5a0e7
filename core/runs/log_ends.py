"""Reads both ends of an event log, enough to summarize a run at a cost independent of the log's length."""

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
    Evaluated,
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
MAX_HEAD_BYTES = 1_048_576  # until the dataset is found: a slow download logs many events before it
_KIND = re.compile(rb'\{"event": ?"(\w+)"')  # the start of every line that a trainer writes
_DATASET = re.compile(rb'"event": ?"dataset"')
# Kinds of which only the time is used.
_TIME_ONLY = {"download", "preparing", "preview", "checkpoint", "warning"}


@dataclass(slots=True)
class LogEnds:
    """The last event of each kind that a summary needs, consistent with `core.runs.history.RunHistory`."""

    length: int = 0  # of the log, in bytes
    problem: str | None = None  # why the log cannot be read; None if it can be, or does not exist yet
    first: Event | None = None
    last: Event | None = None
    lifecycle: Event | None = None  # the last event that changed the run's status
    started: Started | Resumed | None = None
    dataset: DatasetLoaded | None = None
    epoch: Epoch | None = None
    evaluated: Evaluated | None = None  # if it is in the last `TAIL_BYTES`
    window: Progress | None = None

    @property
    def step(self) -> int:
        """The number of steps done."""
        steps = [
            event.step for event in (self.lifecycle, self.started) if isinstance(event, Resumed | Stopped | Finished)
        ]
        if self.window:
            steps.append(self.window.step)
        return max(steps, default=0)


def read_log_ends(path: Path) -> LogEnds:
    """Read all of a short log, or the first and last lines of a long one."""
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
    ends.first = from_line((head or tail).partition(b"\n")[0].decode("utf-8", errors="replace"))
    reader = _BackwardReader(ends)
    reader.read(tail)
    in_tail = ends.lifecycle
    reader.read(head)
    if head and in_tail is None:  # a later pause or end would be in the tail
        ends.lifecycle = ends.started
    return ends


def _read(log: BinaryIO, length: int) -> tuple[bytes, bytes]:
    """The log's head and tail, of which only complete lines count; a short log is all tail."""
    log.seek(0)
    if length <= HEAD_BYTES + TAIL_BYTES:
        return b"", log.read(length)
    limit = min(MAX_HEAD_BYTES, length - TAIL_BYTES)
    head = log.read(HEAD_BYTES)
    more = head
    while more and not _DATASET.search(head):
        more = log.read(min(3 * len(head), limit - len(head)))
        head += more
    log.seek(length - TAIL_BYTES)
    return head, log.read(TAIL_BYTES).partition(b"\n")[2]  # the first line may be incomplete


@functools.cache
def _other_lines(kinds: frozenset[str]) -> re.Pattern[bytes]:
    """A pattern that matches a line of none of these kinds."""
    return re.compile(rb'\n(?!\{"event": ?"(?:%s)")(?=.)' % "|".join(sorted(kinds)).encode())


class _BackwardReader:
    """Reads lines from last to first, and parses only those that can still change `ends`."""

    def __init__(self, ends: LogEnds) -> None:
        self._ends = ends
        self._max_step = math.inf  # later steps were dropped when the run was resumed
        self._done: set[str] = set()  # kinds of which no earlier event is needed

    def read(self, content: bytes) -> None:
        """Process the complete lines of `content`, the part of the log just before what was read so far."""
        end = content.rfind(b"\n")  # what follows is an incomplete line
        checked = False
        while end >= 0:
            start = content.rfind(b"\n", 0, end) + 1
            kind = _KIND.match(content, start, end)
            if kind is None or kind[1].decode() not in self._done:
                event = from_line(content[start:end].decode("utf-8", errors="replace"))
                if event is not None:
                    self._add(event)
            end = start - 1
            if not checked and {"progress", "epoch"} <= self._done:
                checked = True  # a regular expression rules out most of the remaining lines quickly
                if not _other_lines(frozenset(self._done)).search(b"\n" + content[:start]):
                    return

    def _add(self, event: Event) -> None:
        ends = self._ends
        if ends.last is None:
            ends.last = event
            self._done |= _TIME_ONLY
        if isinstance(event, LIFECYCLE) and ends.lifecycle is None:
            ends.lifecycle = event
            self._done |= {"paused", "continued", "stopped", "finished", "failed"}
        match event:
            case Started() | Resumed():
                ends.started = ends.started or event
                self._max_step = min(self._max_step, event.step if isinstance(event, Resumed) else -1)
            case DatasetLoaded() if ends.dataset is None:
                ends.dataset = event
                self._done.add("dataset")
            case Epoch() if ends.epoch is None and event.step <= self._max_step:
                ends.epoch = event
                self._done.add("epoch")
            case Evaluated() if ends.evaluated is None and event.step <= self._max_step:
                ends.evaluated = event
                self._done.add("evaluated")
            case Progress() if ends.window is None and event.step <= self._max_step:
                ends.window = event
                self._done.add("progress")
            case _:
                pass
        if ends.started and {"progress", "epoch"} <= self._done:
            self._done |= {"started", "resumed"}
