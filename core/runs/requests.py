"""Requests to a trainer (stop, pause, continue, checkpoint): one JSON line each in the run's control.jsonl."""

from __future__ import annotations

import json
import os
import stat
import time
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Literal

from core.errors import RunError
from core.runs.directory import CONTROL, LOCK
from core.runs.status import how_to_resume, run_status
from core.system.safe_io import is_at, opened, opened_to_append, parse_json

CONTROL_BYTES = 65_536  # maximum per read; a request takes 60
LAST_BYTES = 64  # compared to detect a truncated file; they include a request's time
RequestName = Literal["stop", "pause", "continue", "checkpoint"]


def request(path: Path, name: RequestName) -> None:
    """Send a request to the trainer of the run, which handles it within a step or a tenth of a second.

    Raises:
        RunError: the run is not running, the request cannot be written, or the trainer would ignore it.
    """
    status = run_status(path)
    if not status.alive:
        raise RunError(f"{path.name} is not running (it is {status}); {how_to_resume(path, status)}")
    line = json.dumps({"request": name, "time": time.time()}) + "\n"
    try:
        while True:
            with opened_to_append(path / CONTROL, 0o644) as control:  # not world-writable: see `is_trusted_control`
                lock = path / LOCK
                trainer = lock.stat().st_uid if lock.exists() else os.geteuid()
                if not is_trusted_control(os.fstat(control.fileno()), trainer):
                    raise RunError(
                        f"{path / CONTROL} is not owned by the trainer's user or is world-writable, so the request "
                        "would be ignored; delete it and retry as the user who trains"
                    )
                control.write(line.encode())
                if is_at(control, path / CONTROL):  # else it was deleted in the meantime, and the trainer never sees it
                    return
    except OSError as error:
        raise RunError(f"cannot write {path / CONTROL}: {error.strerror}") from None


def is_trusted_control(control: os.stat_result, trainer: int) -> bool:
    """Whether a trainer with user id `trainer` accepts requests from this file: it owns it, and nobody else writes."""
    return control.st_uid == trainer and not control.st_mode & stat.S_IWOTH


class ControlFile:
    """Reads requests as they are appended to the file at `path`, which may be deleted and recreated at any time.

    A file that is a symbolic link, is owned by another user or is world-writable is ignored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None  # kept open, so that a new file cannot have the same inode number
        self._offset = 0
        self._last = b""  # the last bytes read, before `_offset`
        self._version = (0, 0)  # the file's size and modification time at the last read
        self._pending: deque[str] = deque()

    def next_request(self) -> str | None:
        """The oldest request not returned yet, or None."""
        if not self._pending:
            self._read()
        return self._pending.popleft() if self._pending else None

    def is_pending(self, name: str) -> bool:
        """Whether the request is among those not returned yet."""
        self._read()
        return name in self._pending

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
        except OSError:  # missing, or not a regular file
            return
        self._offset, self._last = 0, b""
        self._read_lines(self._file)

    def _read_lines(self, file: BinaryIO) -> None:
        """Append the requests in the next complete lines, at most `CONTROL_BYTES` of them."""
        status = os.fstat(file.fileno())
        version = status.st_size, status.st_mtime_ns
        is_unchanged = version == self._version and status.st_size == self._offset
        if is_unchanged or not is_trusted_control(status, os.geteuid()):
            return
        self._version = version
        # pread, because buffered data may be stale.
        if os.pread(file.fileno(), len(self._last), self._offset - len(self._last)) != self._last:  # truncated
            self._offset, self._last = 0, b""
        content = os.pread(file.fileno(), CONTROL_BYTES, self._offset)
        length = content.rfind(b"\n") + 1 or len(content) // CONTROL_BYTES * CONTROL_BYTES  # no request is so long
        self._offset += length
        self._last = (self._last + content[:length])[-LAST_BYTES:]
        for line in content[:length].splitlines():
            try:
                record: Any = parse_json(line)
            except ValueError:
                continue  # torn or invalid
            if isinstance(record, dict) and "request" in record:
                self._pending.append(str(record["request"]))
