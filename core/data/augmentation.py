"""Images moved by a few pixels: more of them to learn from, and every one still a digit, as a mirrored one is not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padded(images: Tensor, most: int) -> Tensor:
    """(N, 1, H, W) images with `most` pixels of background around them, as `shifted` takes them."""
    return functional.pad(images, (most,) * 4)


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Of each padded image a window of the old size, at a place drawn for it; of the images' own type."""
    n, _, height, width = images.shape
    down, right = torch.randint(2 * most + 1, (2, n, 1), generator=generator, device=generator.device).to(images.device)
    rows = down + torch.arange(height - 2 * most, device=images.device)
    columns = right + torch.arange(width - 2 * most, device=images.device)
    image = torch.arange(n, device=images.device)
    return images[image[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
