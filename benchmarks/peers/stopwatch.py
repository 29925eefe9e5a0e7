"""What every contender shares: its arguments, a clock that began with its process, and how it hands in its samples.

Only the standard library is imported here, since the time that a contender's imports take is counted.
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
    """What the driver asks of a contender; `more` are further options of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--began", type=float, required=True, help="time.monotonic() just before the process started")
    parser.add_argument("--data", type=Path, help="folder with the training images")
    parser.add_argument("--out", type=Path, required=True, help="folder for result.json and the samples")
    parser.add_argument("--budgets", type=lambda text: [float(part) for part in text.split(",")], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, required=True, help="samples to draw")
    parser.add_argument("--labels", type=Path, required=True, help="numpy file: the class to ask for of each sample")
    parser.add_argument("--parameters", type=int, help="how many numbers the net should learn, as nearly as it can")
    parser.add_argument("--device", required=True)
    for option in more:
        parser.add_argument(option)
    return parser.parse_args()


class Stopwatch:
    """Seconds since the process began, less those that it was paused; they tell when a budget is spent."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._began: float = asked.began
        self._marked = 0.0
        self._kept: list[dict[str, Any]] = []
        self._drawn: list[dict[str, Any]] = []
        self.start: dict[str, float] = {}  # seconds of each phase before training is under way

    @property
    def seconds(self) -> float:
        """Seconds so far that count."""
        return time.monotonic() - self._began

    def mark(self, phase: str) -> None:
        """A phase of the start ends here; later marks of the same name change nothing."""
        if phase not in self.start:
            now = self.seconds
            self.start[phase] = now - self._marked
            self._marked = now

    def skip(self, seconds: float) -> None:
        """Leave out this much of the time just gone."""
        self._began += seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in here costs no time."""
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
        """Note that the weights of the next budget were put aside after so many training images."""
        spent = self.seconds if seconds is None else seconds
        self._kept.append({"budget": self._asked.budgets[len(self._kept)], "seconds": spent, "images": images})

    def hand_in(self, index: int, samples: Any, labels: Any, seconds: float, evaluations: int | None = None) -> None:
        """Write what the weights of one budget drew, once for each way in which they did.

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
        """Write result.json: seconds of the start, and what was drawn from the weights of each budget."""
        result = {"start": self.start, "drawn": self._drawn, **more}
        (self._asked.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
