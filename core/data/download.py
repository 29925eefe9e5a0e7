"""Has torchvision download a published data set, in a process that can be stopped, and keeps only genuine files."""

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

CONNECT_SECONDS = 5.0  # for a connection, and for each read from it
STALL_SECONDS = 20.0  # without one more byte; name lookups have no time limit of their own
START_SECONDS = 120.0  # importing torchvision from a cold disk
POLL_SECONDS = 0.1
QUIET_SECONDS = 0.5  # at most, between two events: whoever takes them can end the download between any two
_READY = "ready"


def download(name: str, cache: Path) -> Generator[Event, None, None]:
    """Bring the files of the set `name` into `cache`, yielding a Download event before any traffic and as bytes come.

    torchvision tries its mirrors in order. Only archives with the published SHA-256 are kept. Closing the generator,
    or Ctrl-C, ends the download and removes what had come. Raises DatasetError, one line, when it fails.
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
        f"the folder {cache} cannot be written ({error.strerror or error}); free some space there, name another with "
        "--data-root, or point XDG_CACHE_HOME at a folder you can write"
    )


def _run(name: str, source: Source, files: list[File], scratch: Path) -> Generator[Event, None, None]:
    """Run the child that downloads into `scratch`, and report the sizes of the files there until it is done."""
    raw = scratch / source.folder / "raw"
    report = scratch / "report.txt"
    with report.open("wb") as output:
        child = subprocesses.start("core.data.download", name, str(scratch), output=output)
    try:
        sizes = dict.fromkeys(files, 0)
        current = files[0]
        moved = said = time.monotonic()
        while subprocesses.running(child, POLL_SECONDS):
            for file in files:
                size = _size(raw / f"{file.name}.gz")
                if size != sizes[file]:
                    sizes[file], current = size, file
                    moved = time.monotonic()
            if moved > said or time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                yield Download(
                    name=name, file=f"{current.name}.gz", received=sizes[current], total=current.archive_bytes
                )
            started = _READY in report.read_text(errors="replace")
            patience = STALL_SECONDS if started else START_SECONDS
            if time.monotonic() - moved > patience:
                raise DatasetError(f"its download stalled: nothing came for {patience:.0f} s")
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
    """Why a child failed: what each mirror answered, else the last line, which is its exception's text."""
    lines = [line.strip() for line in report.splitlines() if line.strip() and line.strip() != _READY]
    causes = [re.sub(r"^<urlopen error (?:\[Errno -?\d+\] )?(.*)>$", r"\1", line) for line in lines]
    answers = [
        cause for cause, line in zip(causes, lines, strict=True) if cause != line or line.startswith("HTTP Error")
    ]
    if answers:
        return "; ".join(dict.fromkeys(answers))
    return lines[-1] if lines else "torchvision gave no reason"


def _accept(files: list[File], raw: Path, target: Path) -> None:
    """Move the archives, if they are what was published, all at once where nothing is there yet; drop the rest."""
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
    """What the child does: all the downloading, with torchvision."""
    import socket

    subprocesses.follow_parent(scratch)
    folder = SOURCES[name].folder
    socket.setdefaulttimeout(CONNECT_SECONDS)
    from torchvision import datasets

    print(_READY, flush=True)
    getattr(datasets, folder)(scratch, download=True)


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
