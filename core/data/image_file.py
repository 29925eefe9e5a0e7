"""Reads an image file in the shape of a model's images, and a mask for inpainting."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from core.errors import DatasetError


def read_image(path: str | Path, shape: tuple[int, int, int]) -> Tensor:
    """Read an image file, converted to the given number of channels and size.

    EXIF rotation is applied, and transparency is put over black. The centre is cropped to the aspect ratio of `shape`
    and resized with a Lanczos filter. Of an animation the first frame is read; 16-bit grey is scaled to 8 bits.

    Args:
        path: An image file that Pillow reads.
        shape: (C, H, W) with 1 (grey) or 3 (RGB) channels.

    Returns:
        The image, (1, C, H, W) float32 in [0, 1]; 0 is black.

    Raises:
        DatasetError: The file is missing, damaged or not an image.
    """
    channels, height, width = shape
    image = _open(Path(path)).convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return _tensor(image).float() / 255


def read_mask(path: str | Path, shape: tuple[int, int, int]) -> Tensor:
    """Read a mask: True where a pixel is brighter than half, cropped as in `read_image`, nearest pixels.

    Returns:
        (1, 1, H, W), bool.

    Raises:
        DatasetError: As `read_image`; or all pixels are dark.
    """
    _, height, width = shape
    mask = ImageOps.fit(_open(Path(path)).convert("L"), (width, height), Image.Resampling.NEAREST)
    bright = _tensor(mask) > 127
    if not bool(bright.any()):
        raise DatasetError(f"the mask {path} is black everywhere; paint white where pixels are to be generated")
    return bright


def _open(path: Path) -> Image.Image:
    """The first frame, in mode L, RGB or another one that converts to them without loss of range."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(os.path.expanduser(path))
        with opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # which convert("L") would clip at 255
                values = np.asarray(image, dtype=np.float64)
                return Image.fromarray((values / 257).clip(0, 255).round().astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
            return image.convert("RGB") if image.mode == "P" else image.copy()
    except UnidentifiedImageError:
        raise DatasetError(f"{path} is not an image in a format that Pillow reads, such as PNG or JPEG") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DatasetError(f"{path} has too many pixels; make it smaller first") from None
    except OSError as error:
        raise DatasetError(f"cannot read the image {path}: {error.strerror or error}; choose another file") from None
    except (ValueError, SyntaxError, EOFError) as error:  # of Pillow, for damaged files
        raise DatasetError(f"{path} is a damaged image: {error}; choose another file") from None


def _tensor(image: Image.Image) -> Tensor:
    """(1, C, H, W) uint8."""
    pixels = torch.from_numpy(np.array(image))
    return (pixels[None, None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)[None]).contiguous()
