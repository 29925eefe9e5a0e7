"""The lock of a run directory, which one process holds at a time and the system lets go of when that process ends."""

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
from core.runs.directory import CONTROL, EVENTS, LOCK, STATE, Status, is_locked, lock_holder, run_status
from core.system.safe_io import opened_to_append

LOCK_SECONDS = 1.0  # screens probe the lock for an instant; whoever wants it outlasts them
INHERITED = "MINIDIFF_INHERITED_LOCK"  # names the descriptor of a lock that a launcher took for its trainer


def take(lock: BinaryIO, path: Path) -> bool:
    """Lock the open file `lock`, which is at `path`; False if another process keeps it.

    Raises:
        RunError: its disk keeps no locks.
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
                f"cannot lock {path}: {error.strerror}; where nothing can be locked two trainers could spoil each "
                "other's run: choose a --root on another disk"
            ) from None


def claim(path: Path, *, force: bool = False, keep_requests: bool = False) -> BinaryIO:
    """Lock the run at `path` for a trainer that starts now.

    From here on the run is `starting`, and requests are for the new trainer. Those that an earlier one left behind are
    removed, unless `keep_requests`. With `force` a run is taken although its lock names another host.

    Raises:
        RunError: another trainer holds the run, here or on another host, or its disk keeps no locks.
        OSError: the lock cannot be written.
    """
    if run_status(path) is Status.ELSEWHERE and not force:
        raise RunError(
            f"{path.name} was last held by {lock_holder(path)['host']}, which cannot be seen from here; "
            "if nothing runs there any more, resume it with --force"
        )
    lock = opened_to_append(path / LOCK)
    try:
        # A trainer whose lock was deleted still holds its log.
        if not take(lock, path / LOCK) or is_locked(path, EVENTS):
            raise held_by_another(path)
        started = (path / EVENTS).exists() or (path / STATE).exists()  # else requests can only be for this trainer
        if started and not keep_requests:
            (path / CONTROL).unlink(missing_ok=True)
    except (RunError, OSError):
        lock.close()
        raise
    return lock


def held_by_another(path: Path) -> RunError:
    """The error for a run that another trainer holds."""
    pid = lock_holder(path).get("pid")
    if pid is None:
        return RunError(f"{path.name} is held by a trainer that is just starting; watch it, or stop it first")
    return RunError(f"{path.name} is being trained by process {pid}; watch it, or stop it first")


def write_holder(lock: BinaryIO, log_bytes: int, *, pid: int | None = None, launcher: int | None = None) -> None:
    """Write into a lock who holds it, and how long the log was before: clocks leap, lengths do not.

    Args:
        lock: the open lock.
        log_bytes: length of the run's log before this trainer writes to it.
        pid: the trainer's process id; None while its launcher holds the lock for it.
        launcher: process id of the launcher, where several processes train together.
    """
    holder = {"host": socket.gethostname(), "boot": psutil.boot_time(), "started": time.time(), "log": log_bytes}
    holder |= {name: value for name, value in (("pid", pid), ("launcher", launcher)) if value is not None}
    lock.truncate(0)
    write_whole(lock, json.dumps(holder).encode() + b"\n")


def inherited(path: Path) -> BinaryIO | None:
    """The lock of the run at `path` that a launcher took for this process, if it did and the file is still there.

    The launcher may keep it open too: then it stays locked when this process ends, unless `release` is called.
    """
    number = os.environ.get(INHERITED, "")
    if not number.isdecimal():
        return None
    try:
        ours = os.path.samestat(os.fstat(int(number)), os.stat(path / LOCK, follow_symlinks=False))
    except OSError:
        return None
    if not ours:
        return None
    os.set_inheritable(int(number), False)
    lock = os.fdopen(int(number), "a+b", buffering=0)
    if take(lock, path / LOCK):
        return lock
    lock.close()
    return None


def release(lock: BinaryIO) -> None:
    """Unlock, also where another process has inherited the same open file."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def write_whole(file: BinaryIO, content: bytes) -> None:
    """Write to an unbuffered file, which may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
