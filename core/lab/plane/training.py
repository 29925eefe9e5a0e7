"""Trains a small network on points in the plane, in seconds on a CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.compute.seeding import CORRUPTION, LABELS, ORDER, WEIGHTS, generator_for, initializing
from core.compute.torch_settings import one_thread, training_mode
from core.config.numbers import whole_number
from core.config.plane import MAX_TRAINING_STEPS, TRAINING_STEPS
from core.config.training import PREDICTIONS
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import sample_times, training_target
from core.errors import MinidiffError
from core.lab.plane.network import PointNetwork, plane_config, to_images
from core.lab.plane.points import PlanePoints

WARMUP_STEPS = 50


@dataclass(frozen=True, slots=True)
class PlaneTraining:
    """The state of a training run after some steps."""

    step: int  # steps taken
    steps: int  # of the whole run
    loss: float  # mean over the steps since the previous record; NaN at step 0
    elapsed: float  # seconds spent in steps, without the time between two records
    model: LoadedModel  # the same object in each record; its network is trained in place


def train_plane(
    data: PlanePoints,
    *,
    path: str = "flow",
    prediction: str | None = None,
    class_conditional: bool = True,
    steps: int = TRAINING_STEPS,
    width: int = 96,
    seed: int = 0,
    every: int = 25,
) -> Iterator[PlaneTraining]:
    """Train a `PointNetwork` on points.

    Adam, whose learning rate falls linearly to 0 after `WARMUP_STEPS` warmup steps; uniform noise levels; label dropout
    0.1. A step is a pure function of (seed, step), so the network depends on the seed, but not on `every`.

    Args:
        data: The points, such as those of `plane_points`.
        path: "mix", "flow" or "vp".
        prediction: What the network predicts; None: the velocity, or v on the path vp.
        class_conditional: Whether the network is given the classes.
        steps: Steps of the whole run, 0 to `MAX_TRAINING_STEPS`.
        width: Size of the network's hidden layers, 1 to 1024.
        seed: Seed of the initial weights, the batches, the noise levels and the noise.
        every: Steps from one record to the next, at least 1.

    Returns:
        An iterator over records: one before the first step, then one after each `every` steps and after the last.

    Raises:
        MinidiffError: An argument is out of range.
    """
    steps, every, width = (
        whole_number(value, name) for value, name in ((steps, "steps"), (every, "every"), (width, "width"))
    )
    if not 0 <= steps <= MAX_TRAINING_STEPS:
        raise MinidiffError(f"steps must lie between 0 and {MAX_TRAINING_STEPS:,}, not {steps:,}")
    if every < 1 or not 1 <= width <= 1024:
        raise MinidiffError(f"every must be at least 1 and width 1 to 1024, not {every} and {width}")
    if not len(data.points):
        raise MinidiffError("there are no points to train on")
    if prediction is None:
        prediction = "velocity" if "velocity" in PREDICTIONS.get(path, ()) else "v"
    names = data.class_names if class_conditional else ()
    config = plane_config(path, prediction, names, whole_number(seed, "seed") % 2**63)
    with torch.inference_mode(False), initializing(generator_for(config.seed, WEIGHTS, 0)):
        net = PointNetwork(config.info.classes, width)
    return _train(LoadedModel(net, config, 0, "plane"), data, steps, every)


def _train(model: LoadedModel, data: PlanePoints, steps: int, every: int) -> Iterator[PlaneTraining]:
    config, net = model.config, model.net
    elapsed, images = 0.0, to_images(data.points)
    yield PlaneTraining(0, steps, float("nan"), elapsed, model)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate, fused=True)  # the first one takes a second
    for first in range(0, steps, every):
        last = min(first + every, steps)
        began = time.perf_counter()
        with one_thread(), training_mode(torch.device("cpu")):
            total = 0.0
            for step in range(first, last):
                warmup, remaining = min(1.0, (step + 1) / WARMUP_STEPS), 1 - step / steps
                optimizer.param_groups[0]["lr"] = config.learning_rate * warmup * remaining
                loss = _loss(model, images, data.labels, step)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item()
        elapsed += time.perf_counter() - began
        yield PlaneTraining(last, steps, total / (last - first), elapsed, model)


def _loss(model: LoadedModel, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """The mean squared error of the network's prediction on one batch."""
    config, path = model.config, model.path
    chosen = torch.randint(
        len(images), (config.batch_size,), generator=generator_for(config.seed, ORDER, step), device="cpu"
    )
    noise = generator_for(config.seed, CORRUPTION, step)
    x_0 = path.normalize(images[chosen])  # (B, 2, 1, 1)
    t = sample_times(config.time_sampling, len(x_0), noise)  # (B,)
    eps = path.sample_noise(x_0.shape, noise)
    given = None
    if config.class_conditional:
        generator = generator_for(config.seed, LABELS, step)
        dropped = torch.rand(len(x_0), generator=generator, device="cpu", dtype=torch.float32) < config.label_dropout
        given = labels[chosen].masked_fill(dropped, config.info.null_class)
    output = model.net(path.interpolate(x_0, eps, t), t, given)
    return nn.functional.mse_loss(output, training_target(path, config.prediction, x_0, eps, t))
