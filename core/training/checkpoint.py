"""Checkpoints of a run: reading the state to resume from, and writing state and model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.config.training import TrainConfig
from core.errors import CheckpointError, RunError, TrainingError
from core.models.custom import Network
from core.models.weights import write_tensors
from core.runs.directory import MODEL, STATE
from core.runs.writer import RunWriter
from core.system.disk_usage import remedy
from core.training.loss_window import RunningEpoch
from core.training.state import read_state
from core.training.trainer import Trainer

# Options that may change when a run is resumed: where and how long it trains, not what it learns.
MAY_CHANGE = {
    *("name", "root", "data_root", "device", "threads", "deterministic", "epochs", "compile", "eval_every"),
    *("max_skipped", "nproc", "micro_batch", "fit_memory", "cuda_graph", "snapshots"),
}


@dataclasses.dataclass
class RunProgress:
    """What a checkpoint holds besides tensors, config and step."""

    epoch: RunningEpoch = dataclasses.field(default_factory=RunningEpoch)
    seconds: float = 0.0  # of training, over all processes that trained the run
    data_sha256: str = ""  # of the training images
    skipped: int = 0  # steps without a finite loss up to the last one, in a row


class SavedState(NamedTuple):
    """The state that a run is resumed from."""

    tensors: dict[str, Tensor]
    step: int
    epochs: int  # that the run was to be trained for
    progress: RunProgress
    device: str  # type of device, torch version and world size that it was trained with
    torch: str
    processes: int


def read_checkpoint(path: Path, config: TrainConfig, net: Network | None = None) -> SavedState | None:
    """The state in a run directory; None if it has none yet. `net` is the user's network, if it trains one.

    Raises:
        CheckpointError: it is damaged, or belongs to a run with other options than `config`.
    """
    if not (path / STATE).exists():
        return None
    tensors, saved_config, step, header = read_state(path / STATE, net)
    saved, current = saved_config.model_dump(), config.model_dump()
    changed = [name for name in current if name not in MAY_CHANGE and saved[name] != current[name]]
    if changed:
        name = changed[0]
        raise CheckpointError(
            f"config.toml says {name} = {current[name]!r}, but the run was trained with {saved[name]!r}; "
            "put it back, or start a new run"
        )
    progress = RunProgress(
        RunningEpoch(**header["epoch"]), header["seconds"], header["data_sha256"], header.get("skipped", 0)
    )
    machine = header["device"], header["torch"], header.get("processes", 1)
    return SavedState(tensors, step, saved_config.epochs, progress, *machine)


def check_epoch_position(path: Path, progress: RunProgress, trainer: Trainer) -> None:
    """Check that the steps of the epoch in progress fit the step.

    Raises:
        CheckpointError: they do not.
    """
    steps, total = progress.epoch.steps, trainer.steps_per_epoch
    if steps > total or (trainer.step - steps) % total:
        raise CheckpointError(
            f"{path / STATE} has an invalid header ({steps} steps into an epoch of {total} after "
            f"{trainer.step} steps); start a new run"
        )


def write_checkpoint(run: RunWriter, trainer: Trainer, config: TrainConfig, progress: RunProgress) -> None:
    """Write the state, then the model.

    Raises:
        TrainingError: a weight is not finite; the files are left as they are.
        RunError: a file cannot be written, or another process has taken the run.
    """
    if not trainer.is_finite():
        raise TrainingError(
            f"a weight is not finite at step {trainer.step}; the last checkpoint is intact; "
            "start again with a lower --learning-rate"
        )
    header: dict[str, Any] = {
        **dataclasses.asdict(progress),
        "device": trainer.device.type,
        "torch": torch.__version__,
        "processes": trainer.distributed.size,
    }
    try:
        write_tensors(run.path / STATE, "state", trainer.state(), config, trainer.step, **header)
        write_tensors(run.path / MODEL, "model", trainer.ema_net.state_dict(), config, trainer.step)
    except OSError as error:
        run.restore_files()
        raise RunError(
            f"cannot write a checkpoint to {run.path}: {error.strerror}; the last one is intact; "
            f"{remedy(error)}, then resume"
        ) from None
