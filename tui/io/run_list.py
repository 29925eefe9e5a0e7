"""A cached list of runs shared by all screens; reading it takes a small fraction of a core at any number of runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from pathlib import Path

from core.runs.directory import EVENTS, INDEX, run_directories
from core.runs.status import RunSummary, Status, is_locked, newest_first
from core.runs.summary_cache import SummaryCache
from tui.io.run_watcher import exit_reasons

CPU_FRACTION = 0.01  # of a core, for repeated reading
MAX_PAUSE = 5.0  # seconds between readings


class RunList:
    """The runs under one root. Thread-safe: one of several callers reads, and the others reuse its result."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cache = SummaryCache()
        self._lock = threading.Lock()
        self._runs: list[RunSummary] = []
        self._due = 0.0  # time of the next reading, on the monotonic clock

    def read(self, *, now: bool) -> list[RunSummary]:
        """Return the runs, newest first; the cached list if `now` is False and the next reading is not due.

        Raises:
            RunError: The root cannot be read.
        """
        called = time.monotonic()
        with self._lock:
            if called < self._due and not now:
                return self._runs
            start = time.thread_time()
            self._runs = _mark_lost(self._cache.list_runs(self._root))
            self._due = time.monotonic() + min(MAX_PAUSE, (time.thread_time() - start) / CPU_FRACTION)
            return self._runs

    def read_newest(self, count: int) -> list[RunSummary]:
        """Return up to `count` runs with the most recently written logs; fast even with thousands of runs.

        Raises:
            RunError: The root cannot be read.
        """
        paths = sorted(run_directories(self._root), key=_modified, reverse=True)[:count]
        with self._lock:
            return _mark_lost(newest_first(map(self._cache.summarize, paths)))


def _modified(path: Path) -> float:
    for name in (EVENTS, INDEX):
        with contextlib.suppress(OSError):
            return os.lstat(path / name).st_mtime
    return 0.0


def _mark_lost(runs: list[RunSummary]) -> list[RunSummary]:
    """Mark runs as failed if their trainer was started by this process and exited before it took the run."""
    reasons = {str(path): reason for path, reason in exit_reasons().items() if not is_locked(path)}
    return [
        dataclasses.replace(run, status=Status.FAILED, error=reasons[run.path]) if run.path in reasons else run
        for run in runs
    ]


_lists: dict[Path, RunList] = {}  # by root


def list_runs(root: Path, *, now: bool = True) -> list[RunSummary]:
    """Return the runs under `root`; call it in a thread. See `RunList.read`."""
    return _list(root).read(now=now)


def list_newest_runs(root: Path, count: int) -> list[RunSummary]:
    """Return the newest runs under `root`; call it in a thread. See `RunList.read_newest`."""
    return _list(root).read_newest(count)


def _list(root: Path) -> RunList:
    return _lists.setdefault(root, RunList(root))
