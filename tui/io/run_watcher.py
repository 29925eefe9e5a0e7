"""Watches run directories in threads and posts messages about changes."""

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
STATUS_SECONDS = 1.0  # the status is polled, because releasing a lock changes no file
EVENTS_PER_MESSAGE = 2_000  # long logs are split, to keep the screen responsive


@dataclass(frozen=True, slots=True)
class LaunchedTrainer:
    """A trainer started by this process, with the sizes in bytes of events.jsonl and trainer.log before the start."""

    process: subprocess.Popen[bytes]
    events_start: int
    log_start: int

    def has_written(self, path: Path) -> bool:
        """Whether the trainer has written to events.jsonl, which it does first."""
        return _size(path / EVENTS) != self.events_start

    def exit_message(self, path: Path) -> str:
        """Return the error in trainer.log, or the exit status if there is none."""
        code = self.process.returncode
        default = f"the trainer exited with exit status {code}; `minidiff resume {path.name}` shows why"
        return (last_error_line(path, self.log_start) or default).removeprefix("error: ")


_started: dict[Path, LaunchedTrainer] = {}  # by run: the last trainer started by this process


def start_trainer(path: Path, *, force: bool = False) -> None:
    """Start a trainer on the run at `path`; watchers of the run post `TrainerLost` if it exits before it takes the run.

    `force` takes over a run last held by a trainer on another host.

    Raises:
        RunError: trainer.log cannot be written, or the process cannot be started.
    """
    try:
        sizes = _size(path / EVENTS), _size(path / TRAINER_LOG)
        _started[path] = LaunchedTrainer(launch(path, force=force), *sizes)
    except OSError as error:
        raise RunError(
            f"cannot start a trainer on {path}: {error.strerror}; free space or choose another root"
        ) from None


def exit_reason(path: Path) -> str | None:
    """Return why the trainer started by this process exited before it wrote an event; None if it did not."""
    trainer = _started.get(path)
    if trainer is None or trainer.process.poll() is None:
        return None
    return None if trainer.has_written(path) else trainer.exit_message(path)


def exit_reasons() -> dict[Path, str]:
    """Return `exit_reason` of each run that has one."""
    reasons = {path: exit_reason(path) for path in list(_started)}
    return {path: reason for path, reason in reasons.items() if reason is not None}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass(slots=True)
class RunUpdate:
    """The result of one poll of a run directory; `status` is None if it was not polled."""

    events: list[Event]
    reset: bool
    status: Status | None
    host: str | None


class RunWatcher:
    """Watches one run and posts `EventsAppended`, `StatusChanged`, `TrainerLost` and `RunVanished` to `target`."""

    def __init__(self, target: MessagePump, path: Path) -> None:
        self.target = target
        self.path = path
        self._launched = _started.get(path)
        self._tail = LogTail(path / EVENTS)
        self._posted_status: tuple[Status | None, str | None] = (None, None)
        self._status_time = 0.0  # time of the last status poll, on the monotonic clock

    async def watch(self) -> None:
        """Poll until canceled or until the directory is gone."""
        live = False
        while True:
            try:
                update = await asyncio.to_thread(self._poll)
            except OSError as error:
                self.target.post_message(RunVanished(self.path, f"cannot read {self.path}: {error.strerror}"))
                return
            if update is None:
                self.target.post_message(RunVanished(self.path, f"run {self.path.name} no longer exists"))
                return
            self._post(update, live)
            live = True
            await asyncio.sleep(POLL_SECONDS)

    def _poll(self) -> RunUpdate | None:
        """Read what is new, in a thread; returns None if the run is gone."""
        # Checked before its last events are read.
        exited = self._launched is not None and self._launched.process.poll() is not None
        events, reset = self._tail.read()
        if not events and not (self.path / CONFIG).is_file():
            return None
        if self._launched is not None:
            self._check_launched(self._launched, exited)
        recent = time.monotonic() - self._status_time < STATUS_SECONDS
        if recent and not exited and not any(isinstance(event, LIFECYCLE) for event in events):
            return RunUpdate(events, reset, None, None)
        self._status_time = time.monotonic()
        for started in list(_started.values()):
            started.process.poll()  # reaps zombies
        status = run_status(self.path)
        if status is Status.INTERRUPTED:  # the trainer may have exited between reading the log and the lock
            status = run_status(self.path)
        if self._launched is not None and not status.alive:
            status = Status.STARTING
        return RunUpdate(events, reset, status, lock_holder(self.path).get("host"))

    def _check_launched(self, trainer: LaunchedTrainer, exited: bool) -> None:
        """Post `TrainerLost` if the trainer exited before it wrote an event; stop checking once it wrote one."""
        has_written = trainer.has_written(self.path)
        if exited and not has_written:
            self.target.post_message(TrainerLost(self.path, trainer.exit_message(self.path)))
        if exited or has_written:
            self._launched = None

    def _post(self, update: RunUpdate, live: bool) -> None:
        for start in range(0, max(1, len(update.events)), EVENTS_PER_MESSAGE):
            chunk = update.events[start : start + EVENTS_PER_MESSAGE]
            reset = update.reset and start == 0
            if chunk or reset:
                self.target.post_message(EventsAppended(self.path, chunk, reset, live))
        if update.status is not None and (update.status, update.host) != self._posted_status:
            self._posted_status = (update.status, update.host)
            self.target.post_message(StatusChanged(self.path, update.status, update.host))


class HistoryReader:
    """Reads the histories of several runs incrementally."""

    def __init__(self) -> None:
        self._readers: dict[str, tuple[LogTail, RunHistory]] = {}

    def read(self, paths: Iterable[str]) -> dict[str, RunHistory]:
        """Return the current histories of the runs at `paths`, and drop all others; call it in a thread."""
        readers = {path: self._readers.get(path) or (LogTail(Path(path) / EVENTS), RunHistory()) for path in paths}
        for path, (tail, history) in readers.items():
            try:
                events, reset = tail.read()
            except OSError:  # shown when the run is opened
                continue
            if reset:
                history = RunHistory()
                readers[path] = tail, history
            history.extend(events)
        self._readers = readers
        return {path: history for path, (_, history) in readers.items()}
