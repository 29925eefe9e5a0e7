"""Wraps the file operations of a trainer, to list the points it passes and to kill it or fail at a given point.

`core` is not involved: Python's functions are wrapped in a process forked for the purpose. There is a point before,
during and after each write, and before and after each rename, fsync, lock and removal.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
from collections.abc import Callable
from typing import Any

WRITING = ("open", "write", "amid", "fsync", "rename", "mkdir", "truncate")  # operations that fail on a full disk
CHANGING = (*WRITING, "unlink")  # operations that fail on a read-only disk


class Points:
    """Counts the points passed, and injects `fault` there."""

    def __init__(self, root: str, fault: dict[str, Any]) -> None:
        self.root = root
        self.fault = fault
        self.count = 0
        self.names: dict[int, str] = {}  # of open files, by descriptor
        self._trace = fault["trace"] and os.open(fault["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def reach(self, what: str, name: str) -> None:
        """Pass the next point."""
        if self.fault.get("only") not in (None, what):
            return
        self.count += 1
        if self._trace:
            os.write(self._trace, f"{what} {name}\n".encode())
        at, kind = self.fault.get("at", 0), self.fault.get("kind")
        if kind == "kill" and self.count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "fill" and self.count == at:
            fill(os.path.join(self.root, "filler"))
        if kind == "errno" and self.count >= at:
            refused = CHANGING if self.fault["errno"] == errno.EROFS else WRITING
            if what in refused or what == self.fault.get("only"):
                raise OSError(self.fault["errno"], os.strerror(self.fault["errno"]), name)

    def name(self, path: Any) -> str:
        """The name of a file relative to the root."""
        return os.path.relpath(os.fspath(path), self.root)

    def ours(self, path: Any) -> bool:
        """Whether a path is inside the run directory."""
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)


def fill(path: str) -> None:
    """Fill the disk under `path` to its last byte."""
    filler = os.open(path, os.O_WRONLY | os.O_CREAT)
    size = 65_536
    while size:
        try:
            os.write(filler, bytes(size))
        except OSError:
            size //= 2
    os.close(filler)


class Raw(io.FileIO):
    """An unbuffered file, like the log and the lock."""

    points: Points

    def write(self, content: Any) -> int:
        """Write one half, then the other."""
        name, half = str(self.name), len(content) // 2
        self.points.reach("write", name)
        self._write_whole(content[:half])
        self.points.reach("amid", name)
        self._write_whole(content[half:])
        self.points.reach("after-write", name)
        return len(content)

    def _write_whole(self, content: Any) -> None:
        """Write everything, with short writes as on an almost full disk."""
        while content:
            content = content[super().write(content) :]

    def truncate(self, size: int | None = None) -> int:
        """Truncate the file."""
        self.points.reach("truncate", str(self.name))
        return super().truncate(size)


def wrap(points: Points) -> None:
    """Make every function that changes files or locks pass points."""
    real_os_open, real_fdopen = os.open, os.fdopen

    def os_open(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not points.ours(path) or not flags & (os.O_WRONLY | os.O_RDWR):
            descriptor = real_os_open(path, flags, *more, **options)
        else:
            points.reach("open", points.name(path))
            descriptor = real_os_open(path, flags, *more, **options)
            points.reach("after-open", points.name(path))
        if points.ours(path):
            points.names[descriptor] = points.name(path)
        return descriptor

    def fdopen(descriptor: int, mode: str = "r", *more: Any, **options: Any) -> Any:
        name = points.names.get(descriptor)
        if name is None or not set(mode) & set("wa+"):
            return real_fdopen(descriptor, mode, *more, **options)
        raw = Raw(descriptor, mode.replace("b", ""))
        raw.points, raw.name = points, name
        return raw  # buffered writes reach the file immediately here

    def around(function: Callable[..., Any], what: str, name: Callable[..., str]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            called = name(*arguments)
            if called:
                points.reach(what, called)
            result = function(*arguments, **options)
            if called:
                points.reach(f"after-{what}", called)
            return result

        return wrapped

    def of_path(path: Any, *_: Any) -> str:
        return points.name(path) if points.ours(path) else ""

    def of_file(file: Any, *_: Any) -> str:
        return points.names.get(file if isinstance(file, int) else file.fileno(), "")

    os.open = os_open
    os.fdopen = fdopen
    os.replace = around(os.replace, "rename", of_path)
    os.unlink = around(os.unlink, "unlink", of_path)
    os.mkdir = around(os.mkdir, "mkdir", of_path)
    os.fsync = around(os.fsync, "fsync", of_file)
    fcntl.flock = around(fcntl.flock, "lock", of_file)
