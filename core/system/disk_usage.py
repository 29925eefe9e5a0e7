"""Disk space, and advice for files that cannot be written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """`path`, or its closest parent that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def disk_space(path: Path) -> tuple[int, int] | None:
    """Free and total bytes of the disk for `path`, which need not exist; None if unknown."""
    try:
        usage = shutil.disk_usage(nearest_existing(path))
    except OSError:
        return None
    return usage.free, usage.total


def remedy(error: OSError) -> str:
    """A short instruction for a file that could not be written."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "free space"
        case errno.ENOENT:
            return "restore the folder"
        case errno.EISDIR | errno.ENOTDIR | errno.EEXIST | errno.ENOTEMPTY | errno.ELOOP | errno.EINVAL:
            return f"move {error.filename2 or error.filename or 'it'} away"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "make it writable"
        case _:
            return "check the disk"
