"""Writes a dataset in the formats that other projects read: MNIST's own, NumPy arrays, and a folder of PNG images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.data.datasets import LabeledImages
from core.data.glyphs import FILES
from core.data.idx import header


def write_idx(root: Path, splits: dict[str, LabeledImages]) -> None:
    """Write a dataset of gray images as files for `torchvision.datasets.MNIST(root)`.

    Args:
        root: A folder; the files go to MNIST/raw in it.
        splits: "train" and "test".
    """
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, (images, labels) in splits.items():
        pixels, classes = images.squeeze(1).numpy(), labels.byte().numpy()
        for name, values in zip(FILES[split], (pixels, classes), strict=True):
            (folder / name).write_bytes(header(values.shape) + values.tobytes())


def pad_to_square(images: Tensor, multiple: int) -> Tensor:
    """Pad images, (..., H, W), with black on all sides to squares whose side is a multiple of `multiple`."""
    height, width = images.shape[-2:]
    side = -(-max(height, width) // multiple) * multiple
    left, top = (side - width) // 2, (side - height) // 2
    return functional.pad(images, (left, side - width - left, top, side - height - top))


def write_arrays(folder: Path, data: LabeledImages, multiple: int = 1) -> None:
    """Write padded images, (N, H, W, C) uint8, to images.npy, and labels, (N,) int64, to labels.npy."""
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", pad_to_square(data.images, multiple).movedim(1, 3).numpy())
    np.save(folder / "labels.npy", data.labels.numpy())


def write_png(folder: Path, data: LabeledImages, multiple: int = 1) -> None:
    """Write each padded image as a gray or RGB PNG into a subfolder per class, or into 0 without classes."""
    for index, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        home = folder / f"{max(label, 0)}"
        home.mkdir(parents=True, exist_ok=True)
        pixels = pad_to_square(image, multiple).movedim(0, 2).numpy()
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        picture.save(home / f"{index:06d}.png", compress_level=1)
