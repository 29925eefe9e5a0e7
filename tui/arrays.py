"""Arrays of numbers as the engine sends them, and their values as brightness."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Array(NamedTuple):
    """Numbers in a shape, row by row."""

    shape: tuple[int, ...]
    values: Sequence[float]

    def part(self, index: int) -> Array:
        """What lies at `index` of the first axis; from the end where it is negative."""
        shape = self.shape[1:]
        size = math.prod(shape)
        index %= self.shape[0]
        return Array(shape, self.values[index * size : (index + 1) * size])

    def at(self, row: int, column: int) -> float:
        """A number of a table."""
        return self.values[row * self.shape[1] + column]

    @property
    def rows(self) -> list[Sequence[float]]:
        """The rows of a table."""
        height, width = self.shape
        return [self.values[row * width : (row + 1) * width] for row in range(height)]

    @property
    def largest(self) -> float:
        """The greatest absolute value, 0 where there is none."""
        return max(map(abs, self.values), default=0.0)


def read(shapes: Mapping[str, Sequence[int]], payload: bytes) -> dict[str, Array]:
    """The arrays of a reply, by name.

    Raises:
        ValueError: there are more numbers or fewer than the shapes need.
    """
    numbers = array("f")
    numbers.frombytes(payload)
    found, at = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        found[name] = Array(tuple(shape), numbers[at : at + size])
        at += size
    if at != len(numbers) or any(side < 0 for shape in shapes.values() for side in shape):
        raise ValueError(f"{len(numbers):,} numbers where the shapes need {at:,}")
    return found


def brightness(values: Sequence[float], largest: float | None = None) -> bytes:
    """Numbers as uint8: from 0 to the largest, or, where some are below 0, from minus the largest to the largest.

    Args:
        values: the numbers.
        largest: what is white; None for the greatest absolute value there is.
    """
    white = largest or max(map(abs, values), default=0.0) or 1.0
    if min(values, default=0.0) < -1e-6 * white:
        return bytes(min(255, max(0, round(127.5 + 127.5 * value / white))) for value in values)
    return bytes(min(255, max(0, round(255 * value / white))) for value in values)


def ink(values: Sequence[float]) -> bytes:
    """Images in [0, 1] as uint8; what lies outside is clipped."""
    return bytes(min(255, max(0, round(255 * value))) for value in values)
