"""Data augmentation by random shifts of a few pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padded(images: Tensor, max_shift: int) -> Tensor:
    """Pad (N, 1, H, W) images with `max_shift` pixels of background on each side, for `shifted`."""
    return functional.pad(images, (max_shift,) * 4)


def shifted(images: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """Shift each image at random by up to `max_shift` pixels in both directions.

    Args:
        images: (N, 1, H + 2 max_shift, W + 2 max_shift), as returned by `padded`.
        max_shift: Largest shift in pixels.
        generator: Source of the shifts, on any device.

    Returns:
        (N, 1, H, W), of the same dtype.
    """
    n, _, height, width = images.shape
    down, right = torch.randint(2 * max_shift + 1, (2, n, 1), generator=generator, device=generator.device).to(
        images.device
    )
    rows = down + torch.arange(height - 2 * max_shift, device=images.device)
    columns = right + torch.arange(width - 2 * max_shift, device=images.device)
    image = torch.arange(n, device=images.device)
    return images[image[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
