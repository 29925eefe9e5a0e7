"""Latency of the Lab: from a key press until the result is drawn, with a real engine.

    python benchmarks/lab.py            a minute on an otherwise idle machine
    python benchmarks/lab.py --quick    a few keys each; a smoke test

The app runs headless at 120x40. Each key changes a digit, stride, layer or pixel, and so needs a new result. The first
result of each bench, which loads models, is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from core.config.training import TrainConfig
from core.models.registry import build_model
from core.models.weights import write_tensors
from core.runs.directory import CONFIG, MODEL
from tui.app import MinidiffApp
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect

# By bench: models, and keys pressed in turn once the bench is visible.
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
    deadline = time.monotonic() + TIMEOUT
    while screen.bench.shown is before or not screen.is_idle:
        if time.monotonic() > deadline:
            raise SystemExit(f"{screen.bench.NAME} did not respond within {TIMEOUT:.0f} s")
        await asyncio.sleep(0.001)


async def measure(root: Path, count: int) -> None:
    """Press the keys and print a Markdown table."""
    app = MinidiffApp(root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        await answered(screen)
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
                waited.sort()
                median, late = statistics.median(waited), waited[int(0.95 * (len(waited) - 1))]
                print(f"| {name} | {model} | {median:.0f} ms | {late:.0f} ms | {AIMS[name]} ms |", flush=True)


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
        asyncio.run(measure(Path(folder), 4 if quick else 30))


if __name__ == "__main__":
    main()
