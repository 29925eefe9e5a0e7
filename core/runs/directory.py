"""Run directories from outside: where they are, what state they are in, and how to ask something of their trainer."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import socket
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Literal

from core.config.legacy import upgrade
from core.errors import RunError
from core.runs.events import GREATEST, Continued, Event, Failed, Finished, Paused, Resumed, Started, Stopped
from core.runs.log_ends import LogEnds, read_log_ends
from core.system.import_path import HOME
from core.system.safe_io import NAME_PATTERN, opened, opened_to_append, parse_json, read_toml, read_whole
from core.text import sanitize

CONFIG, EVENTS, MODEL, STATE = "config.toml", "events.jsonl", "model.safetensors", "state.safetensors"
LOCK, CONTROL, TRAINER_LOG, RESERVE = "lock", "control.jsonl", "trainer.log", ".reserve"
BUILTIN = ("default-mnist", "quick-mnist")  # the models that ship with the project, the one to begin with first
STARTING_SECONDS = 60.0  # a launched trainer that has not taken its lock by then is not coming
LOCK_BYTES = 4096
UNREADABLE_NAMED = 3  # folders that are named, of those that are left out
_HOLDER: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "boot": (float, int),
    "pid": (int,),
    "started": (float, int),
    "launcher": (int,),
    "log": (int,),
}
RequestName = Literal["stop", "pause", "continue", "checkpoint"]


class Status(StrEnum):
    """What a run is doing, by its lock and the last lifecycle event of its log."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"  # its trainer is gone without a word
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # its lock names another host, whose processes cannot be seen from here
    UNREADABLE = "unreadable"  # this user may not read the files that would say it

    @property
    def alive(self) -> bool:
        """Whether a trainer holds the run, or is about to."""
        return self in (Status.STARTING, Status.RUNNING, Status.PAUSED, Status.ELSEWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of the table of runs; what the log does not say yet is None."""

    name: str
    path: str
    status: Status
    preset: str | None
    dataset: str | None
    epoch: int | None  # epochs done
    epochs: int | None
    step: int
    total_steps: int | None
    loss: float | None  # the newest epoch's average, or the newest window's while there is none
    validation_loss: float | None
    updated: float | None  # seconds since the epoch, of the newest event
    host: str | None
    device: str | None  # where its last trainer computed; of several processes all, with ", " between them
    error: str | None
    sampleable: bool  # whether it holds weights


def root_directory(root: str | Path | None = None) -> Path:
    """Where runs are kept: `root`, else $MINIDIFF_HOME, else ./checkpoints. It need not exist."""
    return Path(os.path.expanduser(root or os.environ.get("MINIDIFF_HOME") or "checkpoints"))


def builtin_homes() -> tuple[Path, Path]:
    """Where files that ship with the project may lie: inside `core` in a wheel, beside the packages in a clone."""
    home = Path(os.path.realpath(HOME))
    return home / "core" / "builtin", home / "checkpoints"


def builtin_directories() -> dict[str, Path]:
    """The models that ship with the project, by name: beside the packages in a clone, inside `core` in a wheel."""
    found: dict[str, Path] = {}
    for home in builtin_homes():
        for name in BUILTIN:
            if (home / name / MODEL).is_file():
                found.setdefault(name, home / name)
    return found


def check_name(name: str) -> str:
    """`name` itself, if it can name a run.

    Raises:
        RunError: it is empty, too long, or could lead out of the root.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RunError(
            f"{name!r} cannot name a run; use up to 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit"
        )
    return name


def find_run(name: str, root: Path) -> Path:
    """The directory of run `name` under `root`.

    Raises:
        RunError: there is none, and the text lists those that are there; or this user may not look into it.
    """
    if not _is_shown(name):
        raise RunError(f"{name!r} cannot name a run; name a folder that lies directly under {root}")
    path = root / name
    found = _holds_config(path)
    if found is None:
        raise RunError(f"cannot read {path}: Permission denied; ask its owner, or choose another run")
    if not found:
        there = ", ".join(sorted(run.name for run in run_directories(root))) or "none yet"
        raise RunError(f"there is no run {name} under {root}; runs there: {there}")
    return path


def run_directories(root: Path) -> list[Path]:
    """Every directory under `root` that holds a run's config, or a link to one; but none whose name cannot be shown.

    Directories that this user may not look into are left out; `unreadable_directories` names them.

    Raises:
        RunError: `root` itself cannot be read.
    """
    return [path for path in _candidates(root) if _holds_config(path)]


def unreadable_directories(root: Path) -> list[Path]:
    """The directories under `root` that could be runs, but that this user may not look into.

    Raises:
        RunError: `root` itself cannot be read.
    """
    return [path for path in _candidates(root) if _holds_config(path) is None]


def unreadable_in_words(names: Sequence[str]) -> str:
    """One line about the folders that were left out."""
    shown = ", ".join(names[:UNREADABLE_NAMED]) + (", ..." if len(names) > UNREADABLE_NAMED else "")
    folders = "1 folder" if len(names) == 1 else f"{len(names):,} folders"
    return f"left out {folders} that you may not look into: {shown}"


def _candidates(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot read {root}: {error.strerror}; name another folder with --root") from None
    return [root / name for name in names if _is_shown(name)]


def _holds_config(path: Path) -> bool | None:
    """Whether `path` is a directory with a config in it, and not a link in its place; None: not this user's to know."""
    try:
        return stat.S_ISREG(os.lstat(path / CONFIG).st_mode)  # a link could lead to any file of whoever looks
    except PermissionError:
        return None
    except OSError:
        return False


def _is_shown(name: str) -> bool:
    """Whether a folder of this name can be a run: any name that prints, such as that of a copy, and is not hidden.

    New runs get simpler names: see `check_name`.
    """
    return "/" not in name and not name.startswith(".") and name != "" and name == sanitize(name)


def request(path: Path, what: RequestName) -> None:
    """Ask something of the trainer that holds the run; it obeys within a step or a tenth of a second.

    Raises:
        RunError: no trainer holds the run, the request cannot be written, or the trainer would not obey it.
    """
    status = run_status(path)
    if not status.alive:
        raise RunError(f"no trainer holds {path.name} (it is {status}); {how_to_resume(path, status)}")
    line = json.dumps({"request": what, "time": time.time()}) + "\n"
    try:
        while True:
            with opened_to_append(path / CONTROL, 0o644) as control:  # whatever the umask: see `obeyed`
                lock = path / LOCK
                trainer = lock.stat().st_uid if lock.exists() else os.geteuid()
                if not is_trusted_control(os.fstat(control.fileno()), trainer):
                    raise RunError(
                        f"{path / CONTROL} is not the trainer's own, or anyone may write it, so it would not be "
                        "obeyed; delete it and ask again as the user who trains"
                    )
                control.write(line.encode())
                if is_at(control, path / CONTROL):  # else it was deleted meanwhile, and nobody reads it
                    return
    except OSError as error:
        raise RunError(f"cannot write {path / CONTROL}: {error.strerror}") from None


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def how_to_resume(path: Path, status: Status) -> str:
    """What to type to train the run at `path` further, given its status."""
    if status is Status.FINISHED:
        return f"`minidiff resume {shlex.quote(path.name)} --epochs N` trains it further"
    return f"`minidiff resume {shlex.quote(path.name)}` resumes it"


def is_trusted_control(control: os.stat_result, trainer: int) -> bool:
    """Whether a trainer, a user by number, does what a file of requests says: only if it is its own, and only its."""
    return control.st_uid == trainer and not control.st_mode & stat.S_IWOTH


def is_locked(path: Path, *names: str) -> bool:
    """Whether a process on this machine holds the run, asked by shared locks that are let go at once.

    A trainer locks the file `lock` and, in case that one is deleted, its log; with `names` only those files are asked.
    """
    for name in names or (LOCK, EVENTS):
        try:
            with opened(path / name) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # it is not there, or cannot be locked
            continue
    return False


def lock_holder(path: Path) -> dict[str, Any]:
    """What the lock says of the last trainer: host, boot, pid, started, launcher, bytes of the log then.

    What it does not say, or not as it should, is not there.
    """
    try:
        said = parse_json(read_whole(path / LOCK, LOCK_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    holder = {name: value for name, value in said.items() if type(value) in _HOLDER.get(name, ())}
    if "host" in holder:
        holder["host"] = sanitize(holder["host"])
    return holder


def run_of_launcher(root: Path, parent: int | None) -> Path | None:
    """The run under `root` whose last trainer was started on this machine by the process `parent`, if there is one."""
    import psutil

    born = psutil.Process(parent).create_time()  # another process may have had the same number before
    for path in run_directories(root):
        holder = lock_holder(path)
        mine = holder.get("launcher") == parent and holder.get("host") == socket.gethostname()
        if mine and holder.get("started", 0.0) >= born:
            return path
    return None


def run_status(path: Path, *, ours: bool = False) -> Status:
    """What the run is doing now; `ours`: whoever asks has the lock, and is no trainer."""
    locked = not ours and is_locked(path)  # before the log: a trainer that ends in between wrote its last word first
    return _status(path, read_log_ends(path / EVENTS), locked)


def _status(path: Path, log: LogEnds, locked: bool) -> Status:
    """The status by what the log says last, and by the lock."""
    lifecycle = log.lifecycle
    if log.problem is not None:
        return Status.UNREADABLE
    if locked:
        before = lock_holder(path).get("log")  # length of the log before this trainer; None if the lock does not say
        if before is not None and log.length <= before:
            return Status.STARTING
        match lifecycle:
            case Paused():
                return Status.PAUSED
            case Started() | Resumed() | Continued():
                return Status.RUNNING
            case Stopped() | Finished() | Failed() if before is not None:
                pass  # its trainer has written how it ended and is about to let go
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
        waited = time.time() - (path / CONFIG).stat().st_mtime
    except OSError:
        return Status.INTERRUPTED
    gone = os.path.isfile(path / TRAINER_LOG) and (path / TRAINER_LOG).stat().st_size > 0  # it said why, and ended
    # Of a clock that was set back meanwhile nothing can be told, and nobody should wait for years.
    return Status.INTERRUPTED if gone or abs(waited) >= STARTING_SECONDS else Status.STARTING


def _lock_is_unreadable(path: Path) -> bool:
    try:
        opened(path / LOCK).close()
    except PermissionError:
        return True
    except OSError:
        pass  # there is none, or something else in its place, which no trainer holds
    return False


def last_lifecycle(path: Path) -> Event | None:
    """The last event in the run's log that changed its status."""
    return read_log_ends(path / EVENTS).lifecycle


def config_options(path: Path) -> dict[str, Any] | None:
    """A run's options under their present names, unchecked; None where they cannot be read."""
    try:
        return upgrade(read_toml(path / CONFIG))
    except (OSError, ValueError):
        return None


def _text(value: object) -> str | None:
    return sanitize(value) if isinstance(value, str) else None


def summarize(path: Path) -> RunSummary:
    """One run's line of the table, from its config and the two ends of its log."""
    options = config_options(path) or {}
    locked = is_locked(path)
    log = read_log_ends(path / EVENTS)
    data, started = log.dataset, log.started
    epochs = options.get("epochs")
    if type(epochs) is not int or not 0 <= epochs <= GREATEST:
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
        updated=log.last.time if log.last else None,
        host=lock_holder(path).get("host"),
        device=(started.devices or started.device) if started else None,
        error=error,
        sampleable=os.path.isfile(path / MODEL),  # which, unlike Path.is_file, raises nothing
    )


def list_runs(root: Path, read: Callable[[Path], RunSummary] = summarize) -> list[RunSummary]:
    """Every run under `root`, summarized by `read`, the one with the newest event first."""
    return newest_first(map(read, run_directories(root)))


def newest_first(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """The runs in the order in which they were last updated, the most recent first."""
    return sorted(runs, key=lambda run: run.updated or 0.0, reverse=True)
