"""Reads the headers of many image files and decodes them, in several processes."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.image_files import IMAGES, REPORT, Header, Target, process
from core.errors import DatasetError
from core.system import subprocesses
from core.system.devices import cores

FEW = 300  # files that this process reads faster than others start
MAX_PROCESSES = 16
POLL_SECONDS = 0.1


def read_headers(files: list[str], scratch: Path) -> Generator[int, None, list[Header | str]]:
    """The header of each file, or why it cannot be read; yields the number of files done.

    Raises:
        DatasetError: A process fails.
    """
    results = yield from _run(files, None, None, scratch)
    return [Header(*result) if isinstance(result, list | tuple) else str(result) for result in results]


def decode_files(
    files: list[str], target: Target, scratch: Path
) -> Generator[int, None, tuple[NDArray[np.uint8], list[str | None]]]:
    """Decode files into a memory-mapped array in `scratch`; yields the number of files done.

    Returns:
        Images, (N, C, H, W) uint8, and per file why it cannot be read, or None.

    Raises:
        DatasetError: A process fails.
    """
    shape = (len(files), target.channels, target.height, target.width)
    images = np.lib.format.open_memmap(scratch / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
    results = yield from _run(files, target, images, scratch)
    return images, [None if result is None else str(result) for result in results]


def _run(
    files: list[str], target: Target | None, images: NDArray[np.uint8] | None, scratch: Path
) -> Generator[int, None, list[Header | str | None]]:
    if len(files) <= FEW:
        results: list[Header | str | None] = []
        for start in range(0, len(files), REPORT):
            results += process(files[start : start + REPORT], start, target, images)
            yield len(results)
        return results
    count = min(cores(), MAX_PROCESSES)
    share = -(-len(files) // count)
    children = []
    try:
        for part in range(count):
            job = {"files": files[part * share : (part + 1) * share], "first": part * share, "target": target}
            (scratch / f"job-{part}.json").write_text(json.dumps(job))
            (scratch / f"done-{part}").write_bytes(b"")
            with (scratch / f"report-{part}").open("wb") as output:
                children.append(subprocesses.start("core.data.image_files", str(scratch), str(part), output=output))
        for part, child in enumerate(children):
            while subprocesses.running(child, POLL_SECONDS):
                done = sum((scratch / f"done-{other}").stat().st_size for other in range(count))
                yield min(done * REPORT, len(files))
            if child.returncode != 0:
                last = (scratch / f"report-{part}").read_text(errors="replace").strip().rpartition("\n")[2]
                raise DatasetError(f"decoding the images failed ({last or 'the process was killed'}); try again")
    finally:
        for child in children:
            subprocesses.end(child)
    yield len(files)
    return [result for part in range(count) for result in json.loads((scratch / f"result-{part}.json").read_text())]
