"""Writes a dataset as torchvision's MNIST files, and as a folder of PNG images."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch.nn import functional

from core.data.datasets import LabeledImages
from core.data.glyphs import FILES
from core.data.idx import header

PADDED = 32  # pixels a side of the PNG images, for nets that halve an image three times


def write_idx(root: Path, splits: dict[str, LabeledImages]) -> None:
    """Write any dataset as files for `torchvision.datasets.MNIST(root)`.

    Args:
        root: a folder; the files go to MNIST/raw in it.
        splits: "train" and "test".
    """
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, (images, labels) in splits.items():
        pictures, classes = images.squeeze(1).numpy(), labels.byte().numpy()
        for name, values in zip(FILES[split], (pictures, classes), strict=True):
            (folder / name).write_bytes(header(values.shape) + values.tobytes())


def write_png(folder: Path, data: LabeledImages) -> None:
    """Write each image as a grey PNG, padded with black to 32x32."""
    folder.mkdir()
    border = (PADDED - data.images.shape[-1]) // 2
    for index, image in enumerate(functional.pad(data.images, (border,) * 4).squeeze(1).numpy()):
        Image.fromarray(image).save(folder / f"{index:05d}.png", compress_level=1)
