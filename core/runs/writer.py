"""A run directory in its trainer's hands: the lock, the log, the checkpoints and the requests of others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from core.config.training import TrainConfig
from core.errors import MinidiffError, ProcessLost, RunError
from core.runs import locks
from core.runs.directory import CONFIG, CONTROL, EVENTS, LOCK, RESERVE, STATE, is_at, last_lifecycle
from core.runs.events import (
    DatasetLoaded,
    Download,
    Event,
    Failed,
    Finished,
    Resumed,
    Started,
    Stopped,
    Warned,
    to_line,
)
from core.runs.launcher import place
from core.runs.requests import ControlFile
from core.system.atomic_write import write_atomically
from core.system.disk_usage import remedy
from core.system.safe_io import opened_to_append

RESERVE_BYTES = 65_536  # room kept so that the last words can be written on a full disk


class RunWriter:
    """Holds one run for as long as it is entered: locks it, writes its log, and reads what others ask of the trainer.

    An error that leaves it is recorded as `failed`. One that leaves it before a resumed run has come any further is
    not: that run stays what it was.

    Raises:
        RunError: another trainer holds the run, or the directory cannot be written.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        self.step = 0  # of the newest event that had one, for the `failed` event
        self.closed = False  # whether how it ended (stopped, finished, failed) is in the log, or must not be
        self.requests = ControlFile(path / CONTROL)
        self._force = force
        self._lock: BinaryIO | None = None  # both unbuffered: closing must not fail with what a full disk refused
        self._log: BinaryIO | None = None
        self._log_bytes = 0  # of the log before this trainer
        self._before: Event | None = None  # the last change of status by an earlier trainer
        self._has_state = False  # whether there was a checkpoint to resume from
        self._has_started = self._has_trained = False

    def __enter__(self) -> RunWriter:
        try:
            restarted = place().restarts > 0
            self._lock = locks.inherited(self.path) or locks.claim(
                self.path, force=self._force, keep_requests=restarted
            )
            self._log = self._locked_log()
            self._before = last_lifecycle(self.path)
            self._has_state = (self.path / STATE).exists()
            self._end_broken_line(self._log)
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
            self._release(released=not isinstance(error, ProcessLost))  # else its launcher holds it, and restarts us

    def append(self, event: Event) -> None:
        """Add one event to the log; readers see it at once.

        Raises:
            RunError: the disk is full or the file cannot be written.
        """
        assert self._log is not None, "append is for an entered run"
        self.step = getattr(event, "step", self.step)
        try:
            locks.write_whole(self._log, to_line(event).encode())
        except OSError as error:
            raise RunError(
                f"cannot write {self.path / EVENTS}: {error.strerror}; {remedy(error)}, then resume"
            ) from None
        self._has_started |= isinstance(event, Started | Resumed)
        self._has_trained |= not isinstance(event, Started | Resumed | DatasetLoaded | Download | Warned)

    def write_config(self, config: TrainConfig) -> None:
        """Record what was decided at start, so that the run can be repeated.

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
        """Write the lock and the log again if they were deleted or replaced; the names of those that were.

        Without them others would take the run for one that nobody trains, or would miss what is logged from now on.

        Raises:
            RunError: another trainer has taken the run meanwhile, or the files cannot be written.
        """
        assert self._lock is not None
        assert self._log is not None
        restored: list[str] = []
        if not self.path.is_dir():  # moved: the next checkpoint says so
            return restored
        try:
            if not is_at(self._lock, self.path / LOCK):
                self._lock = self._retaken(LOCK, self._lock)
                self._write_holder(self._lock)
                restored.append(LOCK)
            if not is_at(self._log, self.path / EVENTS):
                self._log.seek(0)
                write_atomically(self.path / EVENTS, self._log.read())
                self._log = self._retaken(EVENTS, self._log)
                restored.append(EVENTS)
        except OSError as error:
            raise RunError(
                f"cannot write {error.filename or self.path} again, which was deleted: {error.strerror}; "
                f"{remedy(error)}, then resume"
            ) from None
        return restored

    def _retaken(self, name: str, before: BinaryIO) -> BinaryIO:
        """Open and lock the file `name` anew."""
        file = opened_to_append(self.path / name)
        if not locks.take(file, self.path / name):
            file.close()
            self.closed = True  # the log is another trainer's now
            raise RunError(
                f"another trainer has taken {self.path.name} after its {name} was deleted; this one ends and leaves "
                "the run to it"
            )
        before.close()
        return file

    def _locked_log(self) -> BinaryIO:
        log = opened_to_append(self.path / EVENTS)
        if not locks.take(log, self.path / EVENTS):
            log.close()
            raise locks.held_by_another(self.path)
        return log

    def _write_holder(self, lock: BinaryIO) -> None:
        locks.write_holder(lock, self._log_bytes, pid=os.getpid(), launcher=place().launcher)

    @staticmethod
    def _end_broken_line(log: BinaryIO) -> None:
        """A trainer that was killed may have left half a line; the next event must not be glued to it."""
        if log.seek(0, os.SEEK_END) > 0:
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                locks.write_whole(log, b"\n")

    def _record(self, error: Exception) -> None:
        """Log how an error ended the training, if it began."""
        words = str(error) if isinstance(error, MinidiffError | OSError) else f"{type(error).__name__}: {error}"
        if isinstance(error, ProcessLost):  # not a failure of the run, which its launcher resumes
            self._write_last(Warned(message=words))
        elif self._has_trained or not self._has_state:
            self._write_last(Failed(step=self.step, message=words))
        elif self._has_started:  # its log says `resumed`, which must not be the last that it says
            match self._before:
                case Finished(seconds=seconds):
                    self._write_last(Warned(message=words), Finished(step=self.step, seconds=seconds))
                case Failed():
                    self._write_last(Failed(step=self.step, message=words))
                case _:
                    self._write_last(Stopped(step=self.step, reason=f"could not be resumed: {words}"))

    def _write_last(self, *events: Event) -> None:
        self._give_up_reserve()
        assert self._log is not None
        try:
            if os.fstat(self._log.fileno()).st_size:
                self._end_broken_line(self._log)
            for event in events:
                self.append(event)
        except (OSError, RunError):
            return  # the disk is gone altogether; the error itself still reaches whoever started the trainer
        self.closed = True

    def _release(self, *, released: bool = True) -> None:
        self.requests.close()
        if self._lock is not None and released:
            locks.release(self._lock)
        for file in (self._log, self._lock):
            if file is not None:
                file.close()
        self._give_up_reserve()

    def _give_up_reserve(self) -> None:
        with contextlib.suppress(OSError):  # on a disk that cannot be written any more it stays
            (self.path / RESERVE).unlink()
