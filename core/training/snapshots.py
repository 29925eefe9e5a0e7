"""Writes snapshots of a run's weights while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.config.training import TrainConfig
from core.models.weights import write_tensors
from core.runs.directory import SNAPSHOTS
from core.runs.snapshots import file_name, kept_steps, list_snapshots, planned_steps, remove_snapshots
from core.system.disk_usage import disk_space
from core.training.trainer import Trainer

FLOAT16_BYTES = 2
# A checkpoint in units of a snapshot: weights, EMA weights, up to two moments, a teacher and the model, all float32.
CHECKPOINT_SIZE = 12
OTHER_BYTES = 200_000  # of headers and of the log


class SnapshotWriter:
    """Writes the weights to sample with, the EMA weights if there are any, after the planned steps of a run.

    A snapshot that cannot be written is left out, and so is one that might leave too little space on the disk for the
    next checkpoint: training continues. Nothing here uses random numbers or changes the state of the training.

    Attributes:
        bytes: Of all planned snapshots together, without their headers of some kilobytes.
        problem: Why the newest one was left out, in one line; None if it was not.
    """

    def __init__(self, run: Path, trainer: Trainer) -> None:
        """Plan the snapshots, and remove those of an earlier plan that are no longer needed.

        Args:
            run: The run directory.
            trainer: The trainer at the step from which it continues, with its data.
        """
        self._run = run
        each = snapshot_bytes(trainer.ema_net.state_dict())
        planned = planned_steps(trainer.config.snapshots, trainer.total_steps, each)
        self._due = set(planned)
        self._reserve = (1 + CHECKPOINT_SIZE) * each + OTHER_BYTES
        self.bytes = len(planned) * each
        self.problem: str | None = None
        existing = [snapshot.step for snapshot in list_snapshots(run)]
        # Without a plan those of the past stay.
        kept = kept_steps(existing, planned or existing, trainer.step)
        remove_snapshots(run, kept)

    def write_if_due(self, trainer: Trainer, config: TrainConfig) -> None:
        """Write a snapshot if one is planned after the trainer's newest step; the file is written atomically."""
        if trainer.step in self._due:
            self._due.remove(trainer.step)
            reason = self._write(trainer, config)
            self.problem = reason and f"snapshots of the weights are left out: {reason}; training continues"

    def _write(self, trainer: Trainer, config: TrainConfig) -> str | None:
        """Write a snapshot; returns why it was left out."""
        space = disk_space(self._run)
        if space is not None and space[0] < self._reserve:
            return "the disk has only space for the next checkpoint"
        weights = {name: _halved(value) for name, value in trainer.ema_net.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            return "a weight is beyond the range of float16"
        path = self._run / SNAPSHOTS / file_name(trainer.step)
        try:
            path.parent.mkdir(exist_ok=True)
            write_tensors(path, "model", weights, config, trainer.step)
        except OSError as error:
            return error.strerror or str(error)
        return None


def snapshot_bytes(weights: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors of a snapshot, without its header of some kilobytes."""
    return sum(
        value.numel() * (FLOAT16_BYTES if value.is_floating_point() else value.element_size())
        for value in weights.values()
    )


def _halved(value: Tensor) -> Tensor:
    """A tensor on the CPU, with floating-point numbers as float16."""
    return value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
