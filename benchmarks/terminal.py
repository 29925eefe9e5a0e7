"""How fast the app opens, and what a denoising costs a connection: measured on a real pseudo-terminal.

    python benchmarks/terminal.py            two sizes, median of five starts
    python benchmarks/terminal.py --quick    one size, one start, five frames: whether it works, not how fast

The first full screen is there when the header, the digits of the noisy state and the footer's last key have been
drawn; time runs from just before the process is started. Frames are those of the recorded denoising, stepped through
by key, with the engine idle; a frame's bytes are all that is written because of it, the timeline's line included.
They are counted over five frames at a time, as the end of a single one cannot be seen from outside.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import pyte
from pseudo_terminal import PseudoTerminal

SIZES = ((80, 24), (120, 40))
STARTS = 5
WINDOW = 5  # frames that are counted together
QUIET_SECONDS = 0.5  # of silence that end a window
COLORS = {"truecolor": "truecolor", "256 colours": None}  # and the COLORTERM that makes them


@dataclass(frozen=True)
class Frames:
    """What stepping through a denoising cost, for one frame: bytes in each window, and processor seconds of the app."""

    sizes: list[float]
    seconds: float


@contextmanager
def opened(columns: int, lines: int, colorterm: str | None) -> Iterator[PseudoTerminal]:
    """The app without any runs, on a terminal of this size."""
    with (
        tempfile.TemporaryDirectory() as root,
        PseudoTerminal("--root", root, columns=columns, lines=lines, colorterm=colorterm) as terminal,
    ):
        yield terminal
        terminal.press("q")
        terminal.exit_status()


def is_full(text: str) -> bool:
    """Whether the screen has its header, digits and footer."""
    rows = text.splitlines()
    return "minidiff" in rows[0] and "Quit" in rows[-1] and sum("▀" in row for row in rows) >= 8


def first_full_screen(columns: int, lines: int) -> float:
    """Seconds from the start of the process until the terminal had received the first full screen."""
    with opened(columns, lines, "truecolor") as terminal:
        while not ("Quit" in (drawn := terminal.output.decode(errors="replace")) and "▀" in drawn):
            terminal.read(1.0)  # nothing is drawn here before everything is there, so that reading costs no time
        terminal.wait_for(is_full)
        screen = pyte.Screen(columns, lines)
        stream = pyte.ByteStream(screen)
        for seconds, content in terminal.chunks:
            stream.feed(content)
            if is_full("\n".join(screen.display)):
                return seconds
    raise AssertionError("the screen was never full")


def frames(columns: int, lines: int, colorterm: str | None, count: int | None = None) -> Frames:
    """Step through the recorded denoising, or its first `count` steps."""
    with opened(columns, lines, colorterm) as terminal:
        terminal.wait_for("recorded")
        terminal.press("home")
        terminal.wait_for(lambda text: "step  0/" in text and "engine ready" in text)
        steps = int(terminal.text.partition("step  0/")[2].split()[0])
        terminal.settle(QUIET_SECONDS)
        process = psutil.Process(terminal.pid)
        before = sum(process.cpu_times()[:2])
        sizes = []
        for first in range(1, min(count or steps, steps) + 1, WINDOW):
            start = len(terminal.chunks)
            window = range(first, min(first + WINDOW, steps + 1))
            for step in window:
                terminal.press("right")
                terminal.wait_for(f"step {step:>2}/{steps}")
            terminal.settle(QUIET_SECONDS)
            sizes.append(sum(len(content) for _, content in terminal.chunks[start:]) / len(window))
        return Frames(sizes, (sum(process.cpu_times()[:2]) - before) / (len(sizes) * WINDOW))


def kilobytes(count: float) -> str:
    return f"{count / 1000:.1f}"


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one size, one start, five frames")
    quick: bool = parser.parse_args().quick
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("textual", "rich"))
    print(f"{datetime.date.today()}, {processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()},")
    print(f"Python {platform.python_version()}, {packages}; load at the start {os.getloadavg()[0]:.1f}\n")

    print("| terminal | first full screen, median | least | most |")
    print("| --- | ---: | ---: | ---: |")
    sizes = SIZES[:1] if quick else SIZES
    for columns, lines in sizes:
        if not quick:
            first_full_screen(columns, lines)  # fills the file cache
        times = [first_full_screen(columns, lines) for _ in range(1 if quick else STARTS)]
        middle, least, most = statistics.median(times), min(times), max(times)
        print(f"| {columns}x{lines} | {middle:.2f} s | {least:.2f} s | {most:.2f} s |", flush=True)

    print("\n| terminal | colours | a frame at the start | in the middle | at the end | mean | CPU a frame |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for columns, lines in sizes:
        for colors, colorterm in COLORS.items():
            cost = frames(columns, lines, colorterm, WINDOW if quick else None)
            first, middle, last = (cost.sizes[at] for at in (0, len(cost.sizes) // 2, -1))
            cells = [kilobytes(size) + " kB" for size in (first, middle, last, statistics.mean(cost.sizes))]
            print(f"| {columns}x{lines} | {colors} | {' | '.join(cells)} | {cost.seconds * 1000:.0f} ms |", flush=True)


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
