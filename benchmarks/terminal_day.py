"""Time to read and draw the event log of a day of training.

Steps of 0.1 s, 469 per epoch, progress windows by the trainer's rule, one preview per epoch, one checkpoint per minute.
Read in a new process with a warm file cache; drawn at 120x30.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core.runs.directory import EVENTS
from core.runs.events import Checkpoint, DatasetLoaded, Epoch, Event, Preview, Progress, Started, to_line
from core.training.loss_window import MIN_FRACTION, MIN_SECONDS

STEP_SECONDS, STEPS_PER_EPOCH, CHECKPOINT_SECONDS = 0.1, 469, 60.0
COLUMNS, LINES = 120, 30
READ = """
import json, sys, time
from pathlib import Path
from core.runs.history import RunHistory
began = time.perf_counter()
history = RunHistory.of(Path(sys.argv[1]))
print(json.dumps([time.perf_counter() - began, len(history.progress)]))
"""
DRAW = """
import asyncio, json, statistics, sys, time
from pathlib import Path
from textual.app import App
from core.runs.history import RunHistory
from tui.widgets.curve_plot import CurvePlot

class Plot(App):
    def compose(self):
        yield CurvePlot()

async def main():
    history = RunHistory.of(Path(sys.argv[1]))
    app = Plot()
    async with app.run_test(size=(int(sys.argv[2]), int(sys.argv[3]))) as pilot:
        plot = app.query_one(CurvePlot)
        plot.set_history(history)
        await pilot.pause()
        first = list(history.progress)
        times = []
        for _ in range(11):
            history.progress.append(first[-1])  # as in a second of training
            began = time.perf_counter()
            plot.set_history(history)
            plot.render()
            times.append(time.perf_counter() - began)
        print(json.dumps(statistics.median(times)))

asyncio.run(main())
"""


def day(hours: float) -> Iterator[Event]:
    """The events of `hours` of training."""
    rng = random.Random(0)
    yield Started(name="day", device="cpu", threads=2, parameters=606_276, epochs=10_000, time=0.0)
    yield DatasetLoaded(
        name="mnist",
        source="data",
        train=60_000,
        test=10_000,
        sha256="0" * 64,
        steps_per_epoch=STEPS_PER_EPOCH,
        time=0.0,
    )
    since = kept = 0.0
    for step in range(1, int(hours * 3600 / STEP_SECONDS) + 1):
        now = step * STEP_SECONDS
        loss = 0.15 + 0.5 * math.exp(-step / 500) + rng.gauss(0, 0.005)
        if now - since >= max(MIN_SECONDS, now * MIN_FRACTION) - 1e-9:
            since = now
            yield Progress(
                step=step,
                epoch=(step - 1) // STEPS_PER_EPOCH + 1,
                loss=loss,
                loss_min=loss - 0.01,
                loss_max=loss + 0.01,
                images_per_second=1_000 + rng.gauss(0, 20),
                learning_rate=2e-3,
                memory=900_000_000,
                time=now,
            )
        if now - kept >= CHECKPOINT_SECONDS:
            kept = now
            yield Checkpoint(step=step, time=now)
        if step % STEPS_PER_EPOCH == 0:
            epoch = step // STEPS_PER_EPOCH
            images = bytes(rng.randrange(256) if rng.random() < 0.2 else 0 for _ in range(64)) * 98
            yield Epoch(epoch=epoch, step=step, loss=loss, validation_loss=loss, seconds=47.0, time=now)
            yield Preview(epoch=epoch, step=step, count=8, height=28, width=28, images=images, time=now)


def tell(hours: float, row: Callable[..., None]) -> None:
    """Write, read and draw the log, and print a table row for each."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / EVENTS
        with open(log, "w", encoding="utf-8") as written:
            written.writelines(map(to_line, day(hours)))
        size = log.stat().st_size / 1e6
        read, windows = json.loads(_run(READ, str(log)))
        drawn = json.loads(_run(DRAW, str(log), str(COLUMNS), str(LINES)))
    row(f"reading the log of {hours:g} hours, {windows:,} windows and {size:.1f} MB", f"{read:.2f} s")
    row(f"drawing its curves at {COLUMNS}x{LINES}", f"{drawn * 1000:.0f} ms")


def _run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
