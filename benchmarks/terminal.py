"""Performance of the UI: startup, frames, key latency, memory, and its effect on training.

    python benchmarks/terminal.py            some minutes on an otherwise idle machine; needs the extra `bench`
    python benchmarks/terminal.py --quick    each measurement once and short; a smoke test

Everything runs on real pseudo-terminals. A frame is eight images, gray or RGB: ours in half blocks or in pixels of the
Kitty graphics protocol (`kitty`), compared with half blocks of rich-pixels and textual-image; `delta` is the change
from one denoising step to the next. Startup lasts from just before the process starts until header, digits and the
last key of the footer are drawn. Training is preset quick on drawn digits with one thread per core; the slowdown by an
attached UI compares median rates of windows with and without it, alternating.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import pyte
import terminal_day
from pseudo_terminal import PATIENCE, PseudoTerminal
from terminal_frames import HEIGHT, KINDS, WIDGETS, WIDTH

from core.config.training import TrainConfig
from core.runs.directory import EVENTS
from core.runs.events import Progress
from core.runs.history import LogTail
from core.runs.launcher import launch
from core.runs.requests import request
from core.runs.store import create_run

HOME = Path(__file__).resolve().parent
SIZES = ((80, 24), (120, 40))
STARTS = 5
FRAMES = 120
COLORS = {"truecolor": "truecolor", "256 colors": None}  # and its COLORTERM
PACKAGES = {"rich-pixels": "rich_pixels", "textual-image": "textual_image"}


@contextmanager
def opened(root: Path, *arguments: str, columns: int = 80, lines: int = 24) -> Iterator[PseudoTerminal]:
    """Run the app on a terminal of this size."""
    with PseudoTerminal("--root", str(root), *arguments, columns=columns, lines=lines) as terminal:
        yield terminal
        terminal.press("q")
        terminal.exit_status()


def is_full(text: str) -> bool:
    """Whether header, images and footer are drawn; at 80x24 the first step has four rows of quadrants."""
    rows = text.splitlines()
    drawn = sum(any("▀" <= character <= "▟" for character in row) for row in rows)
    return "minidiff" in rows[0] and "Quit" in rows[-1] and drawn >= 4


def first_full_screen(root: Path, columns: int, lines: int) -> float:
    """Seconds from the start of the process until the first full screen was received."""
    with opened(root, columns=columns, lines=lines) as terminal:
        while "Quit" not in terminal.output.decode(errors="replace"):
            terminal.read(1.0)  # not emulated until everything has arrived, to save time
        terminal.wait_for(is_full)
        screen = pyte.Screen(columns, lines)
        stream = pyte.ByteStream(screen)
        for seconds, content in terminal.chunks:
            stream.feed(content)
            if is_full("\n".join(screen.display)):
                return seconds
    raise AssertionError("the screen was never full")


def at_rest(root: Path, seconds: float) -> tuple[float, float, float]:
    """Fraction of a core, resident megabytes and bytes per second of the app's process, idle after first playback."""
    with opened(root, "--reduced-motion") as terminal:
        terminal.wait_for("engine ready")
        terminal.wait_for("live")
        terminal.wait_for("■")  # it rests on the last step
        terminal.wait_for_silence(0.5)  # the device line is redrawn every second
        process = psutil.Process(terminal.pid)
        before, sent = sum(process.cpu_times()[:2]), len(terminal.output)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            terminal.read(0.5)
        spent = sum(process.cpu_times()[:2]) - before
        return spent / seconds, process.memory_info().rss / 1e6, (len(terminal.output) - sent) / seconds


