"""The list of runs that all screens share; reading it takes a small share of a core, however many runs there are."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path

from core.runs.directory import EVENTS, run_directories
from core.runs.status import RunSummary, Status, is_locked, newest_first
from core.runs.summary_cache import SummaryCache
from tui.io.run_watcher import exit_reasons

SHARE = 0.01  # of a core, for reading a list again and again
LONGEST_PAUSE = 5.0  # seconds, between two readings of even a very long list


class RunList:
    """The runs under one root. Thread-safe: of several callers one reads, and the others take what it read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cache = SummaryCache()
        self._lock = threading.Lock()
        self._runs: list[RunSummary] = []
        self._due = 0.0  # when to read again, on the monotonic clock

    def read(self, *, now: bool) -> list[RunSummary]:
        """The runs, newest first: the same list as before where `now` is False and it is too early to read again.

        Raises:
            RunError: the root cannot be read.
        """
        asked = time.monotonic()
        with self._lock:
            if asked < self._due and not now:
                return self._runs
            began = time.thread_time()
            self._runs = _with_reasons(self._cache.list_runs(self._root))
            self._due = time.monotonic() + min(LONGEST_PAUSE, (time.thread_time() - began) / SHARE)
            return self._runs

    def read_newest(self, count: int) -> list[RunSummary]:
        """Up to `count` of the runs whose logs were written last, which are read soon even where there are thousands.

        Raises:
            RunError: the root cannot be read.
        """
        paths = sorted(run_directories(self._root), key=_changed, reverse=True)[:count]
        with self._lock:
            return _with_reasons(newest_first(map(self._cache.summarize, paths)))


def _changed(path: Path) -> float:
    try:
        return os.lstat(path / EVENTS).st_mtime
    except OSError:
        return 0.0


def _with_reasons(runs: list[RunSummary]) -> list[RunSummary]:
    """The runs, as failed those whose trainer was started from here and ended before it took the run."""
    lost = {str(path): reason for path, reason in exit_reasons().items() if not is_locked(path)}
    return [
        dataclasses.replace(run, status=Status.FAILED, error=lost[run.path]) if run.path in lost else run
        for run in runs
    ]


_lists: dict[Path, RunList] = {}  # by root


def list_runs(root: Path, *, now: bool = True) -> list[RunSummary]:
    """The runs under `root`, for a thread; see `RunList.read`."""
    return _list(root).read(now=now)


def list_newest_runs(root: Path, count: int) -> list[RunSummary]:
    """The newest runs under `root`, for a thread; see `RunList.read_newest`."""
    return _list(root).read_newest(count)


def _list(root: Path) -> RunList:
    return _lists.setdefault(root, RunList(root))
