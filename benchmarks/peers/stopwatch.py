"""Shared by all contenders: command-line options, a clock that starts with the process, and the output format.

Only the standard library is imported here, since import time is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def arguments(*more: str) -> argparse.Namespace:
    """Parse the options of a contender; `more` are its additional options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", type=float, required=True, help="time.monotonic() just before the process started")
    parser.add_argument("--data", type=Path, help="folder with the training images")
    parser.add_argument("--out", type=Path, required=True, help="folder for result.json and the samples")
    parser.add_argument("--budgets", type=lambda text: [float(part) for part in text.split(",")], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, required=True, help="samples to generate")
    parser.add_argument("--labels", type=Path, required=True, help="NumPy file with the requested class of each sample")
    parser.add_argument("--shape", type=_integers, required=True, help="channels, height and width, before padding")
    parser.add_argument("--classes", type=int, required=True, help="number of classes; 0 without labels")
    parser.add_argument("--parameters", type=int, help="number of parameters to match; default: the published width")
    parser.add_argument("--device", required=True)
    for option in more:
        parser.add_argument(option)
    return parser.parse_args()


def _integers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


class Stopwatch:
    """Seconds since the process started, without pauses."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._start: float = options.start
        self._last_mark = 0.0
        self._checkpoints: list[dict[str, Any]] = []
        self._samples: list[dict[str, Any]] = []
        self.startup: dict[str, float] = {}  # seconds of each startup phase

    @property
    def seconds(self) -> float:
        """Measured seconds so far."""
        return time.monotonic() - self._start

    def mark(self, phase: str) -> None:
        """End a startup phase; later calls with the same name have no effect."""
        if phase not in self.startup:
            now = self.seconds
            self.startup[phase] = now - self._last_mark
            self._last_mark = now

    def skip(self, seconds: float) -> None:
        """Exclude this many seconds."""
        self._start += seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of this block."""
        paused = time.monotonic()
        try:
            yield
        finally:
            self.skip(time.monotonic() - paused)

    def due(self) -> bool:
        """Whether the next budget is spent."""
        return not self.done() and self.seconds >= self._options.budgets[len(self._checkpoints)]

    def done(self) -> bool:
        """Whether all budgets are spent."""
        return len(self._checkpoints) == len(self._options.budgets)

    def record_checkpoint(self, images: int, seconds: float | None = None) -> None:
        """Record the time of the weights of the next budget, after `images` training images."""
        budget = self._options.budgets[len(self._checkpoints)]
        time_spent = self.seconds if seconds is None else seconds
        self._checkpoints.append({"budget": budget, "seconds": time_spent, "images": images})

    def save_samples(self, index: int, images: Any, labels: Any, seconds: float, nfe: int | None = None) -> None:
        """Write the samples of one budget, one set per sampling configuration.

        Args:
            index: Which of the budgets, from 0.
            images: (N, C, H, W) uint8 on the CPU, as a tensor; padding is cropped off all sides.
            labels: Requested classes, (N,), as a tensor, or None.
            seconds: Sampling time.
            nfe: Network function evaluations per sample; None if it differs between samples.
        """
        import numpy as np

        _, height, width = self._options.shape
        top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
        cropped = images[:, :, top : top + height, left : left + width]
        arrays = {"images": cropped.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        file = self._options.out / f"samples-{len(self._samples)}.npz"
        np.savez(file, **arrays)
        entry = {"sampling": seconds, "samples": file.name, "nfe": nfe}
        self._samples.append(self._checkpoints[index] | entry)

    def write_result(self, **more: Any) -> None:
        """Write result.json: startup times, and the samples of each budget."""
        result = {"startup": self.startup, "samples": self._samples, **more}
        (self._options.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
