"""Corruption: mixing images with noise, the half of diffusion that needs no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from core.errors import MinidiffError


def corrupt(x: Tensor, amount: Tensor, noise: Tensor | None = None) -> Tensor:
    """Mix images with noise: x (1 - amount) + noise amount.

    Args:
        x: images, (B, C, H, W), in [0, 1].
        amount: how much noise for each image, (B,), in [0, 1]: 0 leaves the image, 1 leaves only noise.
        noise: what to mix in, of x's shape; None draws it uniformly from [0, 1).

    Returns:
        The corrupted images, (B, C, H, W).

    Raises:
        MinidiffError: an amount lies outside [0, 1], or the shapes do not belong together.

    Source: the teaching document's section 3.3.
    """
    if amount.shape != x.shape[:1]:
        raise MinidiffError(
            f"amount needs one value an image, shape ({x.shape[0] if x.dim() else 0},), not {tuple(amount.shape)}"
        )
    if noise is not None and noise.shape != x.shape:
        raise MinidiffError(f"noise needs the images' shape {tuple(x.shape)}, not {tuple(noise.shape)}")
    if not bool(((amount >= 0) & (amount <= 1)).all()):
        raise MinidiffError(f"amount must lie in [0, 1], found {amount.min().item():g} to {amount.max().item():g}")
    return mix(x, amount, torch.rand_like(x) if noise is None else noise)


def mix(x: Tensor, amount: Tensor, noise: Tensor) -> Tensor:
    """`corrupt` without the checks, which would make a GPU wait: for a training step, whose amounts are its own."""
    amount = amount.view(-1, *(1,) * (x.dim() - 1))  # (B, 1, 1, 1)
    return x * (1 - amount) + noise * amount
