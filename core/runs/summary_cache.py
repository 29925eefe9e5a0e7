"""Summaries of many runs, with those of ended runs cached."""

from __future__ import annotations

import os
from pathlib import Path

from core.runs.directory import CONFIG, EVENTS, INDEX, LOCK, MODEL
from core.runs.status import RunSummary, Status, list_runs, summarize

_Signature = tuple[tuple[int, int, int] | None, ...]
_NOT_CACHED = (Status.STARTING, Status.RUNNING, Status.PAUSED)  # depends on the time or on a held lock


class SummaryCache:
    """Caches the summaries of runs that are not running, and rereads a run only after one of its files changed.

    A trainer writes to the lock when it takes it, so an unchanged lock that was free is still free.
    """

    def __init__(self) -> None:
        self._cache: dict[Path, tuple[_Signature, RunSummary]] = {}

    def summarize(self, path: Path) -> RunSummary:
        """Same as `core.runs.status.summarize`."""
        signature = _signature(path)
        cached = self._cache.get(path)
        if cached is not None and cached[0] == signature:
            return cached[1]
        summary = summarize(path)
        if summary.updated is None or summary.status in _NOT_CACHED:
            self._cache.pop(path, None)
        else:
            self._cache[path] = signature, summary
        return summary

    def list_runs(self, root: Path) -> list[RunSummary]:
        """Same as `core.runs.status.list_runs`; runs that no longer exist are dropped from the cache.

        Raises:
            RunError: `root` cannot be read.
        """
        runs = list_runs(root, self.summarize)
        for path in self._cache.keys() - {Path(run.path) for run in runs}:
            self._cache.pop(path, None)
        return runs


def _signature(path: Path) -> _Signature:
    return tuple(_file_signature(f"{path}/{name}") for name in (EVENTS, LOCK, CONFIG, MODEL, INDEX))


def _file_signature(path: str) -> tuple[int, int, int] | None:
    """Inode, size and time of the last change of content or permissions; None if there is no file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns
