"""Corruption: mixing images with noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.compute.arrays import as_tensor
from core.config.numbers import number
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

SLACK = 0.5  # tolerated excess over [0, 1], as from resizing; images in [-1, 1] or [0, 255] exceed it


def corrupt(x: ArrayLike, amount: ArrayLike | Sequence[float] | float, noise: ArrayLike | None = None) -> Tensor:
    """Mix images with noise: x (1 - amount) + noise amount.

    Args:
        x: Images, (B, C, H, W), floating point, in [0, 1]. All arguments may be tensors or NumPy arrays.
        amount: Noise level in [0, 1], (B,) or one number for all: 0 is the image, 1 is noise.
        noise: Noise, of x's shape; None: uniform in [0, 1), from torch's global generator.

    Returns:
        The corrupted images, (B, C, H, W), of x's dtype.

    Raises:
        MinidiffError: x is not floating point or, without `noise`, not in [0, 1]; an amount is outside [0, 1]; or
            shapes do not match.

    Source: the Hugging Face diffusion course, "Diffusion models from scratch".
    """
    x = as_tensor(x, "x")
    check_images(x, "x", ranged=noise is None)
    amount = _amounts(amount, x)
    if amount.shape != x.shape[:1]:
        raise MinidiffError(
            f"amount needs one value per image, shape ({x.shape[0] if x.dim() else 0},), not {tuple(amount.shape)}"
        )
    if not bool(((amount >= 0) & (amount <= 1)).all()):
        raise MinidiffError(f"amount must lie in [0, 1], found {amount.min().item():g} to {amount.max().item():g}")
    if noise is None:
        noise = torch.rand_like(x)
    noise = as_tensor(noise, "noise")
    if noise.shape != x.shape:
        raise MinidiffError(f"noise needs the images' shape {tuple(x.shape)}, not {tuple(noise.shape)}")
    amount, noise = amount.to(x).view(-1, *(1,) * (x.dim() - 1)), noise.to(x)  # amount: (B, 1, 1, 1)
    return x * (1 - amount) + noise * amount


def _amounts(amount: ArrayLike | Sequence[float] | float, x: Tensor) -> Tensor:
    """Convert `amount` to a tensor; a number is repeated for all images."""
    if isinstance(amount, float | int | str):
        return torch.full(x.shape[:1], number(amount, "amount"), dtype=x.dtype, device=x.device)
    if isinstance(amount, Sequence):
        return torch.tensor([number(value, "amount") for value in amount], dtype=x.dtype, device=x.device)
    return as_tensor(amount, "amount")


def check_images(x: Tensor, name: str, *, ranged: bool = True) -> None:
    """Check that images are floating point and in [0, 1].

    Args:
        x: Images.
        name: Name of the argument, for the error message.
        ranged: Check the values too, which synchronizes with a GPU.

    Raises:
        MinidiffError: x is not floating point, or a value is more than `SLACK` outside [0, 1].
    """
    if not x.is_floating_point():
        raise MinidiffError(f"{name} needs floating-point values in [0, 1], not {x.dtype}; divide bytes by 255")
    if ranged and x.numel() and not bool(((x >= -SLACK) & (x <= 1 + SLACK)).all()):
        raise MinidiffError(
            f"{name} has values from {x.min().item():g} to {x.max().item():g}, but images must be in [0, 1]; "
            "divide bytes by 255"
        )
