"""The lock of a run directory, which one process holds at a time and the system lets go of when that process ends."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import BinaryIO

from core.errors import RunError

LOCK_SECONDS = 1.0  # screens probe the lock for an instant; whoever wants it outlasts them


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
