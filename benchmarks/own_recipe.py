"""Trains and samples one of our recipes, as a child process of `benchmarks/time_to_quality.py`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from stopwatch import Stopwatch, arguments

asked = arguments("--recipe", "--model", "--dataset", "--epochs", "--limit")
clock = Stopwatch(asked)

import numpy as np  # noqa: E402 - import time is measured
import torch  # noqa: E402

from core import TrainConfig, load_model, sample, train  # noqa: E402
from core.config.sampling import defaults_for, describe_sampling, evaluations  # noqa: E402
from core.diffusion.frames import quantized  # noqa: E402
from core.diffusion.loaded_model import LoadedModel  # noqa: E402
from core.runs.directory import MODEL  # noqa: E402
from core.runs.events import Checkpoint, DatasetLoaded, Event, Finished, Progress  # noqa: E402
from core.runs.requests import request  # noqa: E402

NAME, SAMPLING_BATCH = "run", 250
FOREVER = 1_000_000  # epochs; training ends when the budget is spent


class Pace:
    """Training rate without the ends of epochs, and the time of those."""

    def __init__(self, batch: int) -> None:
        self.seen, self.images, self.seconds, self.between = 0, 0, 0.0, 0.0
        self._batch, self._before = batch, 0.0

    def take(self, event: Event) -> None:
        """Process one event, just after it happened."""
        now = clock.seconds
        if isinstance(event, DatasetLoaded):
            self._size, self._steps = event.train, event.steps_per_epoch
        elif isinstance(event, Progress):
            whole = event.epoch - 1
            seen = whole * self._size + min((event.step - whole * self._steps) * self._batch, self._size)
            if self.seen:
                self.seconds += now - self._before
                self.images += seen - self.seen
            self.seen, self._before = seen, now
        elif isinstance(event, Checkpoint | Finished) and self.seen:
            self.between, self._before = self.between + now - self._before, now


def follow(events: Generator[Event, None, None], run: Path, pace: Pace) -> Iterator[Path]:
    """Train to the end, or until the last budget is spent; returns the weights of each budget."""
    waiting, weights = 0.0, 0
    for event in events:
        pace.take(event)
        if isinstance(event, DatasetLoaded):
            clock.mark("data")
        elif isinstance(event, Progress):
            clock.mark("first step")
            if asked.epochs is None and clock.due():
                clock.keep(pace.seen)
                request(run, "checkpoint")
                waiting = time.monotonic()
        elif isinstance(event, Checkpoint) and waiting:
            weights += 1
            copied = asked.out / f"weights-{weights}.safetensors"
            shutil.copy(run / MODEL, copied)
            yield copied
            clock.skip(time.monotonic() - waiting)
            waiting = 0.0
            if clock.done():
                events.close()
        elif isinstance(event, Finished):
            clock.keep(pace.seen)
            yield run / MODEL


def draw(model: LoadedModel, steps: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Samples in `steps` steps, (N, 28, 28) uint8, and the requested classes, if any."""
    labels = torch.from_numpy(np.load(asked.labels)) if model.config.class_conditional else None
    parts = []
    for index, done in enumerate(range(0, asked.n, SAMPLING_BATCH)):
        count = min(SAMPLING_BATCH, asked.n - done)
        wanted = None if labels is None else labels[done : done + count].tolist()
        *_, last = sample(model, n=count, steps=steps, seed=asked.seed * 1_000_000 + index, labels=wanted)
        parts.append(quantized(last.x[:, 0]))
    return torch.cat(parts), labels


def main() -> None:
    """Train (unless a model is given), then generate samples from the weights of every budget."""
    clock.mark("imports")
    found: dict[str, float] = {}
    if asked.model:
        clock.keep(0, 0.0)
        names = [asked.model]
    else:
        config = TrainConfig(
            preset=asked.recipe,
            dataset=asked.dataset,
            data_root=asked.data,
            epochs=int(asked.epochs or FOREVER),
            limit=int(asked.limit) if asked.limit else None,
            seed=asked.seed,
            device=asked.device,
            name=NAME,
            root=asked.out,
        )
        pace = Pace(config.batch_size)
        names = [str(path) for path in follow(train(config), asked.out / NAME, pace)]
        measured = (pace.images, pace.seconds) if pace.images else (pace.seen, clock.seconds)  # if one window held all
        found = {"pace": measured[0] / measured[1], "between": pace.between}
    for index, name in enumerate(names):
        model = load_model(name, device=asked.device)
        own, path = defaults_for(model.config), model.config.path
        for steps in [own.steps] if path == "mix" else [own.steps, own.steps // 2, own.steps // 4]:
            began = time.monotonic()
            drawn, labels = draw(model, steps)
            clock.hand_in(index, drawn, labels, time.monotonic() - began, evaluations(replace(own, steps=steps), path))
    clock.finish(
        parameters=sum(parameter.numel() for parameter in model.net.parameters()),
        shape=model.config.model,
        sampler=describe_sampling(own, path),
        **found,
    )


if __name__ == "__main__":
    main()
