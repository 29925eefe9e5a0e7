"""The lock of a run directory, held by at most one process and released by the system when that process exits."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import BinaryIO

import psutil

from core.errors import RunError
from core.runs.directory import CONTROL, EVENTS, LOCK, STATE
from core.runs.status import Status, is_locked, lock_holder, run_status
from core.system.safe_io import opened_to_append

LOCK_SECONDS = 1.0  # to retry for, since UIs probe the lock with short shared locks
INHERITED = "MINIDIFF_INHERITED_LOCK"  # variable with the file descriptor of a lock taken by the launcher


def take(lock: BinaryIO, path: Path) -> bool:
    """Lock the open file `lock`, which is at `path`; returns False if another process holds it.

    Raises:
        RunError: the file system does not support locks.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        except OSError as error:
            raise RunError(
                f"cannot lock {path}: {error.strerror}; without locks two trainers could overwrite each other; "
                "choose a --root on another disk"
            ) from None


def claim(path: Path, *, force: bool = False, keep_requests: bool = False) -> BinaryIO:
    """Lock the run at `path` for a new trainer.

    From now on the run is `starting`, and requests are for the new trainer; earlier requests are deleted unless
    `keep_requests` is set. With `force` the run is taken even if its lock names another host.

    Raises:
        RunError: the run is already running, here or on another host, or the file system does not support locks.
        OSError: the lock cannot be written.
    """
    if run_status(path) is Status.ELSEWHERE and not force:
        raise RunError(
            f"{path.name} was last trained on {lock_holder(path)['host']}, whose processes are not visible here; "
            "if it no longer runs there, resume it with --force"
        )
    lock = opened_to_append(path / LOCK)
    try:
        # A trainer whose lock file was deleted still holds its log.
        if not take(lock, path / LOCK) or is_locked(path, EVENTS):
            raise held_by_another(path)
        started = (path / EVENTS).exists() or (path / STATE).exists()  # else all requests are for this trainer
        if started and not keep_requests:
            (path / CONTROL).unlink(missing_ok=True)
    except (RunError, OSError):
        lock.close()
        raise
    return lock


def held_by_another(path: Path) -> RunError:
    """The error for a run that is already running."""
    pid = lock_holder(path).get("pid")
    if pid is None:
        return RunError(f"{path.name} is just starting in another process; watch it, or stop it first")
    return RunError(f"{path.name} is being trained by process {pid}; watch it, or stop it first")


def write_holder(lock: BinaryIO, log_bytes: int, *, pid: int | None = None, launcher: int | None = None) -> None:
    """Write the lock's holder and the length of the log, which unlike the clock only grows, into the lock.

    Args:
        lock: the open lock.
        log_bytes: length of the run's log before this trainer writes to it.
        pid: the trainer's process id; None while its launcher holds the lock for it.
        launcher: process id of the launcher, in distributed training.
    """
    holder = {"host": socket.gethostname(), "boot": psutil.boot_time(), "started": time.time(), "log": log_bytes}
    holder |= {name: value for name, value in (("pid", pid), ("launcher", launcher)) if value is not None}
    lock.truncate(0)
    write_whole(lock, json.dumps(holder).encode() + b"\n")


def inherited(path: Path) -> BinaryIO | None:
    """The lock of the run at `path` that the launcher took for this process; None if there is none or it was deleted.

    If the launcher keeps it open, the run stays locked when this process exits, unless `release` is called.
    """
    number = os.environ.get(INHERITED, "")
    if not number.isdecimal():
        return None
    try:
        is_current = os.path.samestat(os.fstat(int(number)), os.stat(path / LOCK, follow_symlinks=False))
    except OSError:
        return None
    if not is_current:
        return None
    os.set_inheritable(int(number), False)
    lock = os.fdopen(int(number), "a+b", buffering=0)
    if take(lock, path / LOCK):
        return lock
    lock.close()
    return None


def release(lock: BinaryIO) -> None:
    """Unlock, even if another process has inherited the same open file."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def write_whole(file: BinaryIO, content: bytes) -> None:
    """Write all of `content` to an unbuffered file, whose `write` may be partial."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
