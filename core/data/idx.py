"""Reads and writes IDX, the file format of MNIST and its relatives, trusting nothing that a file says of itself."""

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

UINT8 = 0x08  # the element type in the third byte of the header; the sets read here hold no other
_ARCHIVE_SLACK = 65_536  # deflate never makes data longer by more than a few bytes in 16 kB, plus gzip's own header


class Idx(NamedTuple):
    """An IDX file in memory.

    `content` is the whole uncompressed file, `offset` where its values begin, `shape` their sizes, outermost first.
    `sha256` is the digest of `content`; `archive_sha256` that of the gzip file it came in, None if it came raw.
    """

    shape: tuple[int, ...]
    content: bytes
    offset: int
    sha256: str
    archive_sha256: str | None


def header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes: two zeros, type, number of sizes, then each size (big-endian)."""
    return struct.pack(f">HBB{len(shape)}I", 0, UINT8, len(shape), *shape)


def read_idx(path: Path, shape: tuple[int, ...]) -> Idx:
    """Read `path`, raw or gzip (told apart by content), which must hold unsigned bytes of exactly this `shape`.

    No more than `shape` takes is ever read or inflated. Raises DatasetError, naming the file and what is wrong with
    it, for a file that cannot be read, is cut short, has bytes left over, is damaged gzip, or has another header.
    """
    expected = header(shape)
    total = len(expected) + math.prod(shape)
    try:
        with opened(path, follow=True) as file:  # data sets are large, and links to them common
            stored, length = file.read(total + _ARCHIVE_SLACK + 1), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror or error})", "check the path and its permissions") from error
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
    """The uncompressed content, up to one byte more than `total`; the extra byte tells that there is too much."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as archive:
            head = archive.read(start)
            # Asking past the end makes gzip check the length and CRC that close the archive.
            return head + archive.read(total - start + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(path, f"is damaged gzip ({error})") from error


def _check(path: Path, content: bytes, shape: tuple[int, ...], exact: int | None) -> None:
    """Compare header and length with what `shape` demands; `exact` is the length on disk where that is the length."""
    expected = header(shape)
    found = content[: len(expected)]
    if len(found) < 4:
        raise _bad(path, f"is cut short: {len(found)} bytes")
    zeros, kind, dimensions = struct.unpack(">HBB", found[:4])
    if zeros != 0:
        raise _bad(path, f"is not an IDX file: it begins with {found[:4].hex(' ')}")
    if kind != UINT8:
        raise _bad(path, f"holds elements of type 0x{kind:02x}, not unsigned bytes (0x{UINT8:02x})")
    if dimensions != len(shape):
        raise _bad(path, f"has {dimensions} dimensions where {len(shape)} were expected")
    if len(found) < len(expected):
        raise _bad(path, f"is cut short inside its header: {len(found)} bytes")
    sizes = struct.unpack(f">{dimensions}I", found[4:])
    if sizes != shape:
        raise _bad(path, f"is of size {_times(sizes)} where {_times(shape)} was expected")
    total = len(expected) + math.prod(shape)
    length = len(content) if exact is None else exact
    if length < total:
        raise _bad(path, f"is cut short: {length:,} of {total:,} bytes")
    if length > total:
        raise _bad(path, f"has bytes left over: {'more than ' if exact is None else f'{length:,} where '}{total:,}")


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in sizes)


def _bad(path: Path, what: str, remedy: str = "delete it or replace it with a genuine copy") -> DatasetError:
    return DatasetError(f"{path} {what}; {remedy}.")
