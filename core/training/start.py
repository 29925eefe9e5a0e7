"""The start of a training process: its device, its first event, and warnings about what differs from before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.compute.precision import pick_precision
from core.compute.torch_settings import describe_environment, usable_threads
from core.config.training import TrainConfig
from core.diffusion.loaded_model import find_model
from core.errors import CheckpointError, DeviceUnavailable
from core.models.weights import read_tensors
from core.models.weights_layout import check_finite
from core.runs.directory import INDEX, root_directory
from core.runs.events import Resumed, Started, Warned
from core.system.devices import cores
from core.system.threads import busy_cores
from core.training.checkpoint import SavedState
from core.training.distributed import DistributedContext
from core.training.trainer import Trainer


def choose_device(
    config: TrainConfig, requested: str | None, distributed: DistributedContext
) -> tuple[torch.device, TrainConfig, int]:
    """The device of this process, the config with threads, processes and precision filled in, and busy cores.

    Training on a CPU leaves the cores alone that other processes keep busy: threads wait for each other many times in a
    step, and one that shares its core with another process holds up all.

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
    processes, busy = distributed.place.local_size, 0
    if config.threads is None:
        threads = torch.get_num_threads()
        if device.type == "cpu" and processes == 1 and threads > 1:
            busy = min(busy_cores(), threads - 1)
        config = config.changed(threads=threads - busy)
    if config.nproc != processes:
        config = config.changed(nproc=processes)
    if config.precision == "auto":
        config = config.changed(precision=pick_precision("auto", device))
    return device, config, busy


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
    config: TrainConfig, saved: SavedState | None, device: torch.device, processes: int, busy: int
) -> Iterator[Warned]:
    """What differs from the config and, in a resumed run, from how it was trained so far; `busy` cores are in use."""
    threads = usable_threads(config)
    if busy:
        yield Warned(
            message=f"other processes use {busy} of this machine's {cores()} cores, so training uses {threads} "
            f"thread{'s' if threads > 1 else ''}; choose others with --threads"
        )
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


def initialize(net: nn.Module, path: str, root: Path | None) -> list[str]:
    """Copy the weights of a trained model into a new network, where names and shapes agree.

    Args:
        net: the network.
        path: a run, a built-in model or a weights file, as for `load_model`.
        root: folder of the runs.

    Returns:
        The names of the weights that keep their initial values, such as an embedding of another number of classes.

    Raises:
        CheckpointError: there is no such model, or fewer than half of the weights fit.
    """
    file = find_model(path, root_directory(root))
    if file.name == INDEX:
        raise CheckpointError(f"init_from: {path} is a folder of diffusers; name a run or a .safetensors file")
    tensors, config, _, _ = read_tensors(file, "model", lambda *_: None)
    own = net.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
    if 2 * len(fitting) < len(own):
        options = {"model": config.model, "size": config.size, "channels": " ".join(map(str, config.channels or ()))}
        flags = " ".join(f"--{name} {value}" for name, value in options.items() if value)
        raise CheckpointError(
            f"init_from: only {len(fitting)} of {len(own)} weights of this network are in {path}, which was trained "
            f"with {flags}; use the same"
        )
    check_finite(file, fitting)
    net.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]
