"""Preparing a folder of images: time and memory of the first start, and time of the second.

    python benchmarks/prepare_folder.py            60,000 synthetic JPEGs of 32x32 pixels, a minute or two
    python benchmarks/prepare_folder.py FOLDER     your own images
    python benchmarks/prepare_folder.py --quick    500 JPEGs; a smoke test

Each start is a process of its own with an empty cache, then the same cache. Times are those of `locate`, from its call
to its return. CPU time is that of the whole process and its children, including all imports. Memory is the largest sum
of the proportional set sizes (PSS) of the process and its children, read five times a second, in which shared and
mapped pages count once.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SIDE, CLASSES = 32, 10
POLL_SECONDS = 0.2
MEGABYTE = 1_000_000
AIMS = {"first": 40.0, "second": 1.0, "memory": 500 * MEGABYTE}  # seconds, seconds, and bytes beyond the images
START = """
import json, sys, time
from core.data.datasets import locate
from core.generators import WithResult

began = time.perf_counter()
search = WithResult(locate(sys.argv[1]))
for _ in search:
    pass
seconds = time.perf_counter() - began
prepared = search.result.prepared
counts = [prepared.count(split) for split in ("train", "test")]
print(json.dumps({"seconds": seconds, "counts": counts, "shape": prepared.info.shape}))
"""


def write_jpegs(folder: Path, count: int) -> None:
    """Smooth random JPEGs in class folders."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir()
    for index in range(count):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(folder / f"class {index % CLASSES}" / f"{index:06}.jpg", quality=90)


def start(folder: Path, cache: Path) -> tuple[dict[str, object], float, int]:
    """Locate the folder in a new process: what it prints, its CPU seconds, and its peak memory in bytes."""
    before = cpu_seconds()
    child = subprocess.Popen(
        [sys.executable, "-c", START, str(folder)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )
    peak, process = 0, psutil.Process(child.pid)
    while child.poll() is None:
        peak = max(peak, memory(process))
        time.sleep(POLL_SECONDS)
    assert child.stdout is not None
    printed = child.stdout.read()
    if child.returncode != 0:
        raise SystemExit("the process failed")
    return json.loads(printed), cpu_seconds() - before, peak


def cpu_seconds() -> float:
    """CPU time of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(process: psutil.Process) -> int:
    """PSS of a process and its children in bytes; 0 once they have ended."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:
        pass
    return total


def measure(folder: Path) -> None:
    """Print a Markdown table."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    folder = folder.resolve()
    with tempfile.TemporaryDirectory() as cache:
        first, first_cpu, peak = start(folder, Path(cache))
        second, second_cpu, _ = start(folder, Path(cache))
    counts, shape = first["counts"], first["shape"]
    assert isinstance(counts, list)
    assert isinstance(shape, list)
    size = sum(counts) * shape[0] * shape[1] * shape[2]
    print(f"{datetime.date.today()}, {os.cpu_count()} CPUs, load before {load};")
    print(f"{sum(counts):,} images {tuple(shape)}, {size / MEGABYTE:.0f} MB\n")
    print("| measure | target | measured |\n| --- | --- | --- |")
    print(f"| first start | {AIMS['first']:.0f} s | {first['seconds']:.1f} s, CPU time {first_cpu:.1f} s |")
    print(f"| second start | {AIMS['second']:.0f} s | {second['seconds']:.4f} s, CPU time {second_cpu:.1f} s |")
    print(f"| peak memory | {(size + AIMS['memory']) / MEGABYTE:.0f} MB | {peak / MEGABYTE:.0f} MB |")


def main() -> None:
    """Make the images if necessary, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="default: synthetic JPEGs in a temporary folder")
    parser.add_argument("--count", type=int, default=60_000, help="number of synthetic JPEGs")
    parser.add_argument("--quick", action="store_true", help="few JPEGs")
    asked = parser.parse_args()
    if asked.folder is not None:
        measure(asked.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), 500 if asked.quick else asked.count)
        measure(Path(folder))


if __name__ == "__main__":
    main()
