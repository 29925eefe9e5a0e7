"""Data augmentation by random shifts of a few pixels and random mirroring."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padded(images: Tensor, max_shift: int) -> Tensor:
    """Pad (N, C, H, W) images with `max_shift` pixels on each side, for `shifted`.

    Gray images are padded with 0, the background of digits, and color images by repeating their edge.
    """
    if images.shape[1] == 1:
        return functional.pad(images, (max_shift,) * 4)
    rows, columns = (torch.arange(-max_shift, side + max_shift).clamp(0, side - 1) for side in images.shape[2:])
    return images.index_select(2, rows.to(images.device)).index_select(3, columns.to(images.device))


def shifted(images: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """Shift each image at random by up to `max_shift` pixels in both directions.

    Args:
        images: (N, C, H + 2 max_shift, W + 2 max_shift), as returned by `padded`.
        max_shift: Largest shift in pixels.
        generator: Source of the shifts, on any device.

    Returns:
        (N, C, H, W), of the same dtype.
    """
    n, channels, height, width = images.shape
    down, right = torch.randint(2 * max_shift + 1, (2, n, 1), generator=generator, device=generator.device).to(
        images.device
    )
    rows = down + torch.arange(height - 2 * max_shift, device=images.device)
    columns = right + torch.arange(width - 2 * max_shift, device=images.device)
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, (N, C, H, W), left to right, chosen by `generator`, on any device."""
    chosen = torch.rand(len(images), generator=generator, device=generator.device, dtype=torch.float32) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)
