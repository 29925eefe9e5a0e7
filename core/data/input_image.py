"""Reads an image file in the shape of a model's images, and a mask for inpainting."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.data.image_files import READ_ERRORS, Target, fitted, load, reason
from core.errors import DatasetError


def read_image(path: str | Path, shape: tuple[int, int, int]) -> Tensor:
    """Read an image file, converted to the given number of channels and size.

    EXIF rotation is applied, and transparent pixels are placed on white. The center is cropped to the aspect ratio of
    `shape` and resized with a Lanczos filter. Of an animation the first frame is read; 16-bit gray is scaled to 8 bits.

    Args:
        path: An image file that Pillow reads.
        shape: (C, H, W) with 1 (gray) or 3 (RGB) channels.

    Returns:
        The image, (1, C, H, W) float32 in [0, 1]; 0 is black.

    Raises:
        DatasetError: The file is missing, damaged or not an image.
    """
    pixels = fitted(_open(path), Target(*shape, resize="crop"))
    return torch.from_numpy(pixels[None].copy()).float() / 255


def read_mask(path: str | Path, shape: tuple[int, int, int]) -> Tensor:
    """Read a mask: True where a pixel is brighter than half, cropped as in `read_image`, nearest pixels.

    Returns:
        (1, 1, H, W), bool.

    Raises:
        DatasetError: As `read_image`; or all pixels are dark.
    """
    _, height, width = shape
    mask = ImageOps.fit(_open(path).convert("L"), (width, height), Image.Resampling.NEAREST)
    bright = torch.from_numpy(np.array(mask))[None, None] > 127
    if not bool(bright.any()):
        raise DatasetError(f"the mask {path} is black everywhere; paint white where pixels are to be generated")
    return bright


def _open(path: str | Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about odd metadata
            return load(Path(os.path.expanduser(path)))
    except READ_ERRORS as error:
        raise DatasetError(f"cannot read the image {path} ({reason(error)}); choose another file") from None
