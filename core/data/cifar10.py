"""Finds, downloads and reads the binary version of CIFAR-10, treating files as untrusted input.

A record is one byte with the label and 3,072 bytes of a 32 x 32 image: its red, green and blue plane, row by row
(https://www.cs.toronto.edu/~kriz/cifar.html). The Python version of CIFAR-10 is a pickle and is never read.
"""

from __future__ import annotations

import hashlib
import math
import os
import tarfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.config.datasets import CIFAR10, INFO, RecordFile
from core.data.download import download_file, move_files, scratch_folder
from core.errors import DatasetError
from core.runs.events import Event
from core.system.safe_io import opened

SHAPE = INFO["cifar10"].shape
RECORD_BYTES = 1 + math.prod(SHAPE)
_PYTHON_VERSION = ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1")

Bytes = NDArray[np.uint8]


class Found(NamedTuple):
    """Verified files: for each split its record files or the archive, and the SHA-256 of all its records."""

    directory: Path
    files: dict[str, tuple[Path, ...]]
    digests: dict[str, str]


def find(root: Path, splits: Sequence[str]) -> Found | None:
    """The record files in `root/cifar-10-batches-bin` or `root`, else the archive in `root`; None if it has neither.

    Raises:
        DatasetError: A file is damaged, is not the published one, or is missing from its split.
    """
    failure: DatasetError | None = None
    for directory, files in _candidates(root, splits):
        try:
            return Found(directory, files, {split: _digest(files[split], split) for split in splits})
        except DatasetError as error:
            failure = failure or error
    if failure:
        raise failure
    return None


def on_disk(root: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """Folders of `root` and their splits, only judged by the size of each file."""
    found: dict[Path, tuple[str, ...]] = {}
    for split, records in CIFAR10.splits.items():
        for directory, files in _candidates(root, [split]):
            sizes = [CIFAR10.archive_bytes] if _is_archive(files[split]) else [_size(file) for file in records]
            if sizes == [path.stat().st_size if path.is_file() else None for path in files[split]]:
                found[directory] = (*found.get(directory, ()), split)
                break
    return list(found.items())


def describe(root: Path) -> str:
    """`root` for an error message, with a note if it holds one split or the Python version."""
    if splits := [split for _, found in on_disk(root) for split in found]:
        return f"{root} (only the {' and '.join(splits)} split)"
    if any(os.path.exists(root / name) for name in _PYTHON_VERSION):
        return f"{root} (only its Python version, a pickle, which is never read: use the binary version)"
    return str(root)


def read(paths: tuple[Path, ...], split: str, limit: int | None = None) -> tuple[Bytes, Bytes]:
    """The first `limit` images, (N, 3, 32, 32) uint8, and labels, (N,) uint8, of a split in `paths`, or all of them.

    Raises:
        DatasetError: A file is damaged or not the published one.
    """
    available = sum(file.records for file in CIFAR10.splits[split])
    count = min(limit or available, available)
    images, labels, start = np.empty((count, *SHAPE), np.uint8), np.empty(count, np.uint8), 0
    for content in _contents(paths, split):
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)[: count - start]
        labels[start : start + len(records)] = records[:, 0]
        images[start : start + len(records)] = records[:, 1:].reshape(-1, *SHAPE)
        start += len(records)
        if start == count:
            break
    return images, labels


def download(cache: Path) -> Generator[Event, None, None]:
    """Download the archive and unpack its record files into `cache/cifar-10-batches-bin`.

    Yields:
        Download events, the first before any network access.

    Raises:
        DatasetError: The download fails, or `cache` cannot be written.
    """
    with scratch_folder(cache) as scratch:
        archive = scratch / CIFAR10.archive
        yield from download_file("cifar10", CIFAR10.url, archive, CIFAR10.archive_bytes, CIFAR10.archive_sha256)
        folder = scratch / CIFAR10.folder
        folder.mkdir()
        for split, files in CIFAR10.splits.items():
            for file, content in zip(files, _contents((archive,), split), strict=True):
                (folder / file.name).write_bytes(content)
        move_files(folder, cache / CIFAR10.folder)


def _candidates(root: Path, splits: Sequence[str]) -> Iterator[tuple[Path, dict[str, tuple[Path, ...]]]]:
    """Folders with at least one file of each split, and paths of the files to read."""
    for directory in (root / CIFAR10.folder, root):
        files = {split: tuple(directory / file.name for file in CIFAR10.splits[split]) for split in splits}
        if all(any(os.path.exists(path) for path in paths) for paths in files.values()):
            yield directory, files
    archive = root / CIFAR10.archive
    if os.path.exists(archive):
        yield root, dict.fromkeys(splits, (archive,))


def _is_archive(paths: tuple[Path, ...]) -> bool:
    return [path.name for path in paths] == [CIFAR10.archive]


def _size(file: RecordFile) -> int:
    return file.records * RECORD_BYTES


def _digest(paths: tuple[Path, ...], split: str) -> str:
    """SHA-256 of a split's verified records."""
    digest = hashlib.sha256()
    for content in _contents(paths, split):
        digest.update(content)
    return digest.hexdigest()


def _contents(paths: tuple[Path, ...], split: str) -> Iterator[bytes]:
    """The verified content of each record file of a split, in order."""
    files = CIFAR10.splits[split]
    if _is_archive(paths):
        members = _members(paths[0], files)
        for file in files:
            yield _verified(paths[0] / CIFAR10.folder / file.name, members[file.name], file)
        return
    for path, file in zip(paths, files, strict=True):
        try:
            with opened(path, follow=True) as stream:  # links to datasets are common
                content = stream.read(_size(file) + 1)
        except FileNotFoundError:
            beside = next(other.name for other in paths if os.path.exists(other))
            raise DatasetError(f"{path} is missing; put it beside {beside}.") from None
        except OSError as error:
            raise _error(
                path, f"cannot be read ({error.strerror or error})", "check the path and its permissions"
            ) from error
        yield _verified(path, content, file)


def _members(archive: Path, files: Sequence[RecordFile]) -> dict[str, bytes]:
    """The content of `files` in the archive, whose SHA-256 is verified first."""
    sizes = {f"{CIFAR10.folder}/{file.name}": _size(file) for file in files}
    members = {}
    try:
        with opened(archive, follow=True) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != CIFAR10.archive_sha256:
                raise _error(archive, f"is not the published {CIFAR10.title} archive (SHA-256 differs)")
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r|gz") as tar:
                for member in tar:
                    if member.name in sizes and (content := tar.extractfile(member)) is not None:
                        members[Path(member.name).name] = content.read(sizes[member.name] + 1)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise _error(archive, f"cannot be read ({error})") from error
    if missing := [file.name for file in files if file.name not in members]:
        raise _error(archive, f"lacks {missing[0]}")
    return members


def _verified(path: Path, content: bytes, file: RecordFile) -> bytes:
    """`content`, if it is that of the published file."""
    if len(content) != _size(file):
        length = f"{len(content):,}" if len(content) < _size(file) else "more"
        raise _error(path, f"has {length} bytes instead of {_size(file):,}")
    highest, classes = int(np.frombuffer(content, np.uint8)[::RECORD_BYTES].max()), INFO["cifar10"].classes
    if highest >= classes:
        raise _error(path, f"has the label {highest}; labels must be 0 to {classes - 1}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256:
        raise _error(path, f"is not the published {CIFAR10.title} file (its SHA-256 starts with {sha256[:12]})")
    return content


def _error(path: Path, problem: str, remedy: str = "delete it or replace it with a genuine copy") -> DatasetError:
    return DatasetError(f"{path} {problem}; {remedy}.")
