"""Windows of losses, read from the device at once, since reading each step's loss would stall a GPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.device_memory import memory_held
from core.runs.events import Progress

MIN_SECONDS = 0.1  # of a window
MIN_FRACTION = 1 / 10_000  # of the elapsed time, which bounds the length of a log


def min_seconds(elapsed: float) -> float:
    """The minimum length of a window, `elapsed` seconds into the run."""
    return max(MIN_SECONDS, elapsed * MIN_FRACTION)


class Window:
    """The steps since the last call of `read`. Time between two windows (pauses, checkpoints) does not count."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._images = 0
        self._began = 0.0

    def __len__(self) -> int:
        return len(self._losses)

    def begin(self) -> None:
        """Start the clock at the first step of a window."""
        if not self._losses:
            self._began = time.monotonic()

    def add(self, loss: Tensor, images: int) -> None:
        """Add a step: its loss, a scalar on the device, and its number of images."""
        self._losses.append(loss)
        self._images += images

    def is_due(self, elapsed: float) -> bool:
        """Whether it has the minimum length, `elapsed` seconds into the run."""
        return time.monotonic() - self._began >= min_seconds(elapsed)

    def read(self) -> WindowResult:
        """Wait for the device, read the losses and start a new window."""
        losses = torch.stack(self._losses).cpu().double()  # in this order: MPS has no float64
        seconds = max(time.monotonic() - self._began, 1e-9)
        result = WindowResult(losses, self._images / seconds, seconds)
        self._losses, self._images = [], 0
        return result


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The losses and the throughput of a window."""

    losses: Tensor  # (steps,) float64, on the CPU
    images_per_second: float
    seconds: float

    @property
    def finite(self) -> Tensor:
        """The losses of the steps that were not skipped."""
        return self.losses[self.losses.isfinite()]

    @property
    def skipped(self) -> int:
        """Number of skipped steps, whose loss or gradient was not finite."""
        return len(self.losses) - len(self.finite)

    def skipped_in_a_row(self, before: int) -> tuple[int, int]:
        """The longest run of skipped steps, and the one up to the last step; `before` steps precede the window."""
        longest = row = before
        for taken in self.losses.isfinite().tolist():
            row = 0 if taken else row + 1
            longest = max(longest, row)
        return longest, row

    def as_event(self, *, step: int, epoch: int, learning_rate: float, device: torch.device) -> Progress:
        """The window as an event after `step` steps; its losses are NaN if all steps were skipped."""
        finite = self.finite if len(self.finite) else self.losses[:1]
        return Progress(
            step=step,
            epoch=epoch,
            loss=float(finite.mean()),
            loss_min=float(finite.min()),
            loss_max=float(finite.max()),
            images_per_second=self.images_per_second,
            learning_rate=learning_rate,
            memory=memory_held(device),
        )


@dataclass(slots=True)
class RunningEpoch:
    """Sums over the epoch in progress; saved in checkpoints."""

    total: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    skipped: int = 0

    def add(self, window: WindowResult) -> None:
        """Add a window."""
        self.total += float(window.finite.sum())
        self.steps += len(window.losses)
        self.seconds += window.seconds
        self.skipped += window.skipped

    @property
    def average(self) -> float:
        """The mean loss of the steps that were not skipped; NaN if more than half were."""
        taken = self.steps - self.skipped
        return self.total / taken if taken and taken >= self.skipped else math.nan
