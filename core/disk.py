"""The disk under a folder, which need not be there yet."""

from __future__ import annotations

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
