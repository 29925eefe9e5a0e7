"""A worker process of a distributed run: prepares and takes steps as the main process asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from core.compute.device_memory import out_of_memory_error, within_memory
from core.compute.torch_settings import TorchSettings
from core.config.training import TrainConfig
from core.data import datasets
from core.errors import MinidiffError, RunError
from core.evaluation.feature_classifiers import images_sha256
from core.generators import result_of
from core.system.signals import Interrupts
from core.training.distributed import REFUSAL, DistributedContext
from core.training.trainer import Trainer

T = TypeVar("T")


def run_worker(distributed: DistributedContext) -> None:
    """Take the steps that the main process asks for, once all processes are connected, until the run ends.

    The config is that of the main process. Signals are left to the main process, which ends the workers after a
    checkpoint. Only the main process has the EMA, which no step depends on.

    Raises:
        MinidiffError: this process cannot take part, as the main process is told, or another process was lost.
    """
    with Interrupts(patient=True), distributed.process_group():
        config = TrainConfig(**distributed.receive()).changed(ema=0)
        device = _answered(distributed, lambda: _pick_device(distributed, config))
        with TorchSettings(config), within_memory(out_of_memory_error(config)):
            trainer = Trainer(config, device, distributed)
            message = distributed.receive()
            if message is None:  # stopped while the data was being downloaded
                return
            _answered(distributed, lambda: _take_data(trainer, message))
            step = distributed.receive()
            trainer.restore(distributed.receive_tensors(), step, Path("the main process's state"))
            while steps := distributed.receive():
                for _ in range(steps):
                    trainer.advance()


def _answered(distributed: DistributedContext, prepare: Callable[[], tuple[T, str]]) -> T:
    """Prepare something and report the result to all processes."""
    try:
        found, words = prepare()
    except MinidiffError as error:
        distributed.all_gather(f"{REFUSAL}{error}")
        raise
    distributed.all_gather(words)
    return found


def _pick_device(distributed: DistributedContext, config: TrainConfig) -> tuple[torch.device, str]:
    device = distributed.pick_device(config.device)
    return device, distributed.device_name(device)


def _take_data(trainer: Trainer, message: dict[str, Any]) -> tuple[None, str]:
    """Read the images that the main process trains on."""
    located = result_of(datasets.locate(message["dataset"], trainer.config.data_root, limit=trainer.config.limit))
    train = datasets.read(located, "train", trainer.config.limit)
    if images_sha256(train) != message["sha256"]:
        raise RunError(f"the {located.name} images in {located.directory} are not those of the main process")
    trainer.take(train.images, train.labels)
    if message["compile"]:
        trainer.compile()
    return None, ""
