"""Writes files atomically: after a crash, the file has either its old or its new content."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from core.system.safe_io import open_for_writing


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, sync it, and rename it to `path`.

    The permissions of a regular file that is replaced are kept. A temporary file left by a crash is replaced, and so
    are symbolic links: they are not followed. On an error the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open_for_writing(temporary) as file:
            if (mode := _permissions(path)) is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # the cause of the first error may also prevent this
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _permissions(path: Path) -> int | None:
    """The permissions of the regular file at `path`; None if there is none."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    return stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else None
