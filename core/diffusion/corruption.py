"""Corruption: mixing images with noise, the half of diffusion that needs no learning."""

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

SLACK = 0.5  # by which images may leave [0, 1], as resized ones do; those in [-1, 1] or [0, 255] leave it further


def corrupt(x: ArrayLike, amount: ArrayLike | Sequence[float] | float, noise: ArrayLike | None = None) -> Tensor:
    """Mix images with noise: x (1 - amount) + noise amount.

    Args:
        x: images, (B, C, H, W), floating point, in [0, 1]; a tensor or a NumPy array, as every argument.
        amount: how much noise for each image, (B,), in [0, 1]: 0 leaves the image, 1 leaves only noise; or one number
            for all.
        noise: what to mix in, of x's shape; None draws it uniformly from [0, 1).

    Returns:
        The corrupted images, (B, C, H, W), of x's type.

    Raises:
        MinidiffError: images that are not floating point or, where the noise is drawn, not in [0, 1]; an amount outside
            [0, 1]; or shapes that do not belong together.

    Source: the tutorial's section 3.3.
    """
    x = as_tensor(x, "x")
    check_images(x, "x", ranged=noise is None)
    amount = _amounts(amount, x)
    if amount.shape != x.shape[:1]:
        raise MinidiffError(
            f"amount needs one value an image, shape ({x.shape[0] if x.dim() else 0},), not {tuple(amount.shape)}"
        )
    if not bool(((amount >= 0) & (amount <= 1)).all()):
        raise MinidiffError(f"amount must lie in [0, 1], found {amount.min().item():g} to {amount.max().item():g}")
    if noise is None:
        noise = torch.rand_like(x)
    noise = as_tensor(noise, "noise")
    if noise.shape != x.shape:
        raise MinidiffError(f"noise needs the images' shape {tuple(x.shape)}, not {tuple(noise.shape)}")
    return mix(x, amount.to(x), noise.to(x))


def _amounts(amount: ArrayLike | Sequence[float] | float, x: Tensor) -> Tensor:
    """The amounts as a tensor; one number is that of all images."""
    if isinstance(amount, float | int | str):
        return torch.full(x.shape[:1], number(amount, "amount"), dtype=x.dtype, device=x.device)
    if isinstance(amount, Sequence):
        return torch.tensor([number(one, "amount") for one in amount], dtype=x.dtype, device=x.device)
    return as_tensor(amount, "amount")


def check_images(x: Tensor, name: str, *, ranged: bool = True) -> None:
    """Refuse what cannot be images in [0, 1], such as bytes; `ranged`: look at the values, which waits for a GPU.

    Raises:
        MinidiffError: not floating point, or values far outside [0, 1].
    """
    if not x.is_floating_point():
        raise MinidiffError(f"{name} needs floating-point values in [0, 1], not {x.dtype}; divide bytes by 255")
    if ranged and x.numel() and not bool(((x >= -SLACK) & (x <= 1 + SLACK)).all()):
        raise MinidiffError(
            f"{name} has values from {x.min().item():g} to {x.max().item():g}, but images lie in [0, 1]; "
            "divide bytes by 255"
        )


def mix(x: Tensor, amount: Tensor, noise: Tensor) -> Tensor:
    """`corrupt` without the checks, which would make a GPU wait: for a training step, whose amounts are its own."""
    amount = amount.view(-1, *(1,) * (x.dim() - 1))  # (B, 1, 1, 1)
    return x * (1 - amount) + noise * amount
