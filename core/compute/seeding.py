"""Random numbers as a pure function of (seed, step), so that resumed and uninterrupted runs agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.compute.torch_settings import standard_defaults

# One stream per use, so that no two uses share random numbers.
ORDER, CORRUPTION, WEIGHTS, VALIDATION, SPLIT, LABELS, SHIFT, FLIP, NETWORK, LOSS, RACE = range(11)
VALIDATION_SEED = 0  # the same noise for every run, so that validation losses compare
_MASK = 2**64 - 1


def mixed_seed(seed: int, stream: int, position: int) -> int:
    """A 63-bit seed for one position of one stream: SplitMix64's finalizer (Steele et al. 2014), chained."""
    value = 0
    for part in (seed, stream, position):
        value = (value + part + 0x9E3779B97F4A7C15) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value >> 1


def generator_for(seed: int, stream: int, position: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator on `device` for one position of one stream."""
    return torch.Generator(device=device).manual_seed(mixed_seed(seed, stream, position))


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which epoch `epoch` (from 0) visits `n` images: (n,) int64 on the CPU."""
    return torch.randperm(n, generator=generator_for(seed, ORDER, epoch), device="cpu")


_RANDOM = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_}
_RANDOM |= {Tensor.uniform_, Tensor.normal_, torch.rand, torch.randn}


class initializing(standard_defaults):  # noqa: N801 - a context manager, named like torch.no_grad
    """Context manager: layers are created on `device` in float32, with initial weights from `generator`.

    Torch's default device and dtype have no effect; its global generator is used only if `generator` is None. Applies
    to the current thread only, so threads can build networks at the same time.
    """

    def __init__(self, generator: torch.Generator | None, device: str = "cpu") -> None:
        super().__init__(device)
        self._generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` with the generator, unless one is passed."""
        arguments = dict(kwargs or {})
        if func in _RANDOM and arguments.get("generator") is None:
            arguments["generator"] = self._generator
        return super().__torch_function__(func, types, args, arguments)
