"""The start of a training process: its device, its first event, and warnings about what differs from before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from core.compute.precision import pick_precision
from core.compute.torch_settings import describe_environment, usable_threads
from core.config.training import TrainConfig
from core.errors import DeviceUnavailable
from core.runs.events import Resumed, Started, Warned
from core.training.checkpoint import SavedState
from core.training.distributed import DistributedContext
from core.training.trainer import Trainer


def choose_device(
    config: TrainConfig, requested: str | None, distributed: DistributedContext
) -> tuple[torch.device, TrainConfig]:
    """The device of this process, and the config with threads, processes and precision filled in.

    Args:
        config: the run's options.
        requested: overrides the config's device.
        distributed: the process group.

    Raises:
        DeviceUnavailable: there is no such device.
    """
    try:
        device = distributed.pick_device(requested or config.device)
    except DeviceUnavailable as error:
        raise DeviceUnavailable(f"{error}; or choose another with --device") from None
    processes = distributed.place.local_size
    if config.threads is None or config.nproc != processes:
        config = config.changed(threads=torch.get_num_threads(), nproc=processes)
    if config.precision == "auto":
        config = config.changed(precision=pick_precision("auto", device))
    return device, config


def start_event(trainer: Trainer, config: TrainConfig, devices: list[str]) -> Started | Resumed:
    """The first event of a training process; `devices` are those of all processes."""
    fields: dict[str, Any] = {
        "name": config.name or "",
        "device": str(trainer.device),
        "threads": usable_threads(config),
        "parameters": trainer.parameters,
        "epochs": config.epochs,
        "torch": torch.__version__,
        "devices": ", ".join(devices) if len(devices) > 1 else "",
    }
    return Resumed(step=trainer.step, **fields) if trainer.step else Started(**fields)


def warnings_at_start(
    config: TrainConfig, saved: SavedState | None, device: torch.device, processes: int
) -> Iterator[Warned]:
    """What differs from the config and, in a resumed run, from how it was trained so far."""
    threads = usable_threads(config)
    if config.threads != threads:
        yield Warned(
            message=f"threads = {config.threads:,} is more than this machine's {threads} cores, so {threads} are used; "
            "a different number of threads changes the rounding"
        )
    if saved is None:
        return
    if saved.epochs != config.epochs:
        schedule = "; the learning rate is now that of a run of this length" if config.lr_schedule == "linear" else ""
        yield Warned(message=f"the run's length changes from {saved.epochs} to {config.epochs} epochs{schedule}")
    now = describe_environment(device.type, torch.__version__, processes)
    for name, before in describe_environment(saved.device, saved.torch, saved.processes).items():
        if before != now[name]:
            yield Warned(
                message=f"this run began {before} and continues {now[name]}: its numbers will not be "
                "bit for bit those of an uninterrupted run"
            )
