"""A worker process of a distributed run: takes the steps that the main process requests."""

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
from core.generators import result_of
from core.models.custom import Network
from core.system.signals import Interrupts
from core.training.distributed import REFUSAL, DistributedContext
from core.training.trainer import Trainer

T = TypeVar("T")


def run_worker(distributed: DistributedContext, net: Network | None = None) -> None:
    """Take the steps that the main process requests until the run ends.

    All processes must be connected. The config is that of the main process, but without EMA, which no step depends on.
    Signals are ignored: the main process handles them and ends the workers after a checkpoint.

    Raises:
        MinidiffError: this process cannot join the run, which the main process reports, or another process was lost.
    """
    with Interrupts(patient=True), distributed.process_group():
        config = TrainConfig(**distributed.receive()).changed(ema=0)
        device = _report_result(distributed, lambda: _pick_device(distributed, config))
        with TorchSettings(config), within_memory(out_of_memory_error(config)):
            trainer = Trainer(config, device, distributed, net)
            message = distributed.receive()
            if message is None:  # stopped while the data was being downloaded
                return
            _report_result(distributed, lambda: _load_data(trainer, message))
            step = distributed.receive()
            trainer.restore(distributed.receive_tensors(), step, Path("the main process's state"))
            while steps := distributed.receive():
                for _ in range(steps):
                    trainer.train_step()


def _report_result(distributed: DistributedContext, prepare: Callable[[], tuple[T, str]]) -> T:
    """Call `prepare` and send its text, or its error, to all processes."""
    try:
        result, text = prepare()
    except MinidiffError as error:
        distributed.all_gather(f"{REFUSAL}{error}")
        raise
    distributed.all_gather(text)
    return result


def _pick_device(distributed: DistributedContext, config: TrainConfig) -> tuple[torch.device, str]:
    device = distributed.pick_device(config.device)
    return device, distributed.device_name(device)


def _load_data(trainer: Trainer, message: dict[str, Any]) -> tuple[None, str]:
    """Load the images that the main process trains on."""
    config = trainer.config
    search = datasets.locate(message["dataset"], config.data_root, limit=config.limit, options=config.image_options)
    located = result_of(search)
    train = datasets.read(located, "train", config.limit)
    if datasets.images_digest(located, train) != message["sha256"]:
        raise RunError(f"the {located.name} images in {located.directory} are not those of the main process")
    trainer.set_data(train.images, train.labels)
    if message["compile"]:
        trainer.compile()
    return None, ""
