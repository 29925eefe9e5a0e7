"""Randomness as a pure function of (seed, step), so that a resumed run draws what the uninterrupted one would have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# One stream for each use, so that no two uses ever share numbers.
ORDER, CORRUPTION, WEIGHTS, HELD_OUT, SPLIT, LABELS, SHIFT = range(7)
_MASK = 2**64 - 1


def mixed_seed(seed: int, stream: int, position: int) -> int:
    """A 63-bit seed for one position of one stream: SplitMix64's finaliser (Steele et al. 2014), chained."""
    value = 0
    for part in (seed, stream, position):
        value = (value + part + 0x9E3779B97F4A7C15) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value >> 1


def generator_for(seed: int, stream: int, position: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on `device` for one position of one stream."""
    return torch.Generator(device=device).manual_seed(mixed_seed(seed, stream, position))


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which epoch `epoch` (from 0) visits `n` images: (n,) int64 on the CPU."""
    return torch.randperm(n, generator=generator_for(seed, ORDER, epoch))