def frames(widget: str, kind: str, colorterm: str | None, count: int) -> tuple[float, float, float]:
    """CPU seconds per frame, bytes per frame and frames per second of one widget."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "cost.json"
        command = [sys.executable, str(HOME / "terminal_frames.py"), widget, kind, str(count), str(output)]
        size = {"columns": WIDTH, "lines": HEIGHT // 2}
        with PseudoTerminal(command=command, colorterm=colorterm, **size) as terminal:
            terminal.exit_status()
            ends = [seconds for seconds, _ in terminal.chunks]
            cost = json.loads(output.read_text())
            began = ends[-1] - count / cost["frames_per_second"] - 0.2
            size_in_all = sum(len(content) for seconds, content in terminal.chunks if seconds >= began)
    return cost["cpu"], size_in_all / count, cost["frames_per_second"]


class Training:
    """A training run on all cores, to measure the UI beside."""

    def __init__(self, root: Path) -> None:
        threads = os.cpu_count() or 1
        config = TrainConfig(
            preset="quick",
            dataset="glyphs",
            limit=2_000,
            epochs=10_000,
            device="cpu",
            threads=threads,
            root=root,
            name="load",
        )
        self.path = create_run(config)
        self._process: subprocess.Popen[bytes] | None = launch(self.path)
        self._tail = LogTail(self.path / EVENTS)
        self.windows: list[Progress] = []
        while not self.windows:
            self.read()
            time.sleep(0.05)

    def read(self) -> list[Progress]:
        """Progress events since the last call."""
        new = [event for event in self._tail.read()[0] if isinstance(event, Progress)]
        self.windows += new
        return new

    def rates(self, seconds: float, wait: Callable[[], object]) -> list[float]:
        """Images per second of the windows in the next `seconds`, or until there is one, calling `wait` meanwhile."""
        windows: list[Progress] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or not windows:
            if time.monotonic() > end + PATIENCE:
                raise SystemExit(f"the training has logged nothing for {seconds + PATIENCE:.0f} s")
            wait()
            windows += self.read()
        return [window.images_per_second for window in windows]

    def stop(self) -> None:
        """Stop the run."""
        request(self.path, "stop")
        if self._process is not None:
            self._process.wait()


def keys_beside_training(root: Path, count: int) -> list[float]:
    """Seconds from a key press to the step it shows, while training uses all cores."""
    training = Training(root)
    waited = []
    try:
        with opened(root) as terminal:
            terminal.wait_for("live")
            terminal.wait_for("■")  # all steps are loaded
            terminal.press("home")
            terminal.wait_for(lambda text: "step  0/" in text)
            steps = int(terminal.text.partition("step  0/")[2].split()[0])
            for number in range(count):
                step = number % steps + 1
                if step == 1:
                    terminal.press("home")
                    terminal.wait_for(f"step  0/{steps}")
                terminal.wait_for_silence(0.1)
                began = time.monotonic()
                terminal.press("right")
                while terminal.screen is not None and f"step {step:>2}/{steps}" not in terminal.text:
                    terminal.read(1.0)
                    arrived = time.monotonic()
                    terminal.draw()
                waited.append(arrived - began)
    finally:
        training.stop()
    return waited


def slowdown(root: Path, turns: int, seconds: float) -> tuple[float, float]:
    """Images per second without and with an attached UI, medians over turns."""
    training = Training(root)
    paces: dict[bool, list[float]] = {False: [], True: []}
    try:
        for turn in range(2 * turns):
            attached = turn % 2 == 1
            if attached:
                with opened(root, "--run", "load", columns=120, lines=40) as terminal:
                    terminal.wait_for("load  ● running")
                    terminal.wait_for_silence(0.5)
                    training.read()
                    paces[True] += training.rates(seconds, lambda: terminal.read(0.2))
            else:
                time.sleep(1.0)
                training.read()
                paces[False] += training.rates(seconds, lambda: time.sleep(0.2))
    finally:
        training.stop()
    return statistics.median(paces[False]), statistics.median(paces[True])


def row(*cells: str) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each measurement once and short")
    quick: bool = parser.parse_args().quick
    widgets = [name for name in WIDGETS if name not in PACKAGES or importlib.util.find_spec(PACKAGES[name])]
    installed = [name for name in widgets if name in PACKAGES]
    packages = ", ".join(f"{name} {version(name)}" for name in ("textual", "rich", *installed))
    memory = psutil.virtual_memory().total / 2**30
    print(f"{datetime.date.today()}, {processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()},")
    print(f"Python {platform.python_version()}, {packages}; load at the start {os.getloadavg()[0]:.1f}\n")

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        row("terminal", "first full screen, median", "least", "most")
        row("---", "---:", "---:", "---:")
        for columns, lines in SIZES[: 1 if quick else None]:
            if not quick:
                first_full_screen(root, columns, lines)  # fills the file cache
            times = [first_full_screen(root, columns, lines) for _ in range(1 if quick else STARTS)]
            row(
                f"{columns}x{lines}",
                *(f"{value:.2f} s" for value in (statistics.median(times), min(times), max(times))),
            )

        print()
        row("a frame of", "drawn by", "colors", "CPU", "size", "frames a second")
        row("---", "---", "---", "---:", "---:", "---:")
        for kind in KINDS[: 1 if quick else None]:
            for colors, colorterm in list(COLORS.items())[: 1 if quick else None]:
                for widget in widgets:
                    cpu, size, pace = frames(widget, kind, colorterm, 10 if quick else FRAMES)
                    row(kind, widget, colors, f"{cpu * 1000:.1f} ms", f"{size / 1000:.1f} kB", f"{pace:.1f}")

        print()
        row("the app's own process", "seen")
        row("---", "---:")
        share, resident, sent = at_rest(root, 1.0 if quick else 20.0)
        row("at rest, share of a core", f"{share:.1%}")
        row("at rest, resident memory", f"{resident:.0f} MB")
        row("at rest, bytes a second", f"{sent:.0f}")
        waited = sorted(keys_beside_training(root / "keys", 5 if quick else 100))
        row("key to changed screen, median, a training on every core", f"{statistics.median(waited) * 1000:.0f} ms")
        row("the same, 95th percentile", f"{waited[int(0.95 * (len(waited) - 1))] * 1000:.0f} ms")
        without, beside = slowdown(root / "pace", 1 if quick else 5, 2.0 if quick else 15.0)
        row("training alone", f"{without:,.0f} images/s")
        row("training with a screen attached", f"{beside:,.0f} images/s ({beside / without - 1:+.1%})")
        terminal_day.tell(0.2 if quick else 24.0, row)


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
