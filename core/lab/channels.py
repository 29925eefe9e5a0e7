"""Channels of images."""

from __future__ import annotations

from torch import Tensor

WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue; ITU-R BT.601


def luminance(images: Tensor) -> Tensor:
    """The luminance of images, (..., C, H, W) with 1 or 3 channels, as (..., H, W); a gray image is its own."""
    if images.shape[-3] == 1:
        return images.squeeze(-3)
    return (images * images.new_tensor(WEIGHTS)[:, None, None]).sum(-3)
