"""Writes run directories with logs like those of a trainer, for tests and pictures of the screens."""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import math
import os
import random
import socket
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from core.runs.events import Checkpoint, DatasetLoaded, Epoch, Event, Finished, Preview, Progress, Started, to_line

STEPS_PER_EPOCH = 469


@functools.cache
def digits(count: int, clarity: float, seed: int = 0) -> bytes:
    """`count` 28x28 images of strokes in noise; `clarity` from 0 (noise) to 1 (clean)."""
    rng = random.Random(seed)
    pictures = bytearray()
    for number in range(count):
        corners = [
            (14 + 9 * math.cos(number + turn * 2.1), 14 + 9 * math.sin(number * 1.7 + turn * 1.3)) for turn in range(5)
        ]
        for row in range(28):
            for column in range(28):
                near = min(_distance(column, row, start, end) for start, end in itertools.pairwise(corners))
                ink = max(0.0, min(1.0, 2.2 - near))
                pictures.append(int(255 * (clarity * ink + (1 - clarity) * rng.random() * 0.8)))
    return bytes(pictures)


def _distance(x: float, y: float, start: tuple[float, float], end: tuple[float, float]) -> float:
    (ax, ay), (bx, by) = start, end
    along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / max(1e-9, (bx - ax) ** 2 + (by - ay) ** 2)
    along = max(0.0, min(1.0, along))
    return math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay))


def started(at: float, *, name: str = "quick-1", epochs: int = 30) -> Started:
    return Started(name=name, device="cpu", threads=2, parameters=309_057, epochs=epochs, time=at)


def dataset(at: float, name: str = "mnist") -> DatasetLoaded:
    return DatasetLoaded(
        name=name, source="data/MNIST/raw", train=60_000, test=10_000, sha256="0" * 64,
        steps_per_epoch=STEPS_PER_EPOCH, time=at,
    )  # fmt: skip


def window(step: int, loss: float, at: float, pace: float = 1_940.0) -> Progress:
    return Progress(
        step=step, epoch=(step - 1) // STEPS_PER_EPOCH + 1, loss=loss, loss_min=loss * 0.9, loss_max=loss * 1.1,
        images_per_second=pace, learning_rate=1e-3, memory=412_000_000, time=at,
    )  # fmt: skip


def training(
    epochs: float, *, total: int = 30, name: str = "quick-1", began: float | None = None, every: int = 12, seed: int = 0
) -> list[Event]:
    """The log of a run after `epochs` of its `total` epochs: the loss decays from .12 to .018, 31 s per epoch."""
    rng = random.Random(seed)
    pace = 31.0 / STEPS_PER_EPOCH
    last = int(epochs * STEPS_PER_EPOCH)
    began = time.time() - last * pace - 2 if began is None else began
    events: list[Event] = [started(began, name=name, epochs=total), dataset(began + 1)]
    for step in range(every, last + 1):
        at = began + 2 + step * pace
        loss = 0.0172 + 0.012 / (1 + step / 400) + 0.09 * math.exp(-step / 60)
        if step % every == 0:
            events.append(window(step, loss * rng.gauss(1, 0.05), at, rng.gauss(1_940, 40)))
        if step % STEPS_PER_EPOCH == 0:
            epoch = step // STEPS_PER_EPOCH
            average = loss * 1.02 + 0.02 * (epoch == 1)
            images = digits(8, min(0.97, 0.45 + 0.12 * epoch**0.5), seed)
            events += [
                Epoch(epoch=epoch, step=step, loss=average, validation_loss=loss * 1.01, seconds=31.0, time=at),
                Preview(epoch=epoch, step=step, count=8, height=28, width=28, images=images, time=at),
                Checkpoint(step=step, time=at),
            ]
    if epochs >= total:
        events.append(Finished(step=last, seconds=last * pace, time=began + 2 + last * pace))
    return events


def write_run(
    root: Path,
    name: str,
    events: Iterable[Event] = (),
    *,
    host: str | None = None,
    weights: bool = False,
    **options: object,
) -> Path:
    """A run directory under `root` with a config, `events` as its log, and a lock of `host` (by default this one)."""
    path = root / name
    path.mkdir(parents=True)
    lines = {
        "preset": "quick", "dataset": "mnist", "model": "basic_unet", "channels": [32, 64, 64], "epochs": 30,
        "batch_size": 128, "learning_rate": 0.001, "seed": 0, "device": "auto", "name": name, **options,
    }  # fmt: skip
    (path / "config.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()))
    (path / "lock").write_text(json.dumps({"host": host or socket.gethostname(), "pid": 1}))
    append(path, *events)
    if weights:
        (path / "model.safetensors").write_bytes(b"weights")
    return path


def append(path: Path, *events: Event) -> None:
    """Append `events` to the log of the run."""
    with open(path / "events.jsonl", "a", encoding="utf-8") as log:
        log.writelines(map(to_line, events))


@contextmanager
def held(path: Path):
    """Hold the lock of the run, like an active trainer."""
    descriptor = os.open(path / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
