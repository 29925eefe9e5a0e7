"""The disk under a folder, which need not be there yet, and what to do where it cannot be written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


def nearest(path: Path) -> Path:
    """`path`, or the closest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def room(path: Path) -> tuple[int, int] | None:
    """Bytes free and in all on the disk that `path` is on or would be; None where the system does not tell."""
    try:
        usage = shutil.disk_usage(nearest(path))
    except OSError:
        return None
    return usage.free, usage.total


def remedy(error: OSError) -> str:
    """What to do about a file that could not be written, in a few words."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "free space"
        case errno.ENOENT:
            return "put the folder back"
        case errno.EISDIR | errno.ENOTDIR | errno.EEXIST | errno.ENOTEMPTY | errno.ELOOP | errno.EINVAL:
            return f"move {error.filename2 or error.filename or 'it'} away"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "make it writable"
        case _:
            return "check the disk"
