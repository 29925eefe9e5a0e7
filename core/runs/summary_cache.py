"""Summaries of many runs, of which those that have ended are read only once."""

from __future__ import annotations

import os
from pathlib import Path

from core.runs.directory import CONFIG, EVENTS, LOCK, MODEL, RunSummary, Status, list_runs, summarize

_Signature = tuple[tuple[int, int, int] | None, ...]
_DEPENDS_ON_MORE_THAN_FILES = (Status.STARTING, Status.RUNNING, Status.PAUSED)  # on the time, or on a lock that is held


class SummaryCache:
    """Keeps the summaries of runs that no trainer holds, and reads a run again only after one of its files changed.

    A trainer that takes a run writes to its lock, so a lock that was free and has not changed is still free.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Signature, RunSummary]] = {}

    def summarize(self, path: Path) -> RunSummary:
        """The same as `core.runs.directory.summarize(path)`."""
        signature = _signature(path)
        known = self._known.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        summary = summarize(path)
        if summary.updated is None or summary.status in _DEPENDS_ON_MORE_THAN_FILES:
            self._known.pop(path, None)
        else:
            self._known[path] = signature, summary
        return summary

    def list_runs(self, root: Path) -> list[RunSummary]:
        """The same as `core.runs.directory.list_runs(root)`; runs that are no longer there are forgotten.

        Raises:
            RunError: `root` cannot be read.
        """
        found = list_runs(root, self.summarize)
        for path in self._known.keys() - {Path(run.path) for run in found}:
            self._known.pop(path, None)
        return found


def _signature(path: Path) -> _Signature:
    return tuple(_file_signature(f"{path}/{name}") for name in (EVENTS, LOCK, CONFIG, MODEL))


def _file_signature(path: str) -> tuple[int, int, int] | None:
    """Inode, size and time of the last change, of the content or of the permissions; None where there is no file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns
