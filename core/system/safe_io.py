"""Bounded reading of untrusted input: regular files up to a size limit, JSON and TOML."""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

CONFIG_BYTES = 8_192  # of a run's config.toml, which takes 500; TOML's reader is slow on much more of dotted keys
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a run: nothing that leads out of its root or steers a terminal


def opened(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a file to read. What is no ordinary file is not waited for, and a symbolic link only followed if asked.

    Raises:
        OSError: it is not there, may not be read, is a link, or is no ordinary file.
    """
    return os.fdopen(_descriptor(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)), "rb")


def opened_to_append(path: Path, mode: int = 0o666) -> BinaryIO:
    """Open a file to add to it and to read it, unbuffered, and make it with `mode` less the umask where there is none.

    Raises:
        OSError: it may not be written, is a symbolic link, or is no ordinary file.
    """
    return os.fdopen(_descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, mode), "a+b", buffering=0)


def open_for_writing(path: Path) -> BinaryIO:
    """Make a file to write, in the place of one of that name; a link there is removed, not followed.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _descriptor(path: Path, flags: int, mode: int = 0) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, mode)  # a pipe would wait for its other end
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "it is a symbolic link", str(path)) from None
        if error.errno == errno.ENXIO:
            raise OSError(error.errno, "it is not an ordinary file", str(path)) from None
        raise
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "it is a directory" if stat.S_ISDIR(kind) else "it is not an ordinary file"
        raise OSError(errno.EINVAL, what, str(path))
    return descriptor


def read_whole(path: Path, most: int, *, follow: bool = False) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        OSError: as `opened`, or the file is larger.
    """
    with opened(path, follow=follow) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return content


def read_end(path: Path, most: int, start: int = 0) -> str:
    """The last `most` bytes of a file from byte `start` on, as text; empty where there are none.

    Raises:
        OSError: as `opened`.
    """
    with opened(path) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - most))
        return file.read(most).decode("utf-8", errors="replace")


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_toml(path: Path, *, follow: bool = False) -> dict[str, Any]:
    """What a config of at most `CONFIG_BYTES` says.

    Raises:
        OSError: as `read_whole`.
        ValueError: it is not TOML, or nested too deeply.
    """
    content = read_whole(path, CONFIG_BYTES, follow=follow)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # editors on Windows begin a file with a byte order mark
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
