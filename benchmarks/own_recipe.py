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

options = arguments("--recipe", "--model", "--dataset", "--epochs", "--limit")
clock = Stopwatch(options)

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


class Rate:
    """Training rate without the ends of epochs, and the time of those."""

    def __init__(self, batch: int) -> None:
        self.seen, self.images, self.seconds, self.epoch_ends = 0, 0, 0.0, 0.0
        self._batch, self._before = batch, 0.0

    def process(self, event: Event) -> None:
        """Process one event, just after it happened."""
        now = clock.seconds
        if isinstance(event, DatasetLoaded):
            self._size, self._steps = event.train, event.steps_per_epoch
        elif isinstance(event, Progress):
            epochs = event.epoch - 1
            seen = epochs * self._size + min((event.step - epochs * self._steps) * self._batch, self._size)
            if self.seen:
                self.seconds += now - self._before
                self.images += seen - self.seen
            self.seen, self._before = seen, now
        elif isinstance(event, Checkpoint | Finished) and self.seen:
            self.epoch_ends, self._before = self.epoch_ends + now - self._before, now


def train_until_done(events: Generator[Event, None, None], run: Path, rate: Rate) -> Iterator[Path]:
    """Train to the end, or until the last budget is spent; yields the weights of each budget."""
    waiting, weights = 0.0, 0
    for event in events:
        rate.process(event)
        if isinstance(event, DatasetLoaded):
            clock.mark("data")
        elif isinstance(event, Progress):
            clock.mark("first step")
            if options.epochs is None and clock.due():
                clock.record_checkpoint(rate.seen)
                request(run, "checkpoint")
                waiting = time.monotonic()
        elif isinstance(event, Checkpoint) and waiting:
            weights += 1
            copied = options.out / f"weights-{weights}.safetensors"
            shutil.copy(run / MODEL, copied)
            yield copied
            clock.skip(time.monotonic() - waiting)
            waiting = 0.0
            if clock.done():
                events.close()
        elif isinstance(event, Finished):
            clock.record_checkpoint(rate.seen)
            yield run / MODEL


def generate(model: LoadedModel, steps: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Samples in `steps` steps, (N, C, H, W) uint8, and the requested classes, if any."""
    labels = torch.from_numpy(np.load(options.labels)[: options.n]) if model.config.class_conditional else None
    parts = []
    for index, done in enumerate(range(0, options.n, SAMPLING_BATCH)):
        count = min(SAMPLING_BATCH, options.n - done)
        requested = None if labels is None else labels[done : done + count].tolist()
        *_, last = sample(model, n=count, steps=steps, seed=options.seed * 1_000_000 + index, labels=requested)
        parts.append(quantized(last.x))
    return torch.cat(parts), labels


def main() -> None:
    """Train (unless a model is given), then generate samples from the weights of every budget."""
    clock.mark("imports")
    measured: dict[str, float] = {}
    if options.model:
        clock.record_checkpoint(0, 0.0)
        names = [options.model]
    else:
        config = TrainConfig(
            preset=options.recipe,
            dataset=options.dataset,
            data_root=options.data,
            epochs=int(options.epochs or FOREVER),
            limit=int(options.limit) if options.limit else None,
            seed=options.seed,
            device=options.device,
            name=NAME,
            root=options.out,
        )
        rate = Rate(config.batch_size)
        names = [str(path) for path in train_until_done(train(config), options.out / NAME, rate)]
        if rate.images:
            count, seconds = rate.images, rate.seconds
        else:  # a single Progress event for the whole run
            count, seconds = rate.seen, clock.seconds
        measured = {"images_per_second": count / seconds, "epoch_ends": rate.epoch_ends}
    for index, name in enumerate(names):
        model = load_model(name, device=options.device)
        own, path = defaults_for(model.config), model.config.path
        for steps in [own.steps] if path == "mix" else [own.steps, own.steps // 2, own.steps // 4]:
            start = time.monotonic()
            images, labels = generate(model, steps)
            seconds = time.monotonic() - start
            clock.save_samples(index, images, labels, seconds, evaluations(replace(own, steps=steps), path))
    clock.write_result(
        parameters=sum(parameter.numel() for parameter in model.net.parameters()),
        network=model.config.model,
        sampler=describe_sampling(own, path),
        **measured,
    )


if __name__ == "__main__":
    main()
