"""Latency of the Lab: from a key press until the result is drawn, with a real engine.

    python benchmarks/lab.py            a minute on an otherwise idle machine
    python benchmarks/lab.py --quick    a few keys each; a smoke test

The app runs headless at 120x40. Each key changes a digit, stride, layer or pixel, or the noise of the particles in the
plane, and so needs a new result. The first result of each bench, which loads models or trains, is not counted. A frame
is the plane at one noise level, drawn as text.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path

from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input

from core.config.plane import TRAINING_STEPS
from core.config.training import TrainConfig
from core.models.registry import build_model
from core.models.weights import write_tensors
from core.runs.directory import CONFIG, MODEL
from tui.app import MinidiffApp
from tui.lab.plane import PlaneBench
from tui.lab.plane_canvas import PlaneCanvas
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect

# By bench: models, and keys pressed in turn once the bench is visible.
PLANE_AIMS = {"particles": 400, "frame": 50}  # milliseconds; 20 frames per second
KEYS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "convolution": (("default-mnist",), ("n", "N")),
    "transposed": (("default-mnist",), ("n", "N")),
    "corruption": (("default-mnist", "quick-mnist"), ("n",)),
    "ideal": (("default-mnist",), ("n",)),
    "training": (("default-mnist",), ("n",)),
    "inside": (("default-mnist", "quick-mnist", "unet2d"), ("down", "j", "n")),
}
AIMS = {  # milliseconds
    "convolution": 100,
    "transposed": 100,
    "corruption": 100,
    "training": 100,
    "ideal": 300,
    "inside": 500,
}
TIMEOUT = 120.0  # seconds


async def answered(screen: LabScreen, before: object = None) -> None:
    """Wait until a result other than `before` is drawn."""
    await until(lambda: screen.bench.shown is not before and screen.is_idle, f"{screen.bench.NAME} responds")


async def measure(root: Path, count: int, training: int) -> None:
    """Press the keys and print a Markdown table."""
    app = MinidiffApp(root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        await measure_plane(app, pilot, count, training)
        for name, (models, keys) in KEYS.items():
            screen.open(name)
            if name == "training":
                screen.bench.set_fields(steps=1)  # few further replies, which could be taken for the next answer
            for model in models:
                screen.query_one("#model", CompactSelect).value = model
                await pilot.pause(0.2)
                await answered(screen)
                waited = []
                for number in range(count):
                    before = screen.bench.shown
                    began = time.monotonic()
                    app.simulate_key(keys[number % len(keys)])
                    await answered(screen, before)
                    waited.append((time.monotonic() - began) * 1000)
                    await pilot.pause()
                report(name, model, waited, AIMS[name])


async def measure_plane(app: MinidiffApp, pilot: Pilot[None], count: int, training: int) -> None:
    """Measure how long new particles take, and a frame of them."""
    assert isinstance(app.screen, LabScreen)
    bench = app.screen.bench
    assert isinstance(bench, PlaneBench)
    bench.query_one("#training", Input).value = str(training)
    await until(lambda: bench.is_trained, "the network is trained")
    waited = []
    for _ in range(count):
        before, began = bench.particles, time.monotonic()
        app.simulate_key("n")
        await until(lambda before=before: bench.particles is not before, "the particles are there")
        waited.append((time.monotonic() - began) * 1000)
        await pilot.pause()
    report("plane", "new particles", waited, PLANE_AIMS["particles"])
    canvas, drawn = bench.query_one("#flow PlaneCanvas", PlaneCanvas), []
    for position in range(app.screen.timeline.steps + 1):
        app.screen.timeline.seek(position)
        began = time.monotonic()
        bench.draw()
        for strip in canvas.render_lines(Region(0, 0, *canvas.size)):
            strip.render(app.console)
        drawn.append((time.monotonic() - began) * 1000)
    report("plane", "a frame", drawn, PLANE_AIMS["frame"])


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {TIMEOUT:.0f} s in vain until {what}")
        await asyncio.sleep(0.001)


def report(name: str, model: str, times: list[float], aim: int) -> None:
    """Print a row of the table; times in milliseconds."""
    times.sort()
    median, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
    print(f"| {name} | {model} | {median:.0f} ms | {late:.0f} ms | {aim} ms |", flush=True)


def main() -> None:
    """Create a run with an untrained UNet2DModel, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few keys each")
    quick: bool = parser.parse_args().quick
    print("| bench | model | key to answer, median | 95th percentile | aim |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        run = Path(folder) / "unet2d"
        run.mkdir()
        config = TrainConfig(preset="tutorial", dataset="mnist", name="unet2d", root=Path(folder))
        (run / CONFIG).write_text(config.to_toml())
        net = build_model(config.model, **config.model_options)
        write_tensors(run / MODEL, "model", net.state_dict(), config, 0)
        asyncio.run(measure(Path(folder), 4 if quick else 30, 25 if quick else TRAINING_STEPS))


if __name__ == "__main__":
    main()
