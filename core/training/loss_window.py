"""Losses left on the device and read a window at a time, since reading each step's loss would stall a GPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.device_memory import memory_held
from core.runs.events import Progress

LEAST_SECONDS = 0.1
LEAST_SHARE = 1 / 10_000  # of the time elapsed, so that a log stays small however long a run


def least_seconds(elapsed: float) -> float:
    """How long a window should at least be, `elapsed` seconds into the run."""
    return max(LEAST_SECONDS, elapsed * LEAST_SHARE)


class Window:
    """The steps since the last reading. Pauses and checkpoints between two windows do not count into its pace."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._images = 0
        self._began = 0.0

    def __len__(self) -> int:
        return len(self._losses)

    def begin(self) -> None:
        """Mark the start of a step; the first one of a window starts its clock."""
        if not self._losses:
            self._began = time.monotonic()

    def add(self, loss: Tensor, images: int) -> None:
        """Keep one step's loss, a scalar on the device, and how many images it saw."""
        self._losses.append(loss)
        self._images += images

    def is_due(self, elapsed: float) -> bool:
        """Whether it is long enough to be read, `elapsed` seconds into the run."""
        return time.monotonic() - self._began >= least_seconds(elapsed)

    def read(self) -> WindowResult:
        """Wait for the device, read the losses and begin anew."""
        losses = torch.stack(self._losses).cpu().double()  # in this order: MPS has no float64
        seconds = max(time.monotonic() - self._began, 1e-9)
        reading = WindowResult(losses, self._images / seconds, seconds)
        self._losses, self._images = [], 0
        return reading


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What a window held."""

    losses: Tensor  # (steps,) float64, on the CPU
    images_per_second: float
    seconds: float

    @property
    def counted(self) -> Tensor:
        """The losses of the steps that were taken, which are all but those that are not numbers."""
        return self.losses[self.losses.isfinite()]

    @property
    def skipped(self) -> int:
        """How many steps were left out."""
        return len(self.losses) - len(self.counted)

    def skipped_in_a_row(self, before: int) -> tuple[int, int]:
        """The most steps in a row that were left out, and how many up to the last; `before` of them came before."""
        most = row = before
        for taken in self.losses.isfinite().tolist():
            row = 0 if taken else row + 1
            most = max(most, row)
        return most, row

    def as_event(self, *, step: int, epoch: int, learning_rate: float, device: torch.device) -> Progress:
        """The window as an event, after `step` steps; its losses are NaN if no step was taken."""
        counted = self.counted if len(self.counted) else self.losses[:1]
        return Progress(
            step=step,
            epoch=epoch,
            loss=float(counted.mean()),
            loss_min=float(counted.min()),
            loss_max=float(counted.max()),
            images_per_second=self.images_per_second,
            learning_rate=learning_rate,
            memory=memory_held(device),
        )


@dataclass(slots=True)
class RunningEpoch:
    """The losses of the epoch that is under way, kept in a checkpoint so that its average survives a restart."""

    total: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    skipped: int = 0

    def add(self, reading: WindowResult) -> None:
        """Count a window in."""
        self.total += float(reading.counted.sum())
        self.steps += len(reading.losses)
        self.seconds += reading.seconds
        self.skipped += reading.skipped

    @property
    def average(self) -> float:
        """The mean loss of the steps that were taken; NaN if those are less than half, and say little of the epoch."""
        taken = self.steps - self.skipped
        return self.total / taken if taken and taken >= self.skipped else math.nan
