"""Writes files and folders atomically: after a crash they have either their old or their new content."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core.system.safe_io import open_for_writing


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write `content` to a temporary file beside `path`, sync it, and rename it to `path`.

    The file gets the permissions `mode`; if None, those of the regular file that is replaced. A temporary file left by
    a crash is replaced, and so are symbolic links: they are not followed. On an error the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open_for_writing(temporary) as file:
            if (permissions := _permissions(path) if mode is None else mode) is not None:
                os.fchmod(file.fileno(), permissions)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # the cause of the first error may also prevent this
            temporary.unlink()
        raise
    _sync(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create the folder `path`: yields a temporary folder beside it, which is renamed at the end and removed on errors.

    Raises:
        OSError: `path` exists and is not an empty folder, or its parent cannot be written.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:64]}.", dir=path.parent))
    try:
        content = temporary / "content"  # with the umask's permissions, unlike that of mkdtemp
        content.mkdir()
        yield content
        os.rename(content, path)  # fails if another process has put anything there
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _permissions(path: Path) -> int | None:
    """The permissions of the regular file at `path`; None if there is none."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    return stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else None
