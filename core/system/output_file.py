"""Writes files at paths given by the user: exported images, tables and scripts."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from core.system.atomic_write import write_atomically


def resolve_output(path: Path) -> Path:
    """Expand `~` in `path`, and raise OSError before any work is done if it cannot be written."""
    path = Path(os.path.expanduser(path))  # unlike Path.expanduser, keeps an unknown ~user
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            target = os.readlink(path)
            raise OSError(errno.ENOENT, f"it is a link to {target}, which does not exist", str(path)) from None
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise OSError(errno.ENOTDIR, f"{folder} is not a folder", str(path)) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, f"no permission to write in {folder}", str(path)) from None
        return path
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "it is a folder; name a file in it", str(path))
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "it is a block device or a socket, not a file", str(path))
    # Root can write everything, but a file without any write permission was protected on purpose.
    if not os.access(path, os.W_OK) or (stat.S_ISREG(mode) and not mode & 0o222):
        raise OSError(errno.EACCES, "it is read-only", str(path))
    return path


def write_output(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, creating missing folders; returns the path with `~` expanded.

    A regular file is replaced atomically and keeps its permissions. Everything else is written in place: a character
    device such as /dev/null, a named pipe with a reader, a symbolic link, and a file with several hard links or
    another owner.

    Raises:
        OSError: it is a folder, a block device, a socket, read-only, a dangling link or a pipe without a reader; or the
            disk is full.
    """
    path = resolve_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_replaceable(path):
        write_atomically(path, content)
        return path
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe without a reader", str(path)) from None
        raise
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


def _is_replaceable(path: Path) -> bool:
    """Whether `path` is new, or this user's regular file with a single hard link in a writable folder."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    is_own = (status.st_uid, status.st_nlink) == (os.geteuid(), 1)
    return stat.S_ISREG(status.st_mode) and is_own and os.access(path.parent, os.W_OK)
