"""Requests that other processes make of a trainer: what its run's control.jsonl says, each line once and in order."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

from core.runs.directory import is_at, is_trusted_control
from core.system.safe_io import opened, parse_json

CONTROL_BYTES = 65_536  # that are looked at together; a request takes 60
LAST_BYTES = 64  # that tell a file that was added to from one that was emptied; they hold a request's time


class ControlFile:
    """Reads requests as they are appended to the file at `path`, which may be deleted and made again at any time.

    A file that is a link, that another user owns or that anyone may write is not obeyed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None  # kept open, so that a new file cannot have the same inode number
        self._offset = 0
        self._last = b""  # the last bytes that were read, before `_offset`
        self._seen = (0, 0)  # the file's size and time of change when it was last read
        self._pending: deque[str] = deque()

    def next_request(self) -> str | None:
        """The oldest request that was not returned yet, or None."""
        if not self._pending:
            self._read()
        return self._pending.popleft() if self._pending else None

    def is_pending(self, what: str) -> bool:
        """Whether a request is among those that were not returned yet."""
        self._read()
        return what in self._pending

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        if self._file is not None:
            self._read_lines(self._file)
            if is_at(self._file, self._path):
                return
            self.close()  # it was deleted or replaced
        try:
            self._file = opened(self._path)
        except OSError:  # there is none, or it is no ordinary file
            return
        self._offset, self._last = 0, b""
        self._read_lines(self._file)

    def _read_lines(self, file: BinaryIO) -> None:
        """Append the requests in the next whole lines, at most `CONTROL_BYTES` of them."""
        status = os.fstat(file.fileno())
        seen = status.st_size, status.st_mtime_ns
        if (seen == self._seen and status.st_size == self._offset) or not is_trusted_control(status, os.geteuid()):
            return
        self._seen = seen
        # pread, since what a buffer holds may be out of date.
        if os.pread(file.fileno(), len(self._last), self._offset - len(self._last)) != self._last:  # it was emptied
            self._offset, self._last = 0, b""
        content = os.pread(file.fileno(), CONTROL_BYTES, self._offset)
        whole = content.rfind(b"\n") + 1 or len(content) // CONTROL_BYTES * CONTROL_BYTES  # no request is so long
        self._offset += whole
        self._last = (self._last + content[:whole])[-LAST_BYTES:]
        for line in content[:whole].splitlines():
            try:
                record: Any = parse_json(line)
            except ValueError:
                continue  # a torn line, or none of ours
            if isinstance(record, dict) and "request" in record:
                self._pending.append(str(record["request"]))
