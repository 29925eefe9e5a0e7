"""The status and summary of a run, from its lock and its event log."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import MinidiffError
from core.runs.directory import CONFIG, EVENTS, INDEX, LOCK, MODEL, TRAINER_LOG, config_options, run_directories
from core.runs.events import MAX_COUNT, Continued, Event, Failed, Finished, Paused, Resumed, Started, Stopped
from core.runs.log_ends import LogEnds, read_log_ends
from core.runs.pipelines import is_pipeline, read_pipeline
from core.system.safe_io import opened, parse_json, read_whole
from core.text import sanitize

STARTING_SECONDS = 60.0  # a launched trainer that has not taken its lock by then has failed
LOCK_BYTES = 4096
_HOLDER_TYPES: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "boot": (float, int),
    "pid": (int,),
    "started": (float, int),
    "launcher": (int,),
    "log": (int,),
}


class Status(StrEnum):
    """The status of a run, from its lock and the last lifecycle event in its log."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"  # the process exited unexpectedly
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # the lock names another host, whose processes are not visible here
    UNREADABLE = "unreadable"  # this user has no permission to read the log or the lock
    PIPELINE = "diffusers"  # not a run, but a folder of diffusers that can be sampled

    @property
    def alive(self) -> bool:
        """Whether the run is being trained, or is about to be."""
        return self in (Status.STARTING, Status.RUNNING, Status.PAUSED, Status.ELSEWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One row of the table of runs; values that are not in the log yet are None."""

    name: str
    path: str
    status: Status
    preset: str | None
    dataset: str | None
    epoch: int | None  # completed epochs
    epochs: int | None
    step: int
    total_steps: int | None
    loss: float | None  # average of the last epoch, or of the last window during the first epoch
    validation_loss: float | None
    frechet: float | None  # distance of the last evaluation during training
    model: str | None
    parameters: int | None
    learning_rate: float | None  # peak
    seconds: float | None  # of training; estimated unless the run is finished
    created: float | None  # time of the first event, in seconds since the epoch
    updated: float | None  # time of the last event, in seconds since the epoch
    host: str | None
    device: str | None  # of the last trainer; of several processes all, separated by ", "
    error: str | None
    sampleable: bool  # whether the run has weights


def run_status(path: Path, *, own_lock: bool = False) -> Status:
    """The current status of the run; with `own_lock` the caller holds the lock itself and is not a trainer."""
    if is_pipeline(path):
        return Status.PIPELINE
    locked = not own_lock and is_locked(path)  # before reading the log: a trainer logs how it ended, then unlocks
    return _status(path, read_log_ends(path / EVENTS), locked)


def _status(path: Path, log: LogEnds, locked: bool) -> Status:
    lifecycle = log.lifecycle
    if log.problem is not None:
        return Status.UNREADABLE
    if locked:
        previous_length = lock_holder(path).get("log")  # of the log before this trainer; None if not recorded
        if previous_length is not None and log.length <= previous_length:
            return Status.STARTING
        match lifecycle:
            case Paused():
                return Status.PAUSED
            case Started() | Resumed() | Continued():
                return Status.RUNNING
            case Stopped() | Finished() | Failed() if previous_length is not None:
                pass  # the trainer has logged how it ended and is about to exit
            case _:
                return Status.STARTING
    match lifecycle:
        case Finished():
            return Status.FINISHED
        case Stopped():
            return Status.STOPPED
        case Failed():
            return Status.FAILED
        case None:
            pass
        case _ if _lock_is_unreadable(path):
            return Status.UNREADABLE  # a trainer may hold it
        case _:
            host = lock_holder(path).get("host")
            return Status.INTERRUPTED if host in (None, socket.gethostname()) else Status.ELSEWHERE
    try:
        age = time.time() - (path / CONFIG).stat().st_mtime
    except OSError:
        return Status.INTERRUPTED
    # A trainer that exited before it started the run has written its error to trainer.log.
    exited = os.path.isfile(path / TRAINER_LOG) and (path / TRAINER_LOG).stat().st_size > 0
    # A negative age means the clock was set back; do not wait for it to catch up.
    return Status.INTERRUPTED if exited or abs(age) >= STARTING_SECONDS else Status.STARTING


def how_to_resume(path: Path, status: Status) -> str:
    """The command that continues training the run at `path`, given its status."""
    if status is Status.FINISHED:
        return f"`minidiff resume {shlex.quote(path.name)} --epochs N` trains it further"
    return f"`minidiff resume {shlex.quote(path.name)}` resumes it"


def last_lifecycle(path: Path) -> Event | None:
    """The last event in the run's log that changed its status."""
    return read_log_ends(path / EVENTS).lifecycle


def summarize(path: Path) -> RunSummary:
    """Summarize one run from its config and both ends of its log, or a pipeline from its configs."""
    if is_pipeline(path):
        return _summarize_pipeline(path)
    options = config_options(path) or {}
    locked = is_locked(path)
    log = read_log_ends(path / EVENTS)
    data, started = log.dataset, log.started
    epochs = options.get("epochs")
    if type(epochs) is not int or not 0 <= epochs <= MAX_COUNT:
        epochs = None
    status = _status(path, log, locked)
    error = log.lifecycle.message if isinstance(log.lifecycle, Failed) else None
    if status is Status.UNREADABLE:
        error = f"cannot read {log.problem or f'{LOCK}: Permission denied'}"
    return RunSummary(
        name=path.name,
        path=str(path),
        status=status,
        preset=_text(options.get("preset")),
        dataset=data.name if data else _text(options.get("dataset")),
        epoch=log.epoch.epoch if log.epoch else 0,
        epochs=epochs,
        step=log.step,
        total_steps=epochs * data.steps_per_epoch if data and epochs is not None else None,
        loss=log.epoch.loss if log.epoch else log.window.loss if log.window else None,
        validation_loss=log.epoch.validation_loss if log.epoch else None,
        frechet=log.evaluated.frechet if log.evaluated else None,
        model=_text(options.get("model")),
        parameters=started.parameters if started else None,
        learning_rate=_number(options.get("learning_rate")),
        seconds=_training_seconds(log),
        created=log.first.time if log.first else _modified(path / CONFIG),
        updated=log.last.time if log.last else None,
        host=lock_holder(path).get("host"),
        device=(started.devices or started.device) if started else None,
        error=error,
        sampleable=os.path.isfile(path / MODEL),  # never raises, unlike Path.is_file
    )


def _summarize_pipeline(path: Path) -> RunSummary:
    step, error = 0, None
    try:
        step = read_pipeline(path).step
    except MinidiffError as problem:
        error = str(problem)
    updated = _modified(path / INDEX)
    names = {field.name for field in dataclasses.fields(RunSummary)}
    known = {"name", "path", "status", "step", "created", "updated", "host", "device", "error", "sampleable"}
    unknown = dict.fromkeys(names - known)
    return RunSummary(
        name=path.name,
        path=str(path),
        status=Status.PIPELINE,
        step=step,
        created=updated,
        updated=updated,
        host=None,
        device=None,
        error=error,
        sampleable=error is None,
        **unknown,
    )


def _training_seconds(log: LogEnds) -> float | None:
    """Seconds of training: exact if finished, until the last event if never resumed, else estimated."""
    match log.lifecycle, log.started, log.last:
        case Finished(seconds=seconds), _, _:
            return seconds
        case _, Started(time=began), Event(time=ended) if ended >= began:
            return ended - began
    if log.epoch and log.dataset:
        return log.epoch.seconds * log.step / log.dataset.steps_per_epoch
    return None


def _modified(path: Path) -> float | None:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= MAX_COUNT else None


def _text(value: object) -> str | None:
    return sanitize(value) if isinstance(value, str) else None


def list_runs(root: Path, read: Callable[[Path], RunSummary] = summarize) -> list[RunSummary]:
    """Every run under `root`, summarized by `read`, most recently updated first."""
    return newest_first(map(read, run_directories(root)))


def newest_first(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """The runs sorted by last update, most recent first."""
    return sorted(runs, key=lambda run: run.updated or 0.0, reverse=True)


def is_locked(path: Path, *names: str) -> bool:
    """Whether a process on this machine holds the run, probed with shared locks that are released immediately.

    A trainer locks the file `lock` and also its log, in case `lock` is deleted. With `names` only those files are
    probed.
    """
    for name in names or (LOCK, EVENTS):
        try:
            with opened(path / name) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # missing, or cannot be locked
            continue
    return False


def lock_holder(path: Path) -> dict[str, Any]:
    """What the last trainer wrote into the lock: host, boot, pid, started, launcher, and the log's length then.

    Missing and invalid entries are left out.
    """
    try:
        record = parse_json(read_whole(path / LOCK, LOCK_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    holder = {name: value for name, value in record.items() if type(value) in _HOLDER_TYPES.get(name, ())}
    if "host" in holder:
        holder["host"] = sanitize(holder["host"])
    return holder


def run_of_launcher(root: Path, parent: int | None) -> Path | None:
    """The run under `root` whose last trainer was started on this machine by the process `parent`, if any."""
    import psutil

    born = psutil.Process(parent).create_time()  # process ids are reused
    for path in run_directories(root):
        holder = lock_holder(path)
        matches = holder.get("launcher") == parent and holder.get("host") == socket.gethostname()
        if matches and holder.get("started", 0.0) >= born:
            return path
    return None


def _lock_is_unreadable(path: Path) -> bool:
    try:
        opened(path / LOCK).close()
    except PermissionError:
        return True
    except OSError:
        pass  # missing, or not a regular file, which no trainer locks
    return False
