"""Files that are either the old one or the new one, whole, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from core.system.safe_io import open_for_writing


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, force it to disk, then rename it over `path`.

    A regular file that is replaced passes its permissions on. A temporary file left by a crash is removed by the next
    write, as is a link of its name or of `path`'s: nothing is written through one. On an error the old file stays as
    it was.
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
        with contextlib.suppress(OSError):  # what refused the write may refuse this, too
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _permissions(path: Path) -> int | None:
    """The permissions of the regular file at `path`; None where there is none."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    return stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else None
