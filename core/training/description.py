"""Describes a run before it starts, from its config: data, network, and an estimate of time and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

import torch

from core.compute.device import pick_device
from core.compute.device_memory import is_out_of_memory, memory_held
from core.compute.precision import pick_precision
from core.compute.torch_settings import TorchSettings
from core.config.architecture import is_custom
from core.config.datasets import DatasetInfo, is_path
from core.config.training import TrainConfig
from core.data.inspection import describe_dataset
from core.generators import WithResult
from core.models.registry import build_meta_model
from core.runs.description import RunDescription
from core.runs.snapshots import planned_steps
from core.training.memory_estimate import training_memory
from core.training.snapshots import snapshot_bytes
from core.training.trainer import Trainer

SECONDS = 2.0  # of work that the estimate of time may take, after a first step
FIRST_BATCH = 2  # images
GROWTH = 4  # of the batch size from one measurement to the next
_least_held: dict[str, int] = {}  # bytes that this process held without a network, by device
VALIDATION = 1 / 3  # time of a forward pass, as a part of that of a training step


def describe_run(config: TrainConfig) -> Iterator[RunDescription]:
    """Describe a run without starting it: nothing is downloaded, decoded or written.

    Time and memory are measured on a few training steps on random weights and empty images, with batches that grow up
    to the config's as long as about two seconds of work allow, and extrapolated linearly from there. The time includes
    validation, but not the preparation of the data, `torch.compile`, previews and evaluations. With several processes
    it is that of one process with its part of the batch.

    Yields:
        The description, more complete each time: the data, the number of parameters, the memory, which is repeated
        after each measured step, and last the time.

    Raises:
        MinidiffError: The data or the device is not usable, or the network cannot be built for these images.
    """
    device = pick_device(config.device)
    data = describe_dataset(config)
    description = RunDescription(data=data, model=config.model, device=device.type)
    if data.info is None or is_custom(config.model):  # such a network is only imported to train it
        yield description
        return
    yield replace(description, pending="building the network")
    config = _complete(config, data.info, device)
    net = build_meta_model(config.model, **config.model_options)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    description = replace(description, parameters=parameters, pending="estimating memory and time")
    if data.train is not None:
        each, total = snapshot_bytes(net.state_dict()), config.epochs * -(-data.train // config.batch_size)
        kept = len(planned_steps(config.snapshots, total, each))
        description = replace(description, snapshot_bytes=kept * each)
    yield description
    with TorchSettings(config) as settings:
        for description in _measured(description, config, device):  # noqa: B020 - ends with the last one
            with settings.released():
                yield description


def _complete(config: TrainConfig, info: DatasetInfo, device: torch.device) -> TrainConfig:
    """The config of one process, with what is otherwise decided at startup."""
    share = -(-config.batch_size // config.nproc) if device.type == "cuda" else config.batch_size
    changes = {"batch_size": share, "nproc": 1, "precision": pick_precision(config.precision, device)}
    if is_path(config.dataset):
        changes |= {"dataset_info": info, "class_conditional": config.class_conditional and info.classes > 0}
    return config.changed(**changes)


def _measured(description: RunDescription, config: TrainConfig, device: torch.device) -> Iterator[RunDescription]:
    """The description with memory, again after each measured step, and last with time."""
    data = description.data
    assert data.train is not None
    assert data.test is not None
    batch = min(config.batch_size, data.train)
    trainer = Trainer(config.changed(batch_size=batch), device)
    shape = (batch, *config.info.shape)
    trainer.set_data(torch.zeros(shape, dtype=torch.uint8), torch.zeros(batch, dtype=torch.int64))
    memory = training_memory(trainer)
    if memory is not None:
        mapped = is_path(config.dataset) and device.type == "cpu"  # the images stay in their file
        resident = 0 if mapped else (data.train + data.test) * math.prod(config.info.shape)
        description = replace(description, memory=memory + resident - _leftover(trainer))
    description = replace(description, pending="measuring time")
    yield description
    measurement = WithResult(_step_seconds(trainer, batch))
    for _ in measurement:
        yield description
    seconds = None
    if measurement.result is not None:
        steps = config.epochs * -(-data.train // config.batch_size)
        validated = VALIDATION * config.epochs * data.test / batch
        seconds = measurement.result * (steps + validated)
    yield replace(description, seconds=seconds, pending="")


def _leftover(trainer: Trainer) -> int:
    """Bytes that this process holds from earlier descriptions, and that a new process would not."""
    copies = 2 if trainer.config.ema else 1
    own = copies * sum(weight.nbytes for weight in trainer.net.parameters())
    others = (memory_held(trainer.device) or 0) - own
    least = _least_held[trainer.device.type] = min(others, _least_held.get(trainer.device.type, others))
    return others - least


def _step_seconds(trainer: Trainer, batch: int) -> Generator[None, None, float | None]:
    """Measure a training step on `batch` images, or extrapolate from smaller batches; yields after each step.

    Returns:
        Its seconds; None if not even the first batch fits into memory.
    """
    full, size = trainer.config, min(FIRST_BATCH, batch)
    measured: list[tuple[int, float]] = []  # batch sizes and seconds
    deadline = None
    try:
        while True:
            trainer.config = full.changed(batch_size=size)
            _seconds(trainer)  # the first step of a size is slower
            yield
            deadline = deadline or time.monotonic() + SECONDS  # without the very first step
            seconds = _seconds(trainer)
            yield
            if time.monotonic() + seconds < deadline:
                seconds = min(seconds, _seconds(trainer))
                yield
            measured.append((size, seconds))
            larger = min(size * GROWTH, batch)
            if size == batch or (
                len(measured) > 1 and 2 * _extrapolated(measured, larger) > deadline - time.monotonic()
            ):
                break
            size = larger
    except RuntimeError as failure:
        if not is_out_of_memory(failure):
            raise
    return _extrapolated(measured, batch) if measured else None


def _extrapolated(measured: list[tuple[int, float]], batch: int) -> float:
    """Seconds of a step on `batch` images, on the line through the last two measurements."""
    size, seconds = measured[-1]
    before, seconds_before = measured[-2] if len(measured) > 1 else (0, 0.0)
    return seconds + max(0.0, seconds - seconds_before) / (size - before) * (batch - size)


def _seconds(trainer: Trainer) -> float:
    """Take a step, and return how long it took."""
    began = time.monotonic()
    loss, _ = trainer.train_step()
    loss.item()  # waits for the device
    return time.monotonic() - began
