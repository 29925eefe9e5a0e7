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
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from core.errors import RunError
from core.events import (
    GREATEST,
    Continued,
    Dataset,
    Event,
    Failed,
    Finished,
    Paused,
    Resumed,
    Started,
    Stopped,
    from_line,
)
from core.foreign import NAME_PATTERN, harmless, opened, opened_to_append, parse_json, read_toml, read_whole
from core.history import RunHistory

if TYPE_CHECKING:
    pass

CONFIG, EVENTS, MODEL, STATE = "config.toml", "events.jsonl", "model.safetensors", "state.safetensors"
LOCK, CONTROL, TRAINER_LOG, RESERVE = "lock", "control.jsonl", "trainer.log", ".reserve"
BUILTIN = ("default-mnist", "quick-mnist")  # the models that ship with the project, the one to begin with first
STARTING_SECONDS = 60.0  # a launched trainer that has not taken its lock by then is not coming
LOCK_BYTES = 4096
_HOLDER: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "boot": (float, int),
    "pid": (int,),
    "started": (float, int),
    "launcher": (int,),
    "log": (int,),
}
HEAD_BYTES, TAIL_BYTES = 4096, 65_536  # of a log: its opening, and the newest windows and epochs beside previews
MOST_HEAD_BYTES = 1_048_576  # of an opening with many downloads
Request = Literal["stop", "pause", "continue", "checkpoint"]


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
    held_out: float | None
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
    package = Path(__file__).resolve().parent
    return package / "builtin", package.parent / "checkpoints"


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
        RunError: there is none; the text lists those that are there.
    """
    if not _is_shown(name):
        raise RunError(f"{name!r} cannot name a run; name a folder that lies directly under {root}")
    path = root / name
    if not _is_run(path):
        there = ", ".join(sorted(run.name for run in run_directories(root))) or "none yet"
        raise RunError(f"there is no run {name} under {root}; runs there: {there}")
    return path


def run_directories(root: Path) -> list[Path]:
    """Every directory under `root` that holds a run's config, or a link to one; but none whose name cannot be shown."""
    try:
        return sorted(filter(_is_run, root.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot read {root}: {error.strerror}; name another folder with --root") from None


def _is_run(path: Path) -> bool:
    config = path / CONFIG
    if not _is_shown(path.name) or config.is_symlink():  # which could be any file of whoever looks
        return False
    return config.is_file()


def _is_shown(name: str) -> bool:
    """Whether a folder of this name can be a run: any name that prints, such as that of a copy, and is not hidden.

    New runs get simpler names: see `check_name`.
    """
    return "/" not in name and not name.startswith(".") and name != "" and name == harmless(name)


def request(path: Path, what: Request) -> None:
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
                if not obeyed(os.fstat(control.fileno()), trainer):
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


def obeyed(control: os.stat_result, trainer: int) -> bool:
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
        holder["host"] = harmless(holder["host"])
    return holder


def run_held_for(root: Path, parent: int | None) -> Path | None:
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
    history, length = _ends(path)
    return _status(path, history.lifecycle, locked, length)


def _status(path: Path, lifecycle: Event | None, locked: bool, length: int) -> Status:
    """The status by the last lifecycle event, the lock, and the length of the log when it was read."""
    if locked:
        before = lock_holder(path).get("log")  # length of the log before this trainer; None if the lock does not say
        if before is not None and length <= before:
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
        case _:
            host = lock_holder(path).get("host")
            return Status.INTERRUPTED if host in (None, socket.gethostname()) else Status.ELSEWHERE
    try:
        waited = time.time() - (path / CONFIG).stat().st_mtime
    except OSError:
        return Status.INTERRUPTED
    gone = (path / TRAINER_LOG).exists() and (path / TRAINER_LOG).stat().st_size > 0  # it said why, and ended
    # Of a clock that was set back meanwhile nothing can be told, and nobody should wait for years.
    return Status.INTERRUPTED if gone or abs(waited) >= STARTING_SECONDS else Status.STARTING


def last_lifecycle(path: Path) -> Event | None:
    """The last event in the run's log that changed its status."""
    return _ends(path)[0].lifecycle


def _ends(path: Path) -> tuple[RunHistory, int]:
    """What the log's two ends tell, all of a short one, the first and the newest lines of a long one; and its bytes."""
    history, length = RunHistory(), 0
    try:
        with opened(path / EVENTS) as log:
            length = log.seek(0, os.SEEK_END)
            log.seek(0)
            if length > HEAD_BYTES + TAIL_BYTES:
                history.extend(_opening(log))
                opening = history.lifecycle
                log.seek(length - TAIL_BYTES)
                history.extend(_whole_lines(log.read(TAIL_BYTES).partition(b"\n")[2]))
                if history.lifecycle is opening:  # a run that had paused or ended would have said so last
                    history.lifecycle = history.begun
            else:
                history.extend(_whole_lines(log.read(length)))
    except OSError:
        pass  # no log yet
    return history, length


def _opening(log: BinaryIO) -> list[Event]:
    """The first events of a log, at least up to `dataset`, which comes after any downloads."""
    size = HEAD_BYTES
    while True:
        log.seek(0)
        content = log.read(size)
        events = _whole_lines(content)
        if size >= MOST_HEAD_BYTES or len(content) < size or any(isinstance(event, Dataset) for event in events):
            return events
        size *= 4


def _whole_lines(content: bytes) -> list[Event]:
    lines = content.decode("utf-8", errors="replace").split("\n")[:-1]  # the last one is empty, or not whole yet
    return [event for event in map(from_line, lines) if event is not None]


def config_options(path: Path) -> dict[str, Any] | None:
    """What a run's config says, unchecked; None where it cannot be read."""
    try:
        return read_toml(path / CONFIG)
    except (OSError, ValueError):
        return None


def _text(value: object) -> str | None:
    return harmless(value) if isinstance(value, str) else None


def summarize(path: Path) -> RunSummary:
    """One run's line of the table, from its config and the two ends of its log."""
    options = config_options(path) or {}
    locked = is_locked(path)
    history, length = _ends(path)
    epoch = history.epochs[-1] if history.epochs else None
    window = history.progress[-1] if history.progress else None
    data = history.dataset
    epochs = options.get("epochs")
    if type(epochs) is not int or not 0 <= epochs <= GREATEST:
        epochs = None
    lifecycle = history.lifecycle
    return RunSummary(
        name=path.name,
        path=str(path),
        status=_status(path, lifecycle, locked, length),
        preset=_text(options.get("preset")),
        dataset=data.name if data else _text(options.get("dataset")),
        epoch=epoch.epoch if epoch else 0,
        epochs=epochs,
        step=history.step,
        total_steps=epochs * data.steps_per_epoch if data and epochs is not None else None,
        loss=epoch.loss if epoch else window.loss if window else None,
        held_out=epoch.held_out if epoch else None,
        updated=history.last.time if history.last else None,
        host=lock_holder(path).get("host"),
        device=(history.begun.team or history.begun.device) if history.begun else None,
        error=lifecycle.message if isinstance(lifecycle, Failed) else None,
        sampleable=(path / MODEL).is_file(),
    )


def list_runs(root: Path) -> list[RunSummary]:
    """Every run under `root`, the one heard of last first."""
    return sorted(map(summarize, run_directories(root)), key=lambda run: run.updated or 0.0, reverse=True)
