"""A run directory in its trainer's hands: the lock, the log, the checkpoints and the requests of others."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import psutil

from core import locks
from core.atomic import write_atomically
from core.config import TrainConfig
from core.errors import MinidiffError, ProcessLost, RunError
from core.events import Event, Failed, Warned, to_line
from core.foreign import opened, opened_to_append, parse_json
from core.launcher import place
from core.runs import CONFIG, CONTROL, EVENTS, LOCK, RESERVE, Status, lock_holder, obeyed, run_status

RESERVE_BYTES = 65_536  # room kept so that the last words can be written on a full disk
CONTROL_BYTES = 65_536  # of requests that are looked at between two steps; one takes 60


class HeldRun:
    """Holds the lock of one run for as long as it is entered; an error that leaves it is recorded as `failed`.

    Raises:
        RunError: another trainer holds the run, or the directory cannot be written.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        self.step = 0  # of the newest event that had one, for the `failed` event
        self.closed = False  # whether a last word (stopped, finished, failed) has been written
        self._force = force
        self._lock: BinaryIO | None = None  # both unbuffered: closing must not fail with what a full disk refused
        self._log: BinaryIO | None = None
        self._control_offset = 0

    def __enter__(self) -> HeldRun:
        self._refuse_other_host()
        try:
            self._lock = opened_to_append(self.path / LOCK)
            if not locks.take(self._lock, self.path / LOCK):
                pid = lock_holder(self.path).get("pid", "unknown")
                raise RunError(f"{self.path.name} is being trained by process {pid}; watch it, or stop it first")
            self._log = opened_to_append(self.path / EVENTS)
            self._end_broken_line(self._log)
            self._say_who_holds_it(self._lock, self._log)
            write_atomically(self.path / RESERVE, b"\0" * RESERVE_BYTES)
            control = self.path / CONTROL
            self._control_offset = control.stat().st_size if control.exists() else 0
        except OSError as error:
            self._let_go()
            raise RunError(
                f"cannot write {error.filename or self.path}: {error.strerror}; "
                "make it writable, free space or choose another --root"
            ) from None
        except RunError:
            self._let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception) and not self.closed:  # a second Ctrl-C is no failure
                words = str(error) if isinstance(error, MinidiffError | OSError) else f"{type(error).__name__}: {error}"
                if isinstance(error, ProcessLost):  # no failure of the run, which its launcher goes on with
                    self._last_words(Warned(message=words))
                else:
                    self._last_words(Failed(step=self.step, message=words))
        finally:
            self._let_go()

    def append(self, event: Event) -> None:
        """Add one event to the log; readers see it at once.

        Raises:
            RunError: the disk is full or the file cannot be written.
        """
        assert self._log is not None, "append is for an entered run"
        self.step = getattr(event, "step", self.step)
        try:
            _write_whole(self._log, to_line(event).encode())
        except OSError as error:
            raise RunError(f"cannot write {self.path / EVENTS}: {error.strerror}; free space, then resume") from None

    def requests(self) -> list[str]:
        """What has been asked since the last call, oldest first; lines older than the lock are never seen.

        Nor is anything in a file that is a link, that another user owns, or that anyone may write.
        """
        control = self.path / CONTROL
        try:
            if control.stat().st_size <= self._control_offset:
                return []
            with opened(control) as file:
                if not obeyed(os.fstat(file.fileno()), os.geteuid()):
                    return []
                file.seek(self._control_offset)
                content = file.read(CONTROL_BYTES)
        except OSError:  # there is none, or it is none
            return []
        whole = content.rfind(b"\n") + 1 or len(content) // CONTROL_BYTES * CONTROL_BYTES  # no request is so long
        self._control_offset += whole
        asked = []
        for line in content[:whole].splitlines():
            try:
                record: Any = parse_json(line)
            except ValueError:
                continue  # a torn or foreign line asks for nothing
            if isinstance(record, dict):
                asked.append(str(record.get("request")))
        return asked

    def write_config(self, config: TrainConfig) -> None:
        """Record what was decided at start, so that the run can be repeated.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        try:
            write_atomically(self.path / CONFIG, config.to_toml().encode())
        except OSError as error:
            raise RunError(f"cannot write {self.path / CONFIG}: {error.strerror}; free space, then resume") from None

    def _refuse_other_host(self) -> None:
        if run_status(self.path) is Status.ELSEWHERE and not self._force:
            host = lock_holder(self.path)["host"]
            raise RunError(
                f"{self.path.name} was last held by {host}, which cannot be seen from here; "
                f"if nothing runs there any more, resume it with --force"
            )

    @staticmethod
    def _say_who_holds_it(lock: BinaryIO, log: BinaryIO) -> None:
        """Write down who holds the run, and how long its log was before; clocks leap, lengths do not."""
        who = {"host": socket.gethostname(), "boot": psutil.boot_time(), "pid": os.getpid(), "started": time.time()}
        holder = {**who, "log": os.fstat(log.fileno()).st_size}
        holder |= {"launcher": place().launcher} if place().launcher else {}
        lock.truncate(0)
        _write_whole(lock, json.dumps(holder).encode() + b"\n")

    @staticmethod
    def _end_broken_line(log: BinaryIO) -> None:
        """A trainer that was killed may have left half a line; the next event must not be glued to it."""
        if log.seek(0, os.SEEK_END) > 0:
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                _write_whole(log, b"\n")

    def _last_words(self, event: Event) -> None:
        self._give_up_reserve()
        assert self._log is not None
        try:
            if os.fstat(self._log.fileno()).st_size:
                self._end_broken_line(self._log)
            self.append(event)
        except (OSError, RunError):
            return  # the disk is gone altogether; the error itself still reaches whoever started the trainer
        self.closed = True

    def _let_go(self) -> None:
        for file in (self._log, self._lock):
            if file is not None:
                file.close()
        self._give_up_reserve()

    def _give_up_reserve(self) -> None:
        with contextlib.suppress(OSError):  # on a disk that cannot be written any more it stays
            (self.path / RESERVE).unlink()


def _write_whole(file: BinaryIO, content: bytes) -> None:
    """Write to an unbuffered file, which may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
