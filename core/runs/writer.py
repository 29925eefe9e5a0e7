"""The trainer's side of a run directory: holds the lock, writes the log and config, and reads requests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from core.config.training import TrainConfig
from core.errors import MinidiffError, ProcessLost, RunError
from core.runs import locks
from core.runs.directory import CONFIG, CONTROL, EVENTS, LOCK, RESERVE, STATE
from core.runs.events import (
    DatasetLoaded,
    Download,
    Event,
    Failed,
    Finished,
    Preparing,
    Resumed,
    Started,
    Stopped,
    Warned,
    to_line,
)
from core.runs.launcher import rank_info
from core.runs.requests import ControlFile
from core.runs.status import last_lifecycle
from core.system.atomic_write import write_atomically
from core.system.disk_usage import remedy
from core.system.safe_io import is_at, opened_to_append

RESERVE_BYTES = 65_536  # freed to log the last events when the disk is full


class RunWriter:
    """Context manager that holds one run: locks it, writes its log and reads requests.

    An exception that leaves the context is logged as `failed`, except before the first step of a resumed run, which
    then keeps its previous status.

    Raises:
        RunError: the run is already running, or the directory cannot be written.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        self.step = 0  # of the last event with a step, for the `failed` event
        self.closed = False  # whether the final event is in the log, or must not be logged
        self.requests = ControlFile(path / CONTROL)
        self._force = force
        self._lock: BinaryIO | None = None  # both unbuffered, so that closing does not fail on a full disk
        self._log: BinaryIO | None = None
        self._log_bytes = 0  # of the log before this trainer
        self._before: Event | None = None  # the last lifecycle event of an earlier trainer
        self._has_state = False  # whether there was a checkpoint to resume from
        self._has_started = self._has_trained = False

    def __enter__(self) -> RunWriter:
        try:
            restarted = rank_info().restarts > 0
            self._lock = locks.inherited(self.path) or locks.claim(
                self.path, force=self._force, keep_requests=restarted
            )
            self._log = self._lock_log()
            self._before = last_lifecycle(self.path)
            self._has_state = (self.path / STATE).exists()
            self._end_partial_line(self._log)
            self._log_bytes = os.fstat(self._log.fileno()).st_size
            self._write_holder(self._lock)
            write_atomically(self.path / RESERVE, b"\0" * RESERVE_BYTES)
        except OSError as error:
            self._release()
            raise RunError(
                f"cannot write {error.filename or self.path}: {error.strerror}; {remedy(error)}, "
                "or choose another --root"
            ) from None
        except RunError:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception) and not self.closed:  # a second Ctrl-C is no failure
                self._record(error)
        finally:
            self._release(unlock=not isinstance(error, ProcessLost))  # the launcher keeps it and restarts

    def append(self, event: Event) -> None:
        """Append one event to the log; readers see it immediately.

        Raises:
            RunError: the disk is full or the file cannot be written.
        """
        assert self._log is not None, "append needs an entered RunWriter"
        self.step = getattr(event, "step", self.step)
        try:
            locks.write_whole(self._log, to_line(event).encode())
        except OSError as error:
            raise RunError(
                f"cannot write {self.path / EVENTS}: {error.strerror}; {remedy(error)}, then resume"
            ) from None
        self._has_started |= isinstance(event, Started | Resumed)
        self._has_trained |= not isinstance(event, Started | Resumed | DatasetLoaded | Download | Preparing | Warned)

    def write_config(self, config: TrainConfig) -> None:
        """Write the config with everything resolved at startup, so that the run can be reproduced.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        try:
            write_atomically(self.path / CONFIG, config.to_toml().encode())
        except OSError as error:
            raise RunError(
                f"cannot write {self.path / CONFIG}: {error.strerror}; {remedy(error)}, then resume"
            ) from None

    def restore_files(self) -> list[str]:
        """Rewrite the lock and the log if they were deleted or replaced; returns the names of the rewritten files.

        Without them the run would look as if it were not running, and readers would miss new events.

        Raises:
            RunError: another trainer has taken the run in the meantime, or the files cannot be written.
        """
        assert self._lock is not None
        assert self._log is not None
        restored: list[str] = []
        if not self.path.is_dir():  # moved: writing the next checkpoint fails with an error
            return restored
        try:
            if not is_at(self._lock, self.path / LOCK):
                self._lock = self._relock(LOCK, self._lock)
                self._write_holder(self._lock)
                restored.append(LOCK)
            if not is_at(self._log, self.path / EVENTS):
                self._log.seek(0)
                write_atomically(self.path / EVENTS, self._log.read())
                self._log = self._relock(EVENTS, self._log)
                restored.append(EVENTS)
        except OSError as error:
            raise RunError(
                f"cannot rewrite {error.filename or self.path}, which was deleted: {error.strerror}; "
                f"{remedy(error)}, then resume"
            ) from None
        return restored

    def _relock(self, name: str, before: BinaryIO) -> BinaryIO:
        """Open and lock the file `name` again."""
        file = opened_to_append(self.path / name)
        if not locks.take(file, self.path / name):
            file.close()
            self.closed = True  # the log belongs to another trainer now
            raise RunError(
                f"another trainer has taken {self.path.name} after its {name} was deleted; this trainer exits and "
                "leaves the run to it"
            )
        before.close()
        return file

    def _lock_log(self) -> BinaryIO:
        log = opened_to_append(self.path / EVENTS)
        if not locks.take(log, self.path / EVENTS):
            log.close()
            raise locks.held_by_another(self.path)
        return log

    def _write_holder(self, lock: BinaryIO) -> None:
        locks.write_holder(lock, self._log_bytes, pid=os.getpid(), launcher=rank_info().launcher)

    @staticmethod
    def _end_partial_line(log: BinaryIO) -> None:
        """End a partial line that a killed trainer may have left."""
        if log.seek(0, os.SEEK_END) > 0:
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                locks.write_whole(log, b"\n")

    def _record(self, error: Exception) -> None:
        """Log the error that ended the training."""
        message = str(error) if isinstance(error, MinidiffError | OSError) else f"{type(error).__name__}: {error}"
        if isinstance(error, ProcessLost):  # not a failure of the run: its launcher resumes it
            self._write_last(Warned(message=message))
        elif self._has_trained or not self._has_state:
            self._write_last(Failed(step=self.step, message=message))
        elif self._has_started:  # `resumed` must not be the last event in the log
            match self._before:
                case Finished(seconds=seconds):
                    self._write_last(Warned(message=message), Finished(step=self.step, seconds=seconds))
                case Failed():
                    self._write_last(Failed(step=self.step, message=message))
                case _:
                    self._write_last(Stopped(step=self.step, reason=f"could not be resumed: {message}"))

    def _write_last(self, *events: Event) -> None:
        self._free_reserve()
        assert self._log is not None
        try:
            if os.fstat(self._log.fileno()).st_size:
                self._end_partial_line(self._log)
            for event in events:
                self.append(event)
        except (OSError, RunError):
            return  # the disk is not writable; the original exception is still raised
        self.closed = True

    def _release(self, *, unlock: bool = True) -> None:
        self.requests.close()
        if self._lock is not None and unlock:
            locks.release(self._lock)
        for file in (self._log, self._lock):
            if file is not None:
                file.close()
        self._free_reserve()

    def _free_reserve(self) -> None:
        with contextlib.suppress(OSError):  # the disk may be read-only by now
            (self.path / RESERVE).unlink()
