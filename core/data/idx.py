"""Reads and writes IDX, the file format of MNIST, treating files as untrusted input."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from core.errors import DatasetError
from core.system.safe_io import opened

UINT8 = 0x08  # element type in the third byte of the header; the only one supported
_ARCHIVE_SLACK = 65_536  # deflate adds at most a few bytes per 16 kB; plus gzip's header


class Idx(NamedTuple):
    """An IDX file in memory."""

    shape: tuple[int, ...]
    content: bytes  # the whole uncompressed file
    offset: int  # of the values in `content`
    sha256: str  # of `content`
    archive_sha256: str | None  # of the gzip file; None if the file was not compressed


def header(shape: tuple[int, ...]) -> bytes:
    """Header of an IDX file of unsigned bytes: two zero bytes, type, number of dimensions, sizes (big-endian)."""
    return struct.pack(f">HBB{len(shape)}I", 0, UINT8, len(shape), *shape)


def read_idx(path: Path, shape: tuple[int, ...]) -> Idx:
    """Read an IDX file of unsigned bytes, raw or gzip (detected by content).

    Reads and decompresses no more data than `shape` needs.

    Args:
        path: The file.
        shape: Expected shape of the values.

    Raises:
        DatasetError: The file cannot be read, is truncated, too long or damaged, or has another header.
    """
    expected = header(shape)
    total = len(expected) + math.prod(shape)
    try:
        with opened(path, follow=True) as file:  # links to datasets are common
            stored, length = file.read(total + _ARCHIVE_SLACK + 1), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _error(
            path, f"cannot be read ({error.strerror or error})", "check the path and its permissions"
        ) from error
    packed = stored[:2] == b"\x1f\x8b"
    content = _inflate(path, stored, len(expected), total) if packed else stored
    _check(path, content, shape, exact=None if packed else length)
    return Idx(
        shape,
        content,
        len(expected),
        hashlib.sha256(content).hexdigest(),
        hashlib.sha256(stored).hexdigest() if packed else None,
    )


def _inflate(path: Path, stored: bytes, start: int, total: int) -> bytes:
    """The uncompressed content, at most one byte more than `total`; the extra byte shows that it is too long."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as archive:
            head = archive.read(start)
            # Reading past the end makes gzip check the length and CRC at the end of the archive.
            return head + archive.read(total - start + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _error(path, f"is damaged gzip ({error})") from error


def _check(path: Path, content: bytes, shape: tuple[int, ...], exact: int | None) -> None:
    """Check header and length against `shape`; `exact` is the file's length if it is not compressed."""
    expected = header(shape)
    actual = content[: len(expected)]
    if len(actual) < 4:
        raise _error(path, f"is truncated: {len(actual)} bytes")
    zeros, kind, dimensions = struct.unpack(">HBB", actual[:4])
    if zeros != 0:
        raise _error(path, f"is not an IDX file: it starts with {actual[:4].hex(' ')}")
    if kind != UINT8:
        raise _error(path, f"has elements of type 0x{kind:02x}, not unsigned bytes (0x{UINT8:02x})")
    if dimensions != len(shape):
        raise _error(path, f"has {dimensions} dimensions instead of {len(shape)}")
    if len(actual) < len(expected):
        raise _error(path, f"has a truncated header: {len(actual)} bytes")
    sizes = struct.unpack(f">{dimensions}I", actual[4:])
    if sizes != shape:
        raise _error(path, f"has size {_times(sizes)} instead of {_times(shape)}")
    total = len(expected) + math.prod(shape)
    length = len(content) if exact is None else exact
    if length < total:
        raise _error(path, f"is truncated: {length:,} of {total:,} bytes")
    if length > total:
        raise _error(path, f"is too long: {'more than' if exact is None else f'{length:,} bytes instead of'} {total:,}")


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in sizes)


def _error(path: Path, problem: str, remedy: str = "delete it or replace it with a genuine copy") -> DatasetError:
    return DatasetError(f"{path} {problem}; {remedy}.")
