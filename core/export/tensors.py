"""Writes tensors of images as picture files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.compute.arrays import as_tensor
from core.diffusion.corruption import check_images
from core.diffusion.frames import to_uint8
from core.errors import MinidiffError
from core.export.images import write_images

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike


def save_grid(images: ArrayLike, path: str | Path) -> Path:
    """Write images as a grid: PNG, JPEG or WebP by the suffix, PNG without one.

    Pixels keep their values: 0 is black. Up to 64 images have 8 per row, more a square grid.

    Args:
        images: (n, C, H, W) with 1 (gray) or 3 (RGB) channels: floating point in [0, 1], clipped, or uint8.
        path: The file; missing folders are created.

    Returns:
        The path, with `~` expanded.

    Raises:
        MinidiffError: The images have the wrong shape, type or range, or the file cannot be written.
    """
    pixels = as_tensor(images, "images")
    if pixels.dim() != 4 or pixels.shape[1] not in (1, 3) or not pixels.numel():
        raise MinidiffError(f"images needs shape (n, C, H, W) with C = 1 or 3, not {tuple(pixels.shape)}")
    if pixels.dtype != torch.uint8:
        check_images(pixels, "images")
    n, channels, height, width = pixels.shape
    return write_images(Path(path), _to_bytes(pixels), (n, channels, height, width))


def _to_bytes(pixels: Tensor) -> bytes:
    if pixels.dtype == torch.uint8:
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy().tobytes()
    return to_uint8(pixels)
