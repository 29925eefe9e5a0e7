"""Bounded reading of untrusted input: regular files up to a size limit, JSON and TOML."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

CONFIG_BYTES = 524_288  # maximum of a config.toml; 1,000 class names of 64 characters take up to 270,000
OPTION_BYTES = 8_192  # of them, without class names; options take 500; the TOML parser is slow on long dotted keys
_TEXT_LINE = re.compile(rb'^ *"(?:[^"\\\n]|\\.)*",?\r?\n', re.MULTILINE)  # an item of a list, such as a class name
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a run: no path separators, no control characters


def opened(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading, without blocking on pipes; symbolic links are only followed with `follow`.

    Raises:
        OSError: it is missing, unreadable, a symbolic link or not a regular file.
    """
    return os.fdopen(_descriptor(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)), "rb")


def opened_to_append(path: Path, mode: int = 0o666) -> BinaryIO:
    """Open a regular file for appending and reading, unbuffered; a new file gets `mode` minus the umask.

    Raises:
        OSError: it is not writable, a symbolic link or not a regular file.
    """
    return os.fdopen(_descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, mode), "a+b", buffering=0)


def open_for_writing(path: Path) -> BinaryIO:
    """Create a file for writing, replacing an existing file or symbolic link at `path`.

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
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, mode)  # opening a pipe would block
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "it is a symbolic link", str(path)) from None
        if error.errno == errno.ENXIO:
            raise OSError(error.errno, "it is not a regular file", str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        message = "it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file"
        raise OSError(errno.EINVAL, message, str(path))
    return descriptor


def read_whole(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        OSError: as for `opened`, or the file is larger.
    """
    with opened(path, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit:,} bytes", str(path))
    return content


def read_end(path: Path, limit: int, start: int = 0) -> str:
    """The last bytes of a file after byte `start`, at most `limit`, as text.

    Raises:
        OSError: as for `opened`.
    """
    with opened(path) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - limit))
        return file.read(limit).decode("utf-8", errors="replace")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is invalid or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_toml(path: Path, *, follow: bool = False) -> dict[str, Any]:
    """Read a TOML file of at most `CONFIG_BYTES`, and of at most `OPTION_BYTES` without lines of one text.

    Raises:
        OSError: as for `read_whole`.
        ValueError: it is invalid or nested too deeply.
    """
    content = read_whole(path, CONFIG_BYTES, follow=follow)
    if len(content) > OPTION_BYTES and len(_TEXT_LINE.sub(b"", content)) > OPTION_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {OPTION_BYTES:,} bytes without class names", str(path))
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some Windows editors write a byte order mark
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
