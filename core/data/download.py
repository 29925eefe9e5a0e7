"""Downloads a published dataset with torchvision, in a child process, and verifies the files."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from core.config.datasets import SOURCES, File, Source
from core.data.idx import read_idx
from core.errors import DatasetError
from core.runs.events import Download, Event
from core.system import subprocesses

CONNECT_SECONDS = 5.0  # timeout of connecting and of each read
STALL_SECONDS = 20.0  # without new data; DNS lookups have no timeout
START_SECONDS = 120.0  # importing torchvision from a cold disk
POLL_SECONDS = 0.1
EVENT_SECONDS = 0.5  # most time between two events; the caller can cancel at each
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
    yield Download(name=name, file=f"{files[0].name}.gz", received=0, total=files[0].archive_bytes)
    target = cache / source.folder / "raw"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=cache))
    except OSError as error:
        raise _unwritable(cache, error) from error
    try:
        yield from _run(name, source, files, scratch)
        _accept(files, scratch / source.folder / "raw", target)
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unwritable(cache: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"the folder {cache} cannot be written ({error.strerror or error}); free some space there, choose another with "
        "--data-root, or set XDG_CACHE_HOME to a writable folder"
    )


def _run(name: str, source: Source, files: list[File], scratch: Path) -> Generator[Event, None, None]:
    """Run the child process that downloads into `scratch`, and report the sizes of its files until it exits."""
    raw = scratch / source.folder / "raw"
    report = scratch / "report.txt"
    with report.open("wb") as output:
        child = subprocesses.start("core.data.download", name, str(scratch), output=output)
    try:
        sizes = dict.fromkeys(files, 0)
        current = files[0]
        progressed = reported = time.monotonic()
        while subprocesses.running(child, POLL_SECONDS):
            for file in files:
                size = _size(raw / f"{file.name}.gz")
                if size != sizes[file]:
                    sizes[file], current = size, file
                    progressed = time.monotonic()
            if progressed > reported or time.monotonic() - reported > EVENT_SECONDS:
                reported = time.monotonic()
                yield Download(
                    name=name, file=f"{current.name}.gz", received=sizes[current], total=current.archive_bytes
                )
            started = _READY in report.read_text(errors="replace")
            timeout = STALL_SECONDS if started else START_SECONDS
            if time.monotonic() - progressed > timeout:
                raise DatasetError(f"its download stalled: no data for {timeout:.0f} s")
        if child.returncode != 0:
            raise DatasetError(f"its download failed: {_reason(report.read_text(errors='replace'))}")
    finally:
        subprocesses.end(child)
    for file in files:
        yield Download(name=name, file=f"{file.name}.gz", received=file.archive_bytes, total=file.archive_bytes)


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
    return lines[-1] if lines else "torchvision gave no reason"


def _accept(files: list[File], raw: Path, target: Path) -> None:
    """Verify the archives and move them to `target`, in one rename if it does not exist; delete other files."""
    archives = [raw / f"{file.name}.gz" for file in files]
    for archive, file in zip(archives, files, strict=True):
        if read_idx(archive, file.shape).archive_sha256 != file.archive_sha256:
            raise DatasetError(f"its download failed: {archive.name} is not the published file (SHA-256 differs)")
    for path in set(raw.iterdir()) - set(archives):
        path.unlink()
    if target.exists():
        for archive in archives:
            os.replace(archive, target / archive.name)
    else:
        target.parent.mkdir(exist_ok=True)
        os.replace(raw, target)


def _child(name: str, scratch: Path) -> None:
    """Entry point of the child process: download with torchvision."""
    import socket

    subprocesses.follow_parent(scratch)
    folder = SOURCES[name].folder
    socket.setdefaulttimeout(CONNECT_SECONDS)
    from torchvision import datasets

    print(_READY, flush=True)
    getattr(datasets, folder)(scratch, download=True)


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
