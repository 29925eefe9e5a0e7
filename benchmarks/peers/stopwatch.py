"""Shared by all contenders: arguments, a clock that starts with the process, and the output format.

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
    """Parse the arguments of a contender; `more` are its additional options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--began", type=float, required=True, help="time.monotonic() just before the process started")
    parser.add_argument("--data", type=Path, help="folder with the training images")
    parser.add_argument("--out", type=Path, required=True, help="folder for result.json and the samples")
    parser.add_argument("--budgets", type=lambda text: [float(part) for part in text.split(",")], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, required=True, help="samples to generate")
    parser.add_argument("--labels", type=Path, required=True, help="NumPy file with the requested class of each sample")
    parser.add_argument("--parameters", type=int, help="target number of parameters")
    parser.add_argument("--device", required=True)
    for option in more:
        parser.add_argument(option)
    return parser.parse_args()


class Stopwatch:
    """Seconds since the process started, without pauses."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._began: float = asked.began
        self._marked = 0.0
        self._kept: list[dict[str, Any]] = []
        self._drawn: list[dict[str, Any]] = []
        self.start: dict[str, float] = {}  # seconds of each startup phase

    @property
    def seconds(self) -> float:
        """Measured seconds so far."""
        return time.monotonic() - self._began

    def mark(self, phase: str) -> None:
        """End a startup phase; later calls with the same name have no effect."""
        if phase not in self.start:
            now = self.seconds
            self.start[phase] = now - self._marked
            self._marked = now

    def skip(self, seconds: float) -> None:
        """Exclude this many seconds."""
        self._began += seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of this block."""
        paused = time.monotonic()
        try:
            yield
        finally:
            self.skip(time.monotonic() - paused)

    def due(self) -> bool:
        """Whether another budget is spent."""
        return not self.done() and self.seconds >= self._asked.budgets[len(self._kept)]

    def done(self) -> bool:
        """Whether all budgets are spent."""
        return len(self._kept) == len(self._asked.budgets)

    def keep(self, images: int, seconds: float | None = None) -> None:
        """Record that the weights of the next budget were saved after `images` training images."""
        spent = self.seconds if seconds is None else seconds
        self._kept.append({"budget": self._asked.budgets[len(self._kept)], "seconds": spent, "images": images})

    def hand_in(self, index: int, samples: Any, labels: Any, seconds: float, evaluations: int | None = None) -> None:
        """Write the samples of one budget, one set per sampling configuration.

        Args:
            index: which of the budgets, from 0.
            samples: (N, 28, 28) uint8 on the CPU, as a tensor.
            labels: the classes asked for, (N,), as a tensor, or None.
            seconds: that drawing them took.
            evaluations: of the net for each image; None if it differs from image to image.
        """
        import numpy as np

        arrays = {"images": samples.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        file = self._asked.out / f"samples-{len(self._drawn)}.npz"
        np.savez(file, **arrays)
        drawn = {"sampling": seconds, "samples": file.name, "evaluations": evaluations}
        self._drawn.append(self._kept[index] | drawn)

    def finish(self, **more: Any) -> None:
        """Write result.json: startup times, and the samples of each budget."""
        result = {"start": self.start, "drawn": self._drawn, **more}
        (self._asked.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
