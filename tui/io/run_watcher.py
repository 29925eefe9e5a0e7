"""Follows a run directory's files off the event loop and tells a screen what happened there, in messages."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textual.message_pump import MessagePump

from core.errors import RunError
from core.runs.directory import CONFIG, EVENTS, TRAINER_LOG
from core.runs.events import LIFECYCLE, Event
from core.runs.history import LogTail, RunHistory
from core.runs.launcher import last_error_line, launch
from core.runs.status import Status, lock_holder, run_status
from tui.messages import EventsAppended, RunVanished, StatusChanged, TrainerLost

POLL_SECONDS = 0.2
STATUS_SECONDS = 1.0  # locks are let go of without any file changing, so the status is asked for again and again
EVENTS_A_MESSAGE = 2_000  # a long log is told in pieces, so that the screen stays responsive meanwhile


@dataclass(frozen=True, slots=True)
class LaunchedTrainer:
    """A trainer process started from here, and how many bytes its run's events and trainer.log had before."""

    process: subprocess.Popen[bytes]
    events_start: int
    log_start: int

    def has_written(self, path: Path) -> bool:
        """Whether it wrote to the run's log of events, which is the first that a trainer does with a run."""
        return _size(path / EVENTS) != self.events_start

    def exit_message(self, path: Path) -> str:
        """What the trainer complained of in trainer.log, or how it ended if it wrote nothing."""
        code = self.process.returncode
        silent = f"the trainer ended at once with exit status {code}; `minidiff resume {path.name}` shows why"
        return (last_error_line(path, self.log_start) or silent).removeprefix("error: ")


_started: dict[Path, LaunchedTrainer] = {}  # the newest trainer started from this process on each run


def start_trainer(path: Path, *, force: bool = False) -> None:
    """Start a trainer on the run at `path`; whoever watches the run learns if it ends before it takes the run.

    `force` takes the run although another host's trainer held it last.

    Raises:
        RunError: its trainer.log cannot be written, or no process can be started.
    """
    try:
        sizes = _size(path / EVENTS), _size(path / TRAINER_LOG)
        _started[path] = LaunchedTrainer(launch(path, force=force), *sizes)
    except OSError as error:
        raise RunError(
            f"cannot start a trainer on {path}: {error.strerror}; free space or choose another root"
        ) from None


def exit_reason(path: Path) -> str | None:
    """Why the trainer started from here on the run at `path` ended without a line in the log; None if it did not."""
    trainer = _started.get(path)
    if trainer is None or trainer.process.poll() is None:
        return None
    return None if trainer.has_written(path) else trainer.exit_message(path)


def exit_reasons() -> dict[Path, str]:
    """`reason_lost` of each run whose trainer was started from here, where there is a reason."""
    reasons = {path: exit_reason(path) for path in list(_started)}
    return {path: reason for path, reason in reasons.items() if reason is not None}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass(slots=True)
class RunUpdate:
    """What one look at a run directory found; `status` is None where it was not asked for."""

    events: list[Event]
    reset: bool
    status: Status | None
    host: str | None


class RunWatcher:
    """Follows one run and posts `EventsAppended`, `StatusChanged`, `TrainerLost` and `RunVanished` to `target`."""

    def __init__(self, target: MessagePump, path: Path) -> None:
        self.target = target
        self.path = path
        self._launched = _started.get(path)
        self._tail = LogTail(path / EVENTS)
        self._told: tuple[Status | None, str | None] = (None, None)
        self._asked = 0.0  # when the status was last asked for, on the monotonic clock

    async def follow(self) -> None:
        """Look again and again until cancelled, or until the directory is gone."""
        live = False
        while True:
            try:
                reading = await asyncio.to_thread(self._look)
            except OSError as error:
                self.target.post_message(RunVanished(self.path, f"cannot read {self.path}: {error.strerror}"))
                return
            if reading is None:
                self.target.post_message(RunVanished(self.path, f"the run {self.path.name} is no longer there"))
                return
            self._tell(reading, live)
            live = True
            await asyncio.sleep(POLL_SECONDS)

    def _look(self) -> RunUpdate | None:
        """Read what is new; runs in a thread. None when the run is gone."""
        ended = (
            self._launched is not None and self._launched.process.poll() is not None
        )  # before its last lines are read
        events, reset = self._tail.read()
        if not events and not (self.path / CONFIG).is_file():
            return None
        if self._launched is not None:
            self._check_launched(self._launched, ended)
        lately = time.monotonic() - self._asked < STATUS_SECONDS
        if lately and not ended and not any(isinstance(event, LIFECYCLE) for event in events):
            return RunUpdate(events, reset, None, None)
        self._asked = time.monotonic()
        for started in list(_started.values()):
            started.process.poll()  # collects a trainer that ended, so that none stays as a zombie
        status = run_status(self.path)
        if status is Status.INTERRUPTED:  # or it ended between the look at the log and the look at the lock
            status = run_status(self.path)
        if self._launched is not None and not status.alive:
            status = Status.STARTING
        return RunUpdate(events, reset, status, lock_holder(self.path).get("host"))

    def _check_launched(self, trainer: LaunchedTrainer, ended: bool) -> None:
        """Mind the trainer until it wrote to the log; if it ended before that, say what it said."""
        has_written = trainer.has_written(self.path)
        if ended and not has_written:
            self.target.post_message(TrainerLost(self.path, trainer.exit_message(self.path)))
        if ended or has_written:
            self._launched = None

    def _tell(self, reading: RunUpdate, live: bool) -> None:
        for start in range(0, max(1, len(reading.events)), EVENTS_A_MESSAGE):
            piece = reading.events[start : start + EVENTS_A_MESSAGE]
            reset = reading.reset and start == 0
            if piece or reset:
                self.target.post_message(EventsAppended(self.path, piece, reset, live))
        if reading.status is not None and (reading.status, reading.host) != self._told:
            self._told = (reading.status, reading.host)
            self.target.post_message(StatusChanged(self.path, reading.status, reading.host))


class HistoryReader:
    """The histories of several runs, each read on from where it was left."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[LogTail, RunHistory]] = {}

    def read(self, paths: Iterable[str]) -> dict[str, RunHistory]:
        """The histories of the runs at `paths` as their logs tell them now; for a thread. Others are forgotten."""
        kept = {path: self._read.get(path) or (LogTail(Path(path) / EVENTS), RunHistory()) for path in paths}
        for path, (tail, history) in kept.items():
            try:
                events, reset = tail.read()
            except OSError:  # whoever chooses this run learns why
                continue
            if reset:
                history = RunHistory()
                kept[path] = tail, history
            history.extend(events)
        self._read = kept
        return {path: history for path, (_, history) in kept.items()}
