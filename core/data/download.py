"""Downloads published datasets in a child process and verifies them: with torchvision, or one file from its address."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from core.config.datasets import SOURCES, File
from core.data.idx import read_idx
from core.errors import DatasetError
from core.runs.events import Download, Event
from core.system import subprocesses

CONNECT_SECONDS = 5.0  # timeout of connecting and of each read
STALL_SECONDS = 20.0  # without new data; DNS lookups have no timeout
START_SECONDS = 120.0  # importing torchvision from a cold disk
POLL_SECONDS = 0.1
EVENT_SECONDS = 0.5  # most time between two events; the caller can cancel at each
_CHUNK_BYTES = 1 << 18
_READY = "ready"


def download(name: str, cache: Path) -> Generator[Event, None, None]:
    """Download the dataset `name` into the folder `cache`.

    torchvision tries its mirrors in order. Only archives with the published SHA-256 are kept. Closing the generator,
    or Ctrl-C, cancels the download and removes partial files.

    Yields:
        A Download event before any network access, then as data arrives.

    Raises:
        DatasetError: The download fails or `cache` cannot be written.
    """
    source = SOURCES[name]
    files = [file for pair in source.splits.values() for file in pair]
    with scratch_folder(cache) as scratch:
        raw = scratch / source.folder / "raw"
        sizes = {raw / f"{file.name}.gz": file.archive_bytes for file in files}
        yield from _run(name, sizes, scratch, "torchvision", source.folder, str(scratch))
        _accept(files, raw)
        (cache / source.folder).mkdir(exist_ok=True)
        move_files(raw, cache / source.folder / "raw")


def download_file(name: str, url: str, path: Path, size: int, sha256: str) -> Generator[Event, None, None]:
    """Download one file of the dataset `name` to `path`, in a folder of `scratch_folder`; `size` is in bytes.

    Yields:
        A Download event before any network access, then as data arrives.

    Raises:
        DatasetError: The download fails, or the file has another SHA-256.
    """
    yield from _run(name, {path: size}, path.parent, "url", url, str(path), str(size))
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise DatasetError(f"its download failed: {path.name} is not the published file (SHA-256 differs)")


@contextlib.contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """A temporary folder in `cache`, removed with its content on exit.

    Raises:
        DatasetError: `cache` cannot be written, also while the folder is in use.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=cache))
    except OSError as error:
        raise _unwritable(cache, error) from error
    try:
        yield scratch
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move_files(folder: Path, target: Path) -> None:
    """Move a folder's files to `target`, in one rename if it does not exist."""
    if target.exists():
        for path in folder.iterdir():
            os.replace(path, target / path.name)
    else:
        os.replace(folder, target)


def _unwritable(cache: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"the folder {cache} cannot be written ({error.strerror or error}); free some space there, choose another with "
        "--data-root, or set XDG_CACHE_HOME to a writable folder"
    )


def _run(name: str, sizes: dict[Path, int], scratch: Path, *arguments: str) -> Generator[Event, None, None]:
    """Run the child process that downloads `sizes` into `scratch`, and report the sizes of its files until it exits."""
    received = dict.fromkeys(sizes, 0)
    current = next(iter(sizes))
    yield Download(name=name, file=current.name, received=0, total=sizes[current])
    report = scratch / "report.txt"
    with report.open("wb") as output:
        child = subprocesses.start("core.data.download", str(scratch), *arguments, output=output)
    try:
        progressed = reported = time.monotonic()
        while subprocesses.running(child, POLL_SECONDS):
            for path in sizes:
                size = _size(path)
                if size != received[path]:
                    received[path], current = size, path
                    progressed = time.monotonic()
            if progressed > reported or time.monotonic() - reported > EVENT_SECONDS:
                reported = time.monotonic()
                yield Download(name=name, file=current.name, received=received[current], total=sizes[current])
            started = _READY in report.read_text(errors="replace")
            timeout = STALL_SECONDS if started else START_SECONDS
            if time.monotonic() - progressed > timeout:
                raise DatasetError(f"its download stalled: no data for {timeout:.0f} s")
        if child.returncode != 0:
            raise DatasetError(f"its download failed: {_reason(report.read_text(errors='replace'))}")
    finally:
        subprocesses.end(child)
    for path, size in sizes.items():
        yield Download(name=name, file=path.name, received=size, total=size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _reason(report: str) -> str:
    """Why the download failed: the error of each mirror, else the last line of the output."""
    lines = [line.strip() for line in report.splitlines() if line.strip() and line.strip() != _READY]
    causes = [re.sub(r"^<urlopen error (?:\[Errno -?\d+\] )?(.*)>$", r"\1", line) for line in lines]
    errors = [
        cause for cause, line in zip(causes, lines, strict=True) if cause != line or line.startswith("HTTP Error")
    ]
    if errors:
        return "; ".join(dict.fromkeys(errors))
    return lines[-1] if lines else "the process gave no reason"


def _accept(files: list[File], raw: Path) -> None:
    """Verify the archives and delete other files."""
    archives = [raw / f"{file.name}.gz" for file in files]
    for archive, file in zip(archives, files, strict=True):
        if read_idx(archive, file.shape).archive_sha256 != file.archive_sha256:
            raise DatasetError(f"its download failed: {archive.name} is not the published file (SHA-256 differs)")
    for path in set(raw.iterdir()) - set(archives):
        path.unlink()


def _child(scratch: Path, kind: str, *arguments: str) -> None:
    """Entry point of the child process."""
    import socket

    subprocesses.follow_parent(scratch)
    socket.setdefaulttimeout(CONNECT_SECONDS)
    if kind == "url":
        url, path, size = arguments
        _fetch(url, Path(path), int(size))
    else:
        from torchvision import datasets

        folder, root = arguments
        print(_READY, flush=True)
        getattr(datasets, folder)(root, download=True)


def _fetch(url: str, path: Path, size: int) -> None:
    """Download at most one byte more than `size`; the extra byte shows that the file is too long."""
    import http.client
    import urllib.request

    print(_READY, flush=True)
    try:
        with urllib.request.urlopen(url) as response, path.open("wb", buffering=0) as file:
            while chunk := response.read(min(_CHUNK_BYTES, size + 1 - file.tell())):
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), *sys.argv[2:])
