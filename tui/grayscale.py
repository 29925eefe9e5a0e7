"""Numbers as uint8 gray levels."""

from __future__ import annotations

from collections.abc import Sequence


def normalized(values: Sequence[float], white: float | None = None) -> bytes:
    """Numbers scaled to [0, 255]; if any is negative, 0 is middle gray.

    Args:
        values: the numbers.
        white: the value drawn white; None for the largest absolute value.
    """
    white = white or max(map(abs, values), default=0.0) or 1.0
    if min(values, default=0.0) < -1e-6 * white:
        return bytes(min(255, max(0, round(127.5 + 127.5 * value / white))) for value in values)
    return bytes(min(255, max(0, round(255 * value / white))) for value in values)


def from_unit(values: Sequence[float]) -> bytes:
    """Images in [0, 1] as uint8; values outside are clipped."""
    return bytes(min(255, max(0, round(255 * value))) for value in values)
